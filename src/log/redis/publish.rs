//! The publish script and its arguments: what `publish.lua` reads, in its order.
//!
//! Knows no connection; [`RedisLog`](super::RedisLog) runs it.

use super::RedisOptions;
use crate::id::ThreadId;
use crate::log::{Publication, Write};

/// Where in `ARGV` the deadline is; without one it is empty.
pub(crate) const DEADLINE_MS: usize = 5;

/// `KEYS` and `ARGV` of the run that does a publication.
pub(crate) fn invocation(
    options: &RedisOptions,
    thread: &ThreadId,
    publication: &Publication,
) -> (Vec<String>, Vec<String>) {
    let RedisOptions { keys, timeouts, stream_length_max, expiry_seconds, .. } = options;
    let (prefix, id) = (keys.prefix(), &publication.id);
    // The publisher counts from when he was answered.
    let known_for = id.lifetime() + timeouts.response;
    let state = |name: &str| format!("{prefix}:thread:{thread}:{name}");
    let mut args = vec![
        u8::from(publication.must_exist).to_string(),
        stream_length_max.to_string(),
        expiry_seconds.to_string(),
        thread.to_string(),
        prefix.to_owned(),
        String::new(),
        id.content().to_string(),
        known_for.as_millis().to_string(),
    ];
    // A hash cannot be given no field, nor a stream an entry without one.
    let writes: Vec<_> =
        publication.writes.iter().map(named).filter(|(_, a)| !a.is_empty()).collect();
    args.push(writes.len().to_string());
    for (name, arguments) in writes {
        args.push(name.to_owned());
        push_list(&mut args, arguments);
    }
    for event in publication.events.iter().filter(|event| !event.is_empty()) {
        push_list(&mut args, flat(event));
    }
    let keys = vec![
        keys.stream(thread),
        state("status"),
        state("updates"),
        state("result"),
        state("error"),
        state("metadata"),
        state("context"),
        state("tasks"),
        keys.index(),
        format!("{prefix}:publication:{}", id.name()),
    ];
    (keys, args)
}

fn named(write: &Write) -> (&'static str, Vec<String>) {
    match write {
        Write::Status(status) => ("status", vec![status.clone()]),
        Write::Update(json) => ("updates", vec![json.clone()]),
        Write::Result(json) => ("result", vec![json.clone()]),
        Write::Error(text) => ("error", vec![text.clone()]),
        Write::Metadata(fields) => ("metadata", flat(fields)),
        Write::Context(fields) => ("context", flat(fields)),
        Write::Index(score) => ("index", vec![score.to_string()]),
    }
}

fn flat(fields: &[(String, String)]) -> Vec<String> {
    fields.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect()
}

fn push_list(args: &mut Vec<String>, list: Vec<String>) {
    args.push(list.len().to_string());
    args.extend(list);
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
