//! One update: what it looks like to Redis, and as the frame that a server makes of it.
//!
//! An update has the fields that the Redis SRE Agent's worker writes. Its metadata holds a stamp
//! of fixed width (task, sequence number, due time), which the viewers find without parsing JSON.

use crate::failure::{Failure, Result};
use std::time::SystemTime;
use time::OffsetDateTime;

/// Begins a stamp; no server has a reason to change these bytes.
pub(crate) const MARK: &[u8; 4] = b"~LT~";
const TASK_DIGITS: usize = 8;
const SEQ_DIGITS: usize = 8;
const DUE_DIGITS: usize = 16;
const STAMP_BYTES: usize = MARK.len() + TASK_DIGITS + SEQ_DIGITS + DUE_DIGITS;

/// Says which update this is and when it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) task: u32,
    /// Counts the updates of one task, from 1.
    pub(crate) seq: u32,
    /// On the clock of [`crate::clock::now_ns`].
    pub(crate) due_ns: u64,
}

impl Stamp {
    fn text(self) -> String {
        format!("~LT~{:08x}{:08x}{:016x}", self.task, self.seq, self.due_ns)
    }

    /// Reads the stamp at the start of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..STAMP_BYTES)?;
        let digits = bytes.strip_prefix(MARK)?;
        let (task, rest) = digits.split_at(TASK_DIGITS);
        let (seq, due) = rest.split_at(SEQ_DIGITS);
        Some(Self { task: hex(task)? as u32, seq: hex(seq)? as u32, due_ns: hex(due)? })
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        value = value << 4 | u64::from((*digit as char).to_digit(16)?);
    }
    Some(value)
}

/// The shape that all updates of a run share: how much text each one carries.
#[derive(Clone)]
pub(crate) struct Shape {
    text: String,
}

/// One update's fields, in the worker's order.
pub(crate) type Fields<'a> = [(&'static str, &'a str); 6];

/// The parts of an update that differ from one to the next.
pub(crate) struct Update {
    thread_id: String,
    timestamp: String,
    metadata: String,
}

impl Shape {
    /// Updates whose frame is `frame_bytes` long on the wire, with stream ids of the usual length.
    pub(crate) fn of_size(frame_bytes: usize, prefix: &str) -> Result<Self> {
        let stamp = Stamp { task: 0, seq: 0, due_ns: 0 };
        let bare = Self { text: String::new() };
        let id = "1700000000000-0";
        // A payload over 125 bytes has a header of 4 bytes, over 65,535 one of 10.
        let least = Update::new(prefix, stamp).frame(&bare, id, id).len();
        let header_growth = if frame_bytes > 65_535 + 10 { 6 } else { 0 };
        let text_bytes = frame_bytes.checked_sub(least + header_growth).ok_or_else(|| {
            Failure::new(format!("--size {frame_bytes} is too small: it must be at least {least}"))
        })?;
        Ok(Self {
            text: "Checked the node's memory and latency. "
                .chars()
                .cycle()
                .take(text_bytes)
                .collect(),
        })
    }
}

impl Update {
    pub(crate) fn new(prefix: &str, stamp: Stamp) -> Self {
        Self {
            thread_id: thread_id(prefix, stamp.task),
            timestamp: timestamp(),
            metadata: format!(r#"{{"tool":"loadtest","stamp":"{}"}}"#, stamp.text()),
        }
    }

    pub(crate) fn fields<'a>(&'a self, shape: &'a Shape) -> Fields<'a> {
        [
            ("thread_id", &self.thread_id),
            ("update_type", "thread_update"),
            ("timestamp", &self.timestamp),
            ("type", "progress"),
            ("message", &shape.text),
            ("metadata", &self.metadata),
        ]
    }

    /// The text frame that a server sends for this update; nothing in it needs escaping.
    pub(crate) fn frame(&self, shape: &Shape, stream_id: &str, prev_stream_id: &str) -> Vec<u8> {
        let mut json = String::from("{");
        for (name, value) in self.fields(shape) {
            let quote = if name == "metadata" { "" } else { "\"" };
            json.push_str(&format!("\"{name}\":{quote}{value}{quote},"));
        }
        json.push_str(&format!(
            r#""stream_id":"{stream_id}","prev_stream_id":"{prev_stream_id}"}}"#
        ));
        text_frame(json.as_bytes())
    }
}

/// The id of a task of this run.
pub(crate) fn thread_id(prefix: &str, task: u32) -> String {
    format!("{prefix}{task:06}")
}

/// An unmasked text frame, as servers send them.
pub(crate) fn text_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match payload.len() {
        n @ 0..=125 => frame.push(n as u8),
        n @ 126..=65_535 => {
            frame.push(126);
            frame.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            frame.push(127);
            frame.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

/// ISO 8601 as Python writes it.
fn timestamp() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    let (date, (hour, minute, second, us)) = (now.date(), now.to_hms_micro());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{us:06}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_as_it_was() {
        let stamp = Stamp { task: 99_999, seq: 7, due_ns: 123_456_789_012_345 };
        assert_eq!(Stamp::read(stamp.text().as_bytes()), Some(stamp));
        assert_eq!(Stamp::read(&stamp.text().as_bytes()[..STAMP_BYTES - 1]), None);
    }

    #[test]
    fn a_frame_has_the_size_that_was_asked_for() {
        for size in [420, 4_000, 70_000] {
            let shape = Shape::of_size(size, "lt-").expect("a size that fits");
            let update = Update::new("lt-", Stamp { task: 3, seq: 1, due_ns: 5 });
            let frame = update.frame(&shape, "1700000000001-0", "1700000000000-0");
            assert_eq!(frame.len(), size);
        }
        assert!(Shape::of_size(50, "lt-").is_err());
    }
}
