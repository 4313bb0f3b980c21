//! Replies of Redis as the types of the log. Both protocol versions; a reply of an unexpected form
//! reads as nothing, it never panics.

use bytes::Bytes;
use redis::Value;

use crate::id::StreamId;
use crate::log::{Entry, Published, Snapshot, State, StreamFacts, TaskPart};

/// The reply of `snapshot.lua`.
pub fn snapshot(reply: Value) -> Snapshot {
    let mut parts = array(reply).into_iter();
    let mut next = || parts.next().unwrap_or(Value::Nil);
    let now_us = number(&next()).unwrap_or_default();
    let stream = facts(next());
    let state = state(next());
    let mut newest = entries(next());
    newest.reverse();
    let page = entries(next());
    let page_goes_on = number(&next()) == Some(1);
    let is_there = number(&next()) == Some(1);
    let now_ms = now_us / 1000;
    let more = Snapshot::default();
    Snapshot { stream, state, newest, page, page_goes_on, is_there, now_ms, ..more }
}

/// The facts of a stream, as our scripts give them.
pub fn facts(reply: Value) -> StreamFacts {
    let Value::Array(parts) = reply else { return StreamFacts::default() };
    let id = |at: usize| parts.get(at).and_then(stream_id);
    let number = |at: usize| parts.get(at).and_then(number);
    StreamFacts {
        exists: true,
        length: number(0).unwrap_or_default(),
        last_generated: id(1).unwrap_or_default(),
        first: id(2),
        last: id(3),
        entries_added: number(4),
        max_deleted: id(5),
    }
}

fn state(reply: Value) -> Option<State> {
    let Value::Array(parts) = reply else { return None };
    let mut parts = parts.into_iter();
    let mut next = || parts.next().unwrap_or(Value::Nil);
    let task_id = bytes(next());
    let status = bytes(next());
    let mut updates: Vec<Bytes> = array(next()).into_iter().filter_map(bytes).collect();
    if task_id.is_none() {
        // The `thread` layout keeps the newest first.
        updates.reverse();
    }
    let updates_total = number(&next()).unwrap_or_default();
    let result = bytes(next());
    let error = bytes(next());
    let metadata = pairs(next());
    let context = pairs(next());
    let task_metadata = pairs(next());
    let task = task_id.map(|task_id| TaskPart { task_id, metadata: task_metadata });
    Some(State { status, updates, updates_total, result, error, metadata, context, task })
}

/// The reply of `publish.lua`; none where it is another's.
pub fn published(reply: Value) -> Option<Published> {
    let mut parts = array(reply).into_iter();
    let thread = std::str::from_utf8(&bytes(parts.next()?)?).ok()?.parse().ok()?;
    Some(Published { thread, stream_id: stream_id(&parts.next()?)? })
}

/// Entries as XRANGE gives them. One whose fields cannot be read keeps its place, without fields.
pub fn entries(reply: Value) -> Vec<Entry> {
    array(reply)
        .into_iter()
        .filter_map(|entry| {
            let mut parts = array(entry).into_iter();
            let id = stream_id(&parts.next()?)?;
            Some(Entry { id, fields: pairs(parts.next().unwrap_or(Value::Nil)) })
        })
        .collect()
}

/// Names and values, from a flat array or a map.
pub fn pairs(reply: Value) -> Vec<(Bytes, Bytes)> {
    if let Value::Map(map) = reply {
        return map.into_iter().filter_map(|(k, v)| Some((bytes(k)?, bytes(v)?))).collect();
    }
    let mut flat = array(reply).into_iter();
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        if let (Some(name), Some(value)) = (bytes(name), bytes(value)) {
            pairs.push((name, value));
        }
    }
    pairs
}

/// The elements of an array; nothing where the reply is none.
pub fn array(reply: Value) -> Vec<Value> {
    match reply {
        Value::Array(parts) | Value::Set(parts) => parts,
        _ => Vec::new(),
    }
}

/// Text of any kind, as bytes.
pub fn bytes(reply: Value) -> Option<Bytes> {
    match reply {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into()),
        Value::VerbatimString { text, .. } => Some(text.into()),
        Value::Okay => Some(Bytes::from_static(b"OK")),
        Value::Int(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// A stream id.
pub fn stream_id(reply: &Value) -> Option<StreamId> {
    match reply {
        Value::BulkString(bytes) => StreamId::parse_bytes(bytes),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

/// A number, as an integer or as text.
pub fn number(reply: &Value) -> Option<u64> {
    match reply {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

/// The elements of an array or a map, one after the other; anything else by itself.
pub(super) fn array_or_one(reply: Value) -> Vec<Value> {
    match reply {
        Value::Array(parts) | Value::Set(parts) => parts,
        Value::Map(pairs) => pairs.into_iter().flat_map(|(name, value)| [name, value]).collect(),
        other => vec![other],
    }
}
