//! Encode: an entry of a source beside the agent's, as its meaning says (protocol §2.2).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};

use super::{put_field, put_id, put_name, put_text_member, put_thread};
use crate::chunk::Ended;
use crate::entry::Entry;
use crate::form::ws::put_text;
use crate::id::{StreamId, ThreadId};
use crate::json::{is_text, put_string};
use crate::source::payload::{Payload, events, lines};
use crate::source::{End, Meaning, Source};
use crate::timestamp;

/// The type of an entry that has none.
const UPDATE_TYPE: &str = "entry";

/// What came of an entry.
pub(super) struct Put {
    /// It is not sent.
    pub(super) skipped: bool,
    /// It ended its task.
    pub(super) ended: Option<Ended>,
}

/// Appends the frame of an entry, and behind it that of an end where it is one. `is_last` is whether
/// nothing is known to follow it.
pub(super) fn put_mapped(
    out: &mut BytesMut,
    thread: &ThreadId,
    source: &Source,
    previous: StreamId,
    entry: &Entry,
    is_last: bool,
) -> Put {
    let meaning = source.meaning(entry);
    if meaning.skipped {
        return Put { skipped: true, ended: None };
    }
    put_text(out, |out| put_json(out, thread, previous, entry, &meaning));
    let ended = meaning.end.map(|end| Ended { position: entry.id, end, behind: 0 });
    // Where it is taken back in the same breath, nobody is told.
    if let Some(ended) = ended.filter(|_| is_last || source.ends_within() > 1) {
        put_end(out, thread, entry.id, ended.end);
    }
    Put { skipped: false, ended }
}

/// Appends the frame that tells of an end, for a viewer at a position.
pub fn put_end(out: &mut BytesMut, thread: &ThreadId, position: StreamId, end: End) {
    put_text(out, |out| {
        out.put_slice(b"{\"update_type\":\"end\",");
        put_thread(out, thread);
        out.put_u8(b',');
        put_id(out, "stream_id", position);
        out.put_slice(if end.failed { b",\"failed\":true" } else { b",\"failed\":false" });
        out.put_slice(b",\"derived\":true}");
    });
}

/// Appends the JSON of an entry: the members of its payload, its further fields, and what is ours.
fn put_json(
    out: &mut BytesMut,
    thread: &ThreadId,
    previous: StreamId,
    entry: &Entry,
    meaning: &Meaning<'_>,
) {
    out.put_u8(b'{');
    put_payload(out, &meaning.payload);
    for (name, value) in meaning.further_fields() {
        put_field(out, name, value);
        out.put_u8(b',');
    }
    if !meaning.has_update_type() {
        let update_type = meaning.update_type.as_deref().unwrap_or(UPDATE_TYPE);
        put_text_member(out, "update_type", update_type);
        out.put_u8(b',');
    }
    put_id(out, "stream_id", entry.id);
    out.put_u8(b',');
    put_id(out, "prev_stream_id", previous);
    out.put_u8(b',');
    put_thread(out, thread);
    if !meaning.has_timestamp() {
        out.put_u8(b',');
        put_text_member(out, "timestamp", &timestamp::from_ms(entry.id.ms));
    }
    out.put_u8(b'}');
}

/// Appends the members that a payload is, each with a comma behind it.
fn put_payload(out: &mut BytesMut, payload: &Payload<'_>) {
    if let Payload::Object(object) = payload {
        for run in &object.kept {
            out.put_slice(&object.text.as_bytes()[run.clone()]);
            out.put_u8(b',');
        }
    }
    let Some(name) = payload.member() else { return };
    put_name(out, name);
    match payload {
        Payload::None | Payload::Object(_) => {}
        Payload::Json(text) => out.put_slice(text.as_bytes()),
        Payload::Text(text) => put_string(out, text),
        Payload::Lines(text) => put_list(out, lines(text), put_item),
        Payload::Events(text) => put_list(out, events(text), |out, (name, data)| {
            out.put_u8(b'{');
            if let Some(name) = name {
                put_text_member(out, "event", name);
                out.put_u8(b',');
            }
            put_name(out, "data");
            put_item(out, &data);
            out.put_u8(b'}');
        }),
        Payload::Bytes(raw) => {
            out.put_u8(b'"');
            out.put_slice(STANDARD.encode(raw).as_bytes());
            out.put_u8(b'"');
        }
    }
    out.put_u8(b',');
}

fn put_list<T>(out: &mut BytesMut, items: impl Iterator<Item = T>, put: impl Fn(&mut BytesMut, T)) {
    out.put_u8(b'[');
    for (number, item) in items.enumerate() {
        if number > 0 {
            out.put_u8(b',');
        }
        put(out, item);
    }
    out.put_u8(b']');
}

fn put_item(out: &mut BytesMut, text: &str) {
    if is_text(text) { out.put_slice(text.as_bytes()) } else { put_string(out, text) }
}
