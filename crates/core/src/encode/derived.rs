//! Encode: an update that never got its entry, as the frame that stands for it (protocol §3.2).

use std::collections::HashMap;
use std::fmt;

use bytes::{BufMut, BytesMut};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{put_id, put_name, put_thread};
use crate::form::ws::put_text;
use crate::id::{StreamId, ThreadId};
use crate::json::{put_value, text};

/// A derived `thread_update`: the members of an update of the list, values byte for byte. Its own
/// `update_type` is told as `type`, as of an update that we publish. `position` is the viewer's.
///
/// An update that is no JSON object is told as the member `data`.
pub fn put_derived_update(
    out: &mut BytesMut,
    thread: &ThreadId,
    position: StreamId,
    update: &[u8],
) {
    put_text(out, |out| {
        out.put_slice(b"{\"update_type\":\"thread_update\",");
        put_thread(out, thread);
        let json = text(update);
        match serde_json::from_str::<Members<'_>>(&json) {
            Ok(Members(members)) => put_members(out, &members),
            Err(_) => {
                out.put_slice(b",\"data\":");
                put_value(out, update);
            }
        }
        out.put_slice(b",\"derived\":true,");
        put_id(out, "stream_id", position);
        out.put_u8(b'}');
    });
}

fn put_members(out: &mut BytesMut, members: &[(String, &RawValue)]) {
    let has_type = members.iter().any(|(name, _)| name == "type");
    for (name, value) in members {
        let name = match name.as_str() {
            "thread_id" | "derived" | "stream_id" | "prev_stream_id" => continue,
            "update_type" if has_type => continue,
            "update_type" => "type",
            name => name,
        };
        out.put_u8(b',');
        put_name(out, name);
        out.put_slice(value.get().as_bytes());
    }
}

/// The members of an object in their order. A name that repeats keeps its first place and its last
/// value, as those of an entry do.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members(Vec::new()))
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let mut places: HashMap<String, usize> = HashMap::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            match places.get(&name) {
                Some(&place) => self.0[place].1 = value,
                None => {
                    places.insert(name.clone(), self.0.len());
                    self.0.push((name, value));
                }
            }
        }
        Ok(self)
    }
}
