//! The events that publishing adds to a stream (protocol §4), and their times.

use super::{Status, Update};
use crate::clock::now_ms;
use crate::id::ThreadId;
use crate::timestamp::from_ms;

/// Names and values of an entry to be.
pub(super) type Event = Vec<(String, String)>;

/// A moment, as events and metadata write it and as the index orders by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    ms: u64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { ms: now_ms() }
    }

    pub(super) fn iso8601(self) -> String {
        from_ms(self.ms)
    }

    /// Seconds since the epoch.
    pub(super) fn score(self) -> f64 {
        self.ms as f64 / 1000.0
    }
}

/// An event with what every event has.
pub(super) fn event(
    thread: &ThreadId,
    update_type: &str,
    timestamp: String,
    fields: impl IntoIterator<Item = (&'static str, String)>,
) -> Event {
    let common = [
        ("thread_id", thread.to_string()),
        ("update_type", update_type.to_owned()),
        ("timestamp", timestamp),
    ];
    common.into_iter().chain(fields).map(|(name, value)| (name.to_owned(), value)).collect()
}

pub(super) fn status_change(thread: &ThreadId, now: Moment, status: Status) -> Event {
    let fields =
        [("status", status.to_string()), ("message", format!("Status changed to {status}"))];
    event(thread, "status_change", now.iso8601(), fields)
}

pub(super) fn thread_update(thread: &ThreadId, now: Moment, update: &Update) -> Event {
    let fields = [
        ("type", update.update_type.clone()),
        ("message", update.message.clone()),
        ("metadata", update.metadata.get().to_owned()),
    ];
    event(thread, "thread_update", now.iso8601(), fields)
}

pub(super) fn result_set(thread: &ThreadId, now: Moment, result: &str) -> Event {
    let fields = [("result", result.to_owned()), ("message", "Task result available".to_owned())];
    event(thread, "result_set", now.iso8601(), fields)
}

pub(super) fn error_set(thread: &ThreadId, now: Moment, error_message: &str) -> Event {
    let fields =
        [("error_message", error_message.to_owned()), ("message", error_message.to_owned())];
    event(thread, "error_set", now.iso8601(), fields)
}
