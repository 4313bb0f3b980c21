//! The publish script and its arguments: what `publish.lua` reads, in its order.
//!
//! Knows no connection; [`RedisLog`](super::RedisLog) runs it.

use crate::id::{Keys, ThreadId};
use crate::log::{Publication, Write};

/// Where in `ARGV` the deadline is; without one it is empty.
pub(crate) const DEADLINE_MS: usize = 5;

/// `KEYS` and `ARGV` of the run that does a publication.
pub(crate) fn invocation(
    keys: &Keys,
    thread: &ThreadId,
    publication: &Publication,
    stream_length_max: u64,
    expiry_seconds: u64,
) -> (Vec<String>, Vec<String>) {
    let prefix = keys.prefix();
    let state = |name: &str| format!("{prefix}:thread:{thread}:{name}");
    let mut args = vec![
        u8::from(publication.must_exist).to_string(),
        stream_length_max.to_string(),
        expiry_seconds.to_string(),
        thread.to_string(),
        prefix.to_owned(),
        String::new(),
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
