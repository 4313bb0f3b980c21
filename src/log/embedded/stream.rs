//! One stream in memory, with the rules of a Redis stream.
//!
//! Knows no task and no clock: the caller says what time it is.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::id::StreamId;
use crate::log::{Entry, StreamFacts};

/// What an entry costs beside its names and values, roughly: its id, its list, its buffer's head.
const ENTRY_OVERHEAD_BYTES: usize = 96;
/// What a field costs beside its name and value: two handles.
const FIELD_OVERHEAD_BYTES: usize = 2 * size_of::<Bytes>();

#[derive(Debug, Default)]
pub(super) struct Stream {
    entries: VecDeque<Entry>,
    last_generated: StreamId,
    entries_added: u64,
    bytes: usize,
}

impl Stream {
    /// Adds an entry; its id is the clock's, but always greater than the last.
    pub(super) fn add(&mut self, event: &[(String, String)], now_ms: u64) -> StreamId {
        let id = self.next_id(now_ms);
        let entry = Entry { id, fields: fields_of(event) };
        self.bytes += cost(&entry);
        self.entries.push_back(entry);
        self.last_generated = id;
        self.entries_added += 1;
        id
    }

    /// Drops the oldest entry; false where there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        let oldest = self.entries.pop_front();
        self.bytes -= oldest.as_ref().map_or(0, cost);
        oldest.is_some()
    }

    /// Drops the oldest entries until at most that many are left.
    pub(super) fn trim(&mut self, entries_max: u64) {
        while self.len() > entries_max && self.drop_oldest() {}
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// About how much memory the entries take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the stream says of itself.
    pub(super) fn facts(&self) -> StreamFacts {
        StreamFacts {
            exists: true,
            length: self.len(),
            last_generated: self.last_generated,
            first: self.entries.front().map(|entry| entry.id),
            last: self.entries.back().map(|entry| entry.id),
            entries_added: Some(self.entries_added),
            max_deleted: Some(StreamId::ZERO),
        }
    }

    /// The newest entries, oldest first.
    pub(super) fn newest(&self, entries_max: u64) -> Vec<Entry> {
        let skipped = self.len().saturating_sub(entries_max) as usize;
        self.entries.iter().skip(skipped).cloned().collect()
    }

    /// Entries from an id on, inclusive; no more once there are so many bytes and two entries.
    pub(super) fn from(&self, from: StreamId, entries_max: u64, bytes_max: u64) -> Vec<Entry> {
        let mut page =
            self.page(self.entries.partition_point(|entry| entry.id < from), entries_max);
        let mut bytes = 0;
        let full = page.iter().position(|entry| {
            bytes += entry.bytes_len() as u64;
            bytes >= bytes_max
        });
        page.truncate(full.map_or(usize::MAX, |last| (last + 1).max(2)));
        page
    }

    /// Whether an id has an entry.
    pub(super) fn has(&self, id: StreamId) -> bool {
        self.entries.binary_search_by_key(&id, |entry| entry.id).is_ok()
    }

    /// Entries after an id.
    pub(super) fn after(&self, after: StreamId, entries_max: u64) -> Vec<Entry> {
        self.page(self.entries.partition_point(|entry| entry.id <= after), entries_max)
    }

    fn page(&self, start: usize, entries_max: u64) -> Vec<Entry> {
        let entries_max = usize::try_from(entries_max).unwrap_or(usize::MAX);
        self.entries.range(start..).take(entries_max).cloned().collect()
    }

    fn next_id(&self, now_ms: u64) -> StreamId {
        let last = self.last_generated;
        if now_ms > last.ms {
            return StreamId { ms: now_ms, seq: 0 };
        }
        match last.seq.checked_add(1) {
            Some(seq) => StreamId { ms: last.ms, seq },
            None => StreamId { ms: last.ms + 1, seq: 0 },
        }
    }
}

fn cost(entry: &Entry) -> usize {
    ENTRY_OVERHEAD_BYTES + entry.fields.len() * FIELD_OVERHEAD_BYTES + entry.bytes_len()
}

/// The event's names and values as slices of one buffer.
fn fields_of(event: &[(String, String)]) -> Vec<(Bytes, Bytes)> {
    let whole: Vec<u8> = event
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()])
        .flatten()
        .copied()
        .collect();
    let mut rest = Bytes::from(whole);
    event
        .iter()
        .map(|(name, value)| (rest.split_to(name.len()), rest.split_to(value.len())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Vec<(String, String)> {
        vec![("message".into(), text.into())]
    }

    fn id(text: &str) -> StreamId {
        text.parse().unwrap()
    }

    #[test]
    fn ids_follow_the_clock_and_never_go_back() {
        let mut stream = Stream::default();
        let ids: Vec<_> =
            [5, 5, 7, 3, 7, 8].map(|now_ms| stream.add(&event("x"), now_ms).to_string()).into();
        assert_eq!(ids, ["5-0", "5-1", "7-0", "7-1", "7-2", "8-0"]);
    }

    #[test]
    fn the_sequence_carries_over_into_the_milliseconds() {
        let mut stream =
            Stream { last_generated: StreamId { ms: 5, seq: u64::MAX }, ..Stream::default() };
        assert_eq!(stream.add(&event("x"), 1), id("6-0"));
    }

    #[test]
    fn a_trimmed_stream_keeps_its_facts() {
        let mut stream = Stream::default();
        for now_ms in 1..=5 {
            stream.add(&event("x"), now_ms);
        }
        stream.trim(2);
        let facts = StreamFacts {
            exists: true,
            length: 2,
            last_generated: id("5-0"),
            first: Some(id("4-0")),
            last: Some(id("5-0")),
            entries_added: Some(5),
            max_deleted: Some(StreamId::ZERO),
        };
        assert_eq!(stream.facts(), facts);
        stream.trim(0);
        assert_eq!(stream.bytes(), 0);
        assert_eq!(stream.facts().last_generated, id("5-0"));
        assert!(!stream.drop_oldest());
    }

    #[test]
    fn pages_begin_at_or_after_a_position() {
        let mut stream = Stream::default();
        for now_ms in [1, 3, 5] {
            stream.add(&event(&now_ms.to_string()), now_ms);
        }
        let ids = |entries: Vec<Entry>| entries.iter().map(|e| e.id.ms).collect::<Vec<_>>();
        assert_eq!(ids(stream.from(id("3-0"), 9, u64::MAX)), [3, 5]);
        assert_eq!(ids(stream.from(id("2-0"), 1, u64::MAX)), [3]);
        assert_eq!(ids(stream.from(id("1-0"), 9, 1)).len(), 2);
        assert_eq!(ids(stream.after(id("3-0"), 9)), [5]);
        assert!(stream.after(StreamId::MAX, 9).is_empty());
        assert_eq!(ids(stream.newest(2)), [3, 5]);
        assert_eq!(stream.newest(1)[0].fields, [("message".into(), "5".into())]);
    }
}
