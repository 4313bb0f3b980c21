//! What an update of the list, or an entry of the stream, says, as far as it identifies it.
//!
//! The publisher's own word for an update (`update_type`) is no part of that: in the thread layout the
//! entry says `thread_update` instead. Values are compared parsed, as publishers write the same text
//! or number differently in the two places; no metadata is `null` in the one and `{}` in the other.
//! Metadata longer than [`METADATA_MAX`] is not looked at, and all of it counts as the same: parsing
//! it takes long, on a thread that has viewers to serve. Such updates are told apart by message and
//! time only, and doubt costs a delay.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::entry::Entry;
use crate::hash;
use crate::id::StreamId;
use crate::json::text;
use crate::timestamp;

/// How long metadata may be to be looked at, in characters other than white space.
const METADATA_MAX: usize = 16 * 1024;

/// What identifies an update beside its message.
#[derive(Debug, PartialEq)]
enum Metadata {
    Of(Value),
    Long,
}

/// A message with its metadata, as a hash: what says the same is of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Class(u64);

/// What an update of the list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Said {
    /// None where it is no object with a message: it has no entry that could be known.
    pub(super) class: Option<Class>,
    /// Its time by its worker's clock, in microseconds since the epoch.
    pub(super) at_us: Option<i64>,
}

/// What an entry with a message says. It is small, so that those that come while updates are withheld
/// can be kept for the re-read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The entry's.
    pub id: StreamId,
    pub(super) class: Class,
    pub(super) at_us: Option<i64>,
    /// Which task it is of, where it says so; a hash.
    task: Option<u64>,
}

impl Said {
    pub(super) fn by_update(update: &[u8]) -> Self {
        let json = text(update);
        let members: Members<'_> = serde_json::from_str(&json).unwrap_or_default();
        let message = members.message.map(|raw| plain(raw.get()));
        let metadata = members.metadata.and_then(|raw| metadata(raw.get()));
        Self {
            class: message.map(|message| Class::of(&message, metadata.as_ref())),
            at_us: members.timestamp.and_then(|raw| timestamp::parse_us(&plain(raw.get()))),
        }
    }
}

impl Told {
    /// None where the entry has no message: it tells of no update.
    pub fn by(entry: &Entry) -> Option<Self> {
        let field = |name: &str| {
            let found = entry.fields.iter().rev().find(|(key, _)| key == name)?;
            Some(text(&found.1))
        };
        let metadata = field("metadata").and_then(|raw| metadata(&raw));
        Some(Self {
            id: entry.id,
            class: Class::of(&field("message")?, metadata.as_ref()),
            at_us: field("timestamp").and_then(|raw| timestamp::parse_us(&raw)),
            task: field("task_id").map(|id| hash::of(id.as_bytes())),
        })
    }

    /// Whether it may be the entry of an update of this task's list; `None` is the thread layout, where
    /// there is one list.
    pub(super) fn is_of(&self, task_id: Option<&[u8]>) -> bool {
        task_id.is_none_or(|id| self.task.is_none_or(|task| task == hash::of(id)))
    }
}

impl Class {
    fn of(message: &str, metadata: Option<&Metadata>) -> Self {
        let metadata = metadata.map(|metadata| match metadata {
            Metadata::Of(value) => Some(hash::of_json(value)),
            Metadata::Long => None,
        });
        Self(hash::of(&(message, metadata)))
    }
}

/// A string's text, and anything else as it is written: entries have strings only.
fn plain(raw: &str) -> Cow<'_, str> {
    let inner = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner {
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        _ => serde_json::from_str(raw).map_or(Cow::Borrowed(raw), Cow::Owned),
    }
}

/// Metadata that says something.
fn metadata(raw: &str) -> Option<Metadata> {
    // Most have none.
    if matches!(raw, "{}" | "null") {
        return None;
    }
    let raw = raw.trim_matches([' ', '\t', '\n', '\r']);
    if raw.starts_with('"') {
        // What is text in the list is this text in the entry.
        return serde_json::from_str::<String>(raw).ok().and_then(|inner| metadata(&inner));
    }
    if is_long(raw) {
        return Some(Metadata::Long);
    }
    match serde_json::from_str(raw).ok()? {
        Value::Null => None,
        Value::Object(members) if members.is_empty() => None,
        value => Some(Metadata::Of(value)),
    }
}

/// Whether metadata is too long to be looked at, however it is written: a character is one, itself or
/// escaped, and white space is none.
fn is_long(raw: &str) -> bool {
    if raw.len() <= METADATA_MAX {
        return false;
    }
    let mut bytes = raw.bytes();
    let mut length = 0;
    while let Some(byte) = bytes.next() {
        let counts = match byte {
            b' ' | b'\t' | b'\n' | b'\r' => false,
            // Not the first byte of a character.
            0x80..=0xBF => false,
            b'\\' if bytes.next() == Some(b'u') => {
                let digits: [Option<u8>; 4] = std::array::from_fn(|_| bytes.next());
                // The second half of a character.
                !matches!(digits, [Some(b'd' | b'D'), Some(b'c'..=b'f' | b'C'..=b'F'), ..])
            }
            _ => true,
        };
        length += usize::from(counts);
        if length > METADATA_MAX {
            return true;
        }
    }
    false
}

/// The members of an update that identify it; of those that repeat the last one, as for a Python
/// reader. Raw, so that metadata which nests too deep leaves the rest as it is.
#[derive(Default)]
struct Members<'a> {
    message: Option<&'a RawValue>,
    metadata: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Name {
    Message,
    Metadata,
    Timestamp,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Members::default())
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an update")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(name) = map.next_key()? {
            let kept = match name {
                Name::Message => &mut self.message,
                Name::Metadata => &mut self.metadata,
                Name::Timestamp => &mut self.timestamp,
                Name::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            *kept = map.next_value::<Option<&RawValue>>()?;
        }
        Ok(self)
    }
}
