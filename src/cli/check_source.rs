//! `taskcast check-source`: reads a stream as a source of a configuration describes it, and shows what
//! would come of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::task::explained;
use super::{Outcome, fail, print, terminal};
use crate::config::{Config, Setting};
use crate::core::account::Account;
use crate::core::encode;
use crate::core::form::ws;
use crate::core::source::{End, Sources, StateKey};
use crate::id::{StreamId, ThreadId};
use crate::log::{Entry, Log, Snapshot, SnapshotWants};

/// How many entries are shown where nothing else is said.
const SHOWN: u64 = 50;
/// The most that are shown.
const SHOWN_MAX: u64 = 1_000;
/// The longest frame that is shown whole, in characters.
const FRAME_CHARS_MAX: usize = 2_000;

/// Which stream, and how it is described.
#[derive(Args)]
pub(super) struct CheckSourceArgs {
    /// The configuration, with its [[source]] tables
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// The key of a stream in Redis
    #[arg(long, value_name = "KEY")]
    key: String,
    /// Show so many of its newest entries
    #[arg(long, value_name = "N", default_value_t = SHOWN,
          value_parser = clap::value_parser!(u64).range(1..=SHOWN_MAX))]
    last: u64,
    /// Where Redis is, if not where the configuration says
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

/// Shows it once.
pub(super) async fn run(args: CheckSourceArgs) -> ExitCode {
    let redis = args.redis.map(|url| Setting::flag("redis", url));
    let flags = redis.into_iter().collect();
    let config = match Config::load(Some(&args.config), std::env::vars_os(), flags) {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    if config.embedded {
        let message = "the configuration has an embedded log: give --redis, where the stream is";
        return fail(Outcome::Usage, message);
    }
    let sources = &config.sources.sources;
    let Some(thread) = thread_of(sources, &args.key) else {
        return fail(Outcome::Usage, &no_source(sources, &args.key));
    };
    let log = match Log::open(&config) {
        Ok(log) => log,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    let wants = SnapshotWants { updates_max: Some(0), newest_max: args.last, ..Default::default() };
    match log.snapshot(&thread, wants).await {
        Ok(snapshot) if snapshot.stream.exists => match print(&shown(&thread, &snapshot)) {
            Ok(()) => Outcome::Done.into(),
            Err(code) => code,
        },
        Ok(_) => {
            let problem = format!(
                "there is no stream under {} in {}: nothing, or something else",
                args.key,
                config.redis_masked()
            );
            fail(Outcome::Failed, &problem)
        }
        Err(error) => fail(Outcome::from(&error), &explained(&error, &config.redis_masked())),
    }
}

/// The task whose stream's key this is, of the first source that has such keys.
fn thread_of(sources: &Sources, key: &str) -> Option<ThreadId> {
    sources.iter().find_map(|source| ThreadId::of(source, &source.id_of(key)?).ok())
}

fn no_source(sources: &Sources, key: &str) -> String {
    let mut text = format!("no [[source]] has a key like {key}; there are:");
    for source in sources.iter() {
        // Writing to a String does not fail, here and below.
        _ = write!(text, "\n  {}: {}", source.name(), source.key_template());
    }
    if sources.iter().next().is_none() {
        text.push_str(" none");
    }
    text.push_str("\nThe agent's own streams are served without any.");
    text
}

/// The stream's newest entries, what comes of each, and where the end is.
fn shown(thread: &ThreadId, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let (source, stream) = (thread.source(), &snapshot.stream);
    _ = writeln!(text, "source   {}", thread.source_name().unwrap_or_default());
    _ = writeln!(text, "id       {}", terminal::clean(thread.as_str()));
    let state_key = source.and_then(|source| source.state_key(thread.as_str()));
    let place = match state_key {
        None => "no key".to_owned(),
        Some(StateKey::String(key)) => key,
        Some(StateKey::Field { hash, field }) => format!("{hash}, field {field}"),
    };
    let status = snapshot.state.as_ref().and_then(|state| state.status.as_ref());
    let status = status.map(|status| String::from_utf8_lossy(status)).unwrap_or("null".into());
    _ = writeln!(text, "status   {} ({})", terminal::clean(&status), terminal::clean(&place));
    let (length, newest) = (stream.length, &snapshot.newest);
    _ = writeln!(text, "entries  {length}, of which the newest {}:\n", newest.len());
    let mut sent = StreamId::ZERO;
    for entry in newest {
        _ = writeln!(text, "{}", line_of(thread, &mut sent, entry));
    }
    let ended = source.and_then(|source| source.last_end(newest));
    text.push('\n');
    text.push_str(&match (ended, source.is_some_and(|source| source.has_ends())) {
        (_, false) => "end      the source has none".to_owned(),
        (None, true) => "end      not there".to_owned(),
        (Some((number, End { failed })), true) => {
            let how = if failed { ", failed" } else { "" };
            format!("end      {}{how}", newest[number].id)
        }
    });
    text
}

/// What comes of one entry.
fn line_of(thread: &ThreadId, sent: &mut StreamId, entry: &Entry) -> String {
    let account = Account::new(usize::MAX / 2);
    let chunks = encode::entries(&account, thread, *sent, std::slice::from_ref(entry));
    let frames = chunks.first().map(|chunk| chunk.bytes.clone()).unwrap_or_default();
    let Some((frame, _)) = ws::first_payload(&frames) else {
        return format!("{}  skipped", entry.id);
    };
    *sent = entry.id;
    let meaning = thread.source().map(|source| source.meaning(entry));
    let what = match meaning.and_then(|meaning| meaning.end) {
        None => "",
        Some(End { failed: false }) => "ends  ",
        Some(End { failed: true }) => "ends, failed  ",
    };
    let frame = terminal::clean_json(&String::from_utf8_lossy(frame)).replace('\n', " ");
    let cut: String = frame.chars().take(FRAME_CHARS_MAX).collect();
    let more = if cut.len() < frame.len() { " …" } else { "" };
    format!("{}  {what}{cut}{more}", entry.id)
}
