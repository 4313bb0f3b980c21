//! Encode: what a task's stream and state say, as the frames that viewers get (protocol §3).
//!
//! Entries are encoded once per process; everything here appends whole text frames to a buffer.

mod derived;
mod mapped;
mod previous;
mod standing;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::account::Account;
use crate::chunk::{After, Chunk, Ended, Unit};
use crate::digits;
use crate::entry::Entry;
use crate::form::ws::put_text;
use crate::gap::Gap;
use crate::id::{StreamId, ThreadId};
use crate::json::{put_string, put_value, text};
use crate::state::State;
use crate::timestamp;

pub use derived::put_derived_update;
pub use mapped::put_end;
use mapped::put_mapped;
pub use previous::with_other_previous;
pub use standing::Standing;

/// Members that are JSON strings whatever they look like (protocol §3, "Values").
const TEXT_MEMBERS: [&str; 8] = [
    "thread_id",
    "task_id",
    "update_type",
    "type",
    "status",
    "message",
    "error_message",
    "timestamp",
];

/// How many of the newest updates an `initial_state` holds (protocol §3).
pub const INITIAL_UPDATES_MAX: usize = 10;

/// A chunk ends with the entry that brings it to this size, in bytes: small enough that a viewer
/// who holds on to one, and a socket that takes a part of one, cost little.
const CHUNK_BYTES_TARGET: usize = 256 * 1024;

/// What a frame has beside what was written, about: its header, names and marks, ids, a time. What is
/// appended beyond what was allocated would double that.
const OWN_BYTES: usize = 192;

/// Up to this many fields, names are compared with each other; beyond, through a hash map.
const FEW_FIELDS: usize = 16;

/// The entries as chunks, in order; `after` is where they follow. Those that their source has skipped
/// are in them without a frame.
pub fn entries(
    account: &Account,
    thread: &ThreadId,
    after: impl Into<After>,
    entries: &[Entry],
) -> Vec<Arc<Chunk>> {
    let mut chunks = Vec::new();
    let mut rest = entries;
    let mut after: After = after.into();
    let last = entries.last().map(|entry| entry.id);
    let own_bytes = OWN_BYTES + thread.as_str().len() + thread.source_name().map_or(0, str::len);
    while !rest.is_empty() {
        let mut size = 0;
        let many = rest.iter().position(|entry| {
            size += entry.bytes_len() + entry.fields.len() * 6 + own_bytes;
            size >= CHUNK_BYTES_TARGET
        });
        let (now, later) = rest.split_at(many.map_or(rest.len(), |last| last + 1));
        rest = later;
        let mut out = BytesMut::with_capacity(size);
        let mut units = Vec::with_capacity(now.len());
        let (mut sent, mut ended) = (after.sent, None);
        for entry in now {
            match thread.source() {
                None => {
                    put_text(&mut out, |out| put_entry(out, thread, sent, entry));
                    sent = entry.id;
                }
                Some(source) => {
                    let is_last = last == Some(entry.id);
                    let put = put_mapped(&mut out, thread, source, sent, entry, is_last);
                    sent = if put.skipped { sent } else { entry.id };
                    ended = put.ended.or(ended);
                }
            }
            units.push(Unit { end: out.len(), position: entry.id });
        }
        let behind = |ended: Ended| {
            let behind = units.partition_point(|unit| unit.position <= ended.position);
            Ended { behind: (units.len() - behind) as u64, ..ended }
        };
        let ended = ended.map(behind);
        let chunk = Chunk::new(account, exact(out), units.into(), after);
        after = After { position: chunk.last(), sent };
        chunks.push(Arc::new(chunk.ending(ended)));
    }
    chunks
}

/// What was written, without much room behind it: it is held as long as its chunk, and very many
/// are.
fn exact(out: BytesMut) -> Bytes {
    let spare = out.capacity() - out.len();
    if spare > out.len() / 16 { Bytes::copy_from_slice(&out) } else { out.freeze() }
}

