//! Encode: an entry's frame for a viewer whose last id is another one than that of the entry before.

use bytes::{BufMut, Bytes, BytesMut};

use super::{OWN_BYTES, put_id};
use crate::form::ws::{first_payload, put_text};
use crate::id::StreamId;

const NAME: &[u8] = b"\"prev_stream_id\":\"";

/// The unit of an entry, with another id as the one before it; none where its first frame is not that of
/// an entry with `previous` before it.
pub fn with_other_previous(unit: &[u8], previous: StreamId, other: StreamId) -> Option<Bytes> {
    let (json, behind) = first_payload(unit)?;
    let mut member = BytesMut::with_capacity(64);
    put_id(&mut member, "prev_stream_id", previous);
    // Ours is the last one: behind it stand only ids, a source's name and a time, as strings.
    let at = json.windows(NAME.len()).rposition(|part| part == NAME)?;
    json[at..].starts_with(&member).then_some(())?;
    let mut out = BytesMut::with_capacity(unit.len() + OWN_BYTES);
    put_text(&mut out, |out| {
        out.put_slice(&json[..at]);
        put_id(out, "prev_stream_id", other);
        out.put_slice(&json[at + member.len()..]);
    });
    out.put_slice(behind);
    Some(out.freeze())
}
