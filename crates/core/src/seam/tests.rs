//! The decision table, row by row, and what makes updates and entries equal.

mod marks;
mod sieved;
mod table;
mod words;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::entry::Entry;
use crate::id::StreamId;
use crate::timestamp;

const NOW_MS: u64 = 1_718_000_000_000;

/// What a worker wrote so long ago, its text the time.
fn update(message: &str, ago_ms: u64) -> Bytes {
    let at = timestamp::from_ms(NOW_MS - ago_ms);
    json!({"timestamp": at, "message": message, "metadata": null}).to_string().into()
}

fn update_without_time(message: &str) -> Bytes {
    json!({"message": message}).to_string().into()
}

/// An entry that came so long ago, with the time of an update that was written so long ago.
fn entry(message: &str, came_ago_ms: u64, ago_ms: Option<u64>) -> Entry {
    let mut fields = vec![("message", message.to_owned()), ("metadata", "{}".to_owned())];
    fields.extend(ago_ms.map(|ago_ms| ("timestamp", timestamp::from_ms(NOW_MS - ago_ms))));
    entry_of(came_ago_ms, &fields)
}

fn entry_of(came_ago_ms: u64, fields: &[(&str, String)]) -> Entry {
    let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let fields = fields.iter().map(|(name, value)| (owned(name), owned(value))).collect();
    Entry { id: StreamId { ms: NOW_MS - came_ago_ms, seq: 0 }, fields }
}

fn list(updates: &[Bytes]) -> List<'_> {
    List { updates, total: updates.len() as u64, task_id: Some(b"k") }
}

fn read<'a>(list: List<'a>, entries: &'a [Entry]) -> Read<'a> {
    Read { list, entries, entries_total: entries.len() as u64, now_ms: NOW_MS, one_step: false }
}

/// Which updates are shown by a server that knows nothing of them, and which are withheld.
fn attached(updates: &[Bytes], entries: &[Entry]) -> (Vec<usize>, Vec<usize>) {
    let found = attach(&read(list(updates), entries), &Memory::default(), Limits::default());
    assert_eq!(found.updates_total, (updates.len() - found.withheld.len()) as u64);
    (found.shown, found.withheld)
}

/// What is told of the withheld, where this was pushed and these entries came since.
fn told_later(
    updates: &[Bytes],
    entries: &[Entry],
    pushed: &[Bytes],
    came: &[Entry],
) -> Vec<Bytes> {
    let read = read(list(updates), entries);
    let memory = Memory::default();
    let found = attach(&read, &memory, Limits::default());
    let position = StreamId { ms: NOW_MS, seq: 0 };
    let Some(batch) = batch_of(&found, &read, position, &memory) else { return Vec::new() };
    let then = [updates, pushed].concat();
    let came: Vec<Told> = came.iter().filter_map(Told::by).collect();
    let reread = Reread::new(list(&then), StreamId::MAX);
    super::reread(&batch, &reread, &came, Limits::default())
}

/// A batch that keeps copies of all that is withheld.
fn batch_of(found: &Attach, read: &Read<'_>, position: StreamId, memory: &Memory) -> Option<Batch> {
    Batch::of(found, read, position, memory, |update| Some(update.clone()))
}

/// An entry that comes after the attach.
fn coming(message: &str, ago_ms: Option<u64>) -> Entry {
    let mut entry = entry(message, 0, ago_ms);
    entry.id.ms += 500;
    entry
}