fn put_entry(out: &mut BytesMut, thread: &ThreadId, previous: StreamId, entry: &Entry) {
    out.put_u8(b'{');
    let mut has_thread_id = false;
    let mut has_timestamp = false;
    for (name, value) in fields(entry) {
        match name.as_ref() {
            "stream_id" | "prev_stream_id" | "derived" => continue,
            "thread_id" => has_thread_id = true,
            "timestamp" => has_timestamp = true,
            _ => {}
        }
        put_field(out, &name, value);
        out.put_u8(b',');
    }
    put_id(out, "stream_id", entry.id);
    out.put_u8(b',');
    put_id(out, "prev_stream_id", previous);
    if !has_thread_id {
        out.put_u8(b',');
        put_text_member(out, "thread_id", thread.as_str());
    }
    if !has_timestamp {
        out.put_u8(b',');
        put_text_member(out, "timestamp", &timestamp::from_ms(entry.id.ms));
    }
    out.put_u8(b'}');
}

/// A field as a member.
fn put_field(out: &mut BytesMut, name: &str, value: &[u8]) {
    put_name(out, name);
    if TEXT_MEMBERS.contains(&name) {
        put_string(out, &text(value));
    } else {
        put_value(out, value);
    }
}

/// The fields in the entry's order. A name that repeats keeps its first place and its last value,
/// as in the dictionary that a Python client would make of the entry.
pub(crate) fn fields(entry: &Entry) -> Vec<(Cow<'_, str>, &Bytes)> {
    let mut fields: Vec<_> = entry.fields.iter().map(|(name, value)| (text(name), value)).collect();
    let repeats = |at: usize| fields[..at].iter().any(|(name, _)| *name == fields[at].0);
    if fields.len() <= FEW_FIELDS && !(1..fields.len()).any(repeats) {
        return fields;
    }
    let mut places: HashMap<Cow<'_, str>, usize> = HashMap::with_capacity(fields.len());
    let mut kept: Vec<(Cow<'_, str>, &Bytes)> = Vec::with_capacity(fields.len());
    for (name, value) in fields.drain(..) {
        match places.get(&name) {
            Some(&place) => kept[place].1 = value,
            None => {
                places.insert(name.clone(), kept.len());
                kept.push((name, value));
            }
        }
    }
    kept
}

/// How many bytes an `initial_state` takes, about, with a gap in front of it.
pub fn initial_state_bytes(state: &State) -> usize {
    state.bytes_len() + state.updates.len() + 4 * OWN_BYTES
}

/// An `initial_state` frame at `position`, from the newest of `state.updates`.
pub fn put_initial_state(
    out: &mut BytesMut,
    thread: &ThreadId,
    position: StreamId,
    state: &State,
    now_ms: u64,
) {
    put_text(out, |out| {
        out.put_slice(b"{\"update_type\":\"initial_state\",");
        put_thread(out, thread);
        if let Some(task) = &state.task {
            out.put_u8(b',');
            put_text_member(out, "task_id", &text(&task.task_id));
        }
        out.put_u8(b',');
        put_optional_text(out, "status", state.status.as_deref());
        out.put_slice(b",\"updates\":[");
        let newest = state.updates.len().saturating_sub(INITIAL_UPDATES_MAX);
        for (number, update) in state.updates[newest..].iter().enumerate() {
            if number > 0 {
                out.put_u8(b',');
            }
            put_value(out, update);
        }
        out.put_slice(b"],");
        put_name(out, "updates_total");
        digits::put(out, state.updates_total);
        out.put_u8(b',');
        put_optional_value(out, "result", state.result.as_deref());
        out.put_u8(b',');
        put_optional_text(out, "error_message", state.error.as_deref());
        put_approval(out, state);
        out.put_u8(b',');
        put_id(out, "stream_id", position);
        out.put_u8(b',');
        put_text_member(out, "timestamp", &timestamp::from_ms(now_ms));
        out.put_u8(b'}');
    });
}

/// In the task layout, what waits for approval.
fn put_approval(out: &mut BytesMut, state: &State) {
    let Some(task) = &state.task else { return };
    for name in ["pending_approval", "resume_supported"] {
        out.put_u8(b',');
        put_optional_value(out, name, task.field(name).map(|value| value.as_ref()));
    }
}

/// A `caught_up` frame.
pub fn caught_up(thread: &ThreadId, position: StreamId) -> Bytes {
    let mut out = BytesMut::with_capacity(192);
    put_text(&mut out, |out| {
        out.put_slice(b"{\"update_type\":\"caught_up\",");
        put_thread(out, thread);
        out.put_u8(b',');
        put_id(out, "stream_id", position);
        out.put_u8(b'}');
    });
    out.freeze()
}

/// Appends a `gap` frame.
pub fn put_gap(out: &mut BytesMut, thread: &ThreadId, gap: &Gap) {
    put_text(out, |out| {
        out.put_slice(b"{\"update_type\":\"gap\",");
        put_thread(out, thread);
        for (name, id) in [("requested", gap.requested), ("first", gap.first), ("last", gap.last)] {
            out.put_u8(b',');
            put_id(out, name, id);
        }
        out.put_u8(b',');
        put_text_member(out, "reason", gap.reason.as_str());
        out.put_u8(b'}');
    });
}

/// An error frame: `{"error": …, "thread_id": …}`; the id as the viewer gave it, and the source where
/// it is not the agent's.
pub fn error(message: &str, thread_id: &str, source: Option<&str>) -> Bytes {
    let mut out = BytesMut::with_capacity(192);
    put_text(&mut out, |out| {
        out.put_u8(b'{');
        put_text_member(out, "error", message);
        out.put_u8(b',');
        put_text_member(out, "thread_id", thread_id);
        if let Some(source) = source {
            out.put_u8(b',');
            put_text_member(out, "source", source);
        }
        out.put_u8(b'}');
    });
    out.freeze()
}

/// What somebody is told who is not let in: `{"error": …}`, and of which task that is, where it is of one.
pub fn refusal(message: &str, thread_id: Option<&str>, source: Option<&str>) -> Bytes {
    if let Some(thread_id) = thread_id {
        return error(message, thread_id, source);
    }
    let mut out = BytesMut::with_capacity(128);
    put_text(&mut out, |out| {
        out.put_u8(b'{');
        put_text_member(out, "error", message);
        out.put_u8(b'}');
    });
    out.freeze()
}

/// The answer to a token that counts: for how many seconds; none for ever.
pub fn auth(expires_in: Option<u64>) -> Bytes {
    put_expiry("auth", expires_in)
}

/// The token ends in so many seconds.
pub fn auth_expiring(expires_in: u64) -> Bytes {
    put_expiry("auth_expiring", Some(expires_in))
}

fn put_expiry(kind: &str, expires_in: Option<u64>) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    put_text(&mut out, |out| {
        out.put_u8(b'{');
        put_text_member(out, "type", kind);
        out.put_slice(b",\"expires_in\":");
        match expires_in {
            Some(seconds) => digits::put(out, seconds),
            None => out.put_slice(b"null"),
        }
        out.put_u8(b'}');
    });
    out.freeze()
}

/// The members that say whose frame it is.
fn put_thread(out: &mut BytesMut, thread: &ThreadId) {
    put_text_member(out, "thread_id", thread.as_str());
    if let Some(source) = thread.source_name() {
        out.put_u8(b',');
        put_text_member(out, "source", source);
    }
}

fn put_name(out: &mut BytesMut, name: &str) {
    put_string(out, name);
    out.put_u8(b':');
}

fn put_text_member(out: &mut BytesMut, name: &str, text: &str) {
    put_name(out, name);
    put_string(out, text);
}

fn put_optional_text(out: &mut BytesMut, name: &str, raw: Option<&[u8]>) {
    put_name(out, name);
    match raw {
        Some(raw) => put_string(out, &text(raw)),
        None => out.put_slice(b"null"),
    }
}

fn put_optional_value(out: &mut BytesMut, name: &str, raw: Option<&[u8]>) {
    put_name(out, name);
    match raw {
        Some(raw) => put_value(out, raw),
        None => out.put_slice(b"null"),
    }
}

fn put_id(out: &mut BytesMut, name: &str, id: StreamId) {
    put_name(out, name);
    out.put_u8(b'"');
    id.put(out);
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests;
