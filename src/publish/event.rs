//! The events that publishing adds to a stream (protocol §4), and their times.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

use super::{Status, Update};
use crate::id::ThreadId;

/// Names and values of an entry to be.
pub(super) type Event = Vec<(String, String)>;

/// A moment, as events and metadata write it and as the index orders by it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    ms: u64,
}

impl Moment {
    pub(super) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(super) fn iso8601(self) -> String {
        iso8601(self.ms)
    }

    /// Seconds since the epoch.
    pub(super) fn score(self) -> f64 {
        self.ms as f64 / 1000.0
    }
}

/// Milliseconds since the epoch as ISO 8601 in UTC, such as `2024-06-10T06:13:20.000+00:00`.
/// Beyond the year 9999 it is the epoch.
pub(crate) fn iso8601(ms: u64) -> String {
    let moment = i64::try_from(ms / 1000).ok().map(OffsetDateTime::from_unix_timestamp);
    let moment = moment.and_then(Result::ok).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let ((year, month, day), (hour, minute, second)) = (moment.to_calendar_date(), moment.to_hms());
    let month = u8::from(month);
    let ms = ms % 1000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}+00:00")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_iso_8601_in_utc() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(iso8601(1_718_000_000_007), "2024-06-10T06:13:20.007+00:00");
        assert_eq!(iso8601(253_402_300_799_999), "9999-12-31T23:59:59.999+00:00");
        assert_eq!(iso8601(u64::MAX), "1970-01-01T00:00:00.615+00:00");
    }
}
