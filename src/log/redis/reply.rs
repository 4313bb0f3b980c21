//! Replies of Redis as the types of the log. Both protocol versions; a reply of an unexpected form
//! reads as nothing, it never panics.

use bytes::Bytes;
use redis::Value;

use crate::id::StreamId;
use crate::log::{Entry, Published, Snapshot, State, StreamFacts, TaskPart};

/// The reply of `snapshot.lua`; none where it is of another form.
pub fn snapshot(reply: Value) -> Option<Snapshot> {
    let [now_us, stream, found, newest, page, page_goes_on, is_there] = parts(reply)?;
    let mut newest = entries(newest);
    newest.reverse();
    Some(Snapshot {
        stream: facts(stream),
        state: state(found)?,
        newest,
        page: entries(page),
        page_goes_on: number(&page_goes_on) == Some(1),
        is_there: number(&is_there) == Some(1),
        now_ms: number(&now_us)? / 1000,
        ..Snapshot::default()
    })
}

/// What a script answers, if that is so many things. Fewer are none: Redis ends an answer where a script
/// has put nothing, and what was behind it would read as if it were not there.
pub fn parts<const N: usize>(reply: Value) -> Option<[Value; N]> {
    array(reply).try_into().ok()
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

/// A state, where there is one; none where it is of another form.
fn state(reply: Value) -> Option<Option<State>> {
    if !matches!(reply, Value::Array(_)) {
        return Some(None);
    }
    let [task_id, status, updates, total, result, error, metadata, context, of_task] =
        parts(reply)?;
    let task_id = bytes(task_id);
    let mut updates: Vec<Bytes> = array(updates).into_iter().filter_map(bytes).collect();
    if task_id.is_none() {
        // The `thread` layout keeps the newest first.
        updates.reverse();
    }
    Some(Some(State {
        status: bytes(status),
        updates,
        updates_total: number(&total).unwrap_or_default(),
        result: bytes(result),
        error: bytes(error),
        metadata: pairs(metadata),
        context: pairs(context),
        task: task_id.map(|task_id| TaskPart { task_id, metadata: pairs(of_task) }),
    }))
}

/// The reply of `publish.lua`; none where it is another's.
pub fn published(reply: Value) -> Option<Published> {
    let [thread, id] = parts(reply)?;
    let thread = std::str::from_utf8(&bytes(thread)?).ok()?.parse().ok()?;
    Some(Published { thread, stream_id: stream_id(&id)? })
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
