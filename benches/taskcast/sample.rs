//! Entries and topics as they are in the field, for all benchmarks.

use std::sync::Arc;

use bytes::Bytes;
use taskcast::core::account::Account;
use taskcast::core::chunk::Chunk;
use taskcast::core::encode;
use taskcast::core::topic::TopicLog;
use taskcast::id::{StreamId, ThreadId};
use taskcast::log::Entry;

/// The size of a usual update, in bytes.
pub(crate) const USUAL_BYTES: usize = 250;

/// One that nobody looks at.
pub(crate) fn account() -> Account {
    Account::new(usize::MAX)
}

pub(crate) fn thread() -> ThreadId {
    "01JGXSJ5ZM3N7Q8R9TVWXYZABC".parse().unwrap()
}

pub(crate) fn id(number: usize) -> StreamId {
    StreamId { ms: 1_718_000_000_000 + number as u64, seq: 0 }
}

/// A progress update with that many bytes of names and values, at least 90.
pub(crate) fn entry(number: usize, bytes: usize) -> Entry {
    let fixed: [(&str, &str); 3] = [
        ("update_type", "thread_update"),
        ("type", "progress"),
        ("metadata", r#"{"step":3,"of":7,"tool":"kubectl"}"#),
    ];
    let len: usize = fixed.iter().map(|(name, value)| name.len() + value.len()).sum();
    let message = "Reading logs. ".repeat(bytes / 14 + 1);
    let mut fields: Vec<(Bytes, Bytes)> =
        fixed.iter().map(|(name, value)| (Bytes::from(*name), Bytes::from(*value))).collect();
    let message_len = bytes.saturating_sub(len + "message".len());
    fields.push(("message".into(), Bytes::from(message).slice(..message_len)));
    Entry { id: id(number), fields }
}

/// A log with that many usual updates, in chunks of so many, and the position before them all.
pub(crate) fn log(entries: usize, entries_per_chunk: usize) -> TopicLog {
    let mut log = TopicLog::new(id(0));
    for chunk in chunks(entries, entries_per_chunk) {
        log.append(chunk);
    }
    log
}

/// Usual updates in chunks of so many.
pub(crate) fn chunks(entries: usize, entries_per_chunk: usize) -> Vec<Arc<Chunk>> {
    let entries: Vec<Entry> = (1..=entries).map(|number| entry(number, USUAL_BYTES)).collect();
    let parts = entries.chunks(entries_per_chunk).enumerate();
    parts
        .flat_map(|(at, part)| {
            encode::entries(&account(), &thread(), id(at * entries_per_chunk), part)
        })
        .collect()
}
