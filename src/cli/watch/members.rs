//! Reads single members out of a JSON object whose values may be of any type.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::id::StreamId;
use crate::timestamp;

/// Members that the server adds to those of a source's entry, or that a line shows anyway.
const OF_SERVER: [&str; 7] =
    ["thread_id", "source", "stream_id", "prev_stream_id", "update_type", "type", "timestamp"];

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The members of a JSON object, each still JSON: one that cannot be read spoils no other.
pub(super) struct Members<'a>(HashMap<String, &'a RawValue>);

impl<'a> Members<'a> {
    /// Without members if it is no object.
    pub(super) fn read(json: &'a str) -> Self {
        Self(serde_json::from_str(json).unwrap_or_default())
    }

    /// A member as a type of Rust; none if it is not of that type.
    pub(super) fn read_as<T: serde::Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }

    /// A member as JSON; none if it is null.
    pub(super) fn json(&self, name: &str) -> Option<String> {
        let json = self.0.get(name)?.get();
        (json != "null").then(|| json.to_owned())
    }

    /// A member as text: the content of a string, the JSON of anything else. None if it is null or
    /// empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.read_as::<String>(name).or_else(|| self.json(name))?;
        (!text.is_empty()).then_some(text)
    }

    /// Whether it tells that the status is another one.
    pub(super) fn changes_status(&self) -> bool {
        self.text("update_type").as_deref() == Some("status_change")
    }

    /// What a source's entry says beside what is the server's, as JSON; empty if that is nothing.
    pub(super) fn own(&self) -> String {
        let is_own = |name: &&String| !OF_SERVER.contains(&name.as_str());
        let own: BTreeMap<_, _> = self.0.iter().filter(|(name, _)| is_own(name)).collect();
        if own.is_empty() { String::new() } else { serde_json::to_string(&own).unwrap_or_default() }
    }

    /// The time of day of `timestamp`, `HH:MM:SS` in UTC.
    pub(super) fn time(&self) -> Option<String> {
        let us = timestamp::parse_us(&self.text("timestamp")?)?;
        Some(time_of_day(us.div_euclid(1_000_000).rem_euclid(DAY_SECONDS)))
    }

    /// How far `metadata` says the task got, from 0 to 1: its `progress` in per cent, or its `step`
    /// of `total_steps`.
    pub(super) fn progress(&self) -> Option<f64> {
        let metadata: Value = self.read_as("metadata")?;
        let number = |name| match metadata.get(name)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let share = match number("progress") {
            Some(percent) => percent / 100.0,
            None => number("step")? / number("total_steps")?,
        };
        share.is_finite().then(|| share.clamp(0.0, 1.0))
    }
}

/// The time of day at which Redis took an entry, `HH:MM:SS` in UTC.
pub(super) fn time_of(id: StreamId) -> String {
    // What is left of any number is within a day.
    time_of_day((id.ms / 1000 % DAY_SECONDS as u64) as i64)
}

fn time_of_day(seconds: i64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_share_or_nothing() {
        for (metadata, share) in [
            (r#"{"progress":150}"#, Some(1.0)),
            (r#"{"progress":"12.5"}"#, Some(0.125)),
            (r#"{"progress":-1}"#, Some(0.0)),
            (r#"{"progress":"NaN"}"#, None),
            (r#"{"progress":[]}"#, None),
            (r#"{"step":1,"total_steps":0}"#, None),
            (r#"{"step":3,"total_steps":4}"#, Some(0.75)),
            (r#"{"step":3}"#, None),
            ("7", None),
        ] {
            let json = format!(r#"{{"metadata":{metadata}}}"#);
            assert_eq!(Members::read(&json).progress(), share, "{metadata}");
        }
    }

    #[test]
    fn a_time_is_shown_in_utc_or_not_at_all() {
        for (timestamp, time) in [
            (r#""2025-06-10T12:00:00+02:00""#, Some("10:00:00")),
            (r#""2025-06-10T12:00:01.5""#, Some("12:00:01")),
            (r#""2025-06-10T12:00:01Z""#, Some("12:00:01")),
            (r#""1969-12-31T23:59:58Z""#, Some("23:59:58")),
            (r#""yesterday""#, None),
            ("1718000000", None),
        ] {
            let json = format!(r#"{{"timestamp":{timestamp}}}"#);
            assert_eq!(Members::read(&json).time().as_deref(), time, "{timestamp}");
        }
        assert_eq!(time_of(StreamId { ms: 1_718_000_000_123, seq: 0 }), "06:13:20");
        assert_eq!(time_of(StreamId::MAX).len(), 8);
    }
}
