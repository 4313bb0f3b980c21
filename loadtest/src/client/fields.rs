//! Finds what a viewer needs in a frame without parsing its JSON.
//!
//! Frames of one run are nearly all of the same shape. So each field is looked for where it was
//! the last time, and searched for only when it is not there.

use crate::wire::{MARK, Stamp};
use memchr::memmem::Finder;

/// A Redis entry id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct StreamId {
    pub(crate) ms: u64,
    pub(crate) seq: u64,
}

impl StreamId {
    pub(crate) const ZERO: Self = Self { ms: 0, seq: 0 };

    /// Reads an id that ends at a quote.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (ms, used) = number(bytes)?;
        let rest = bytes.get(used..)?.strip_prefix(b"-")?;
        let (seq, used) = number(rest)?;
        (rest.get(used) == Some(&b'"')).then_some(Self { ms, seq })
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value: u64 = 0;
    let mut used = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        used += 1;
    }
    (1..=20).contains(&used).then_some((value, used))
}

/// What a viewer reads from an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) stamp: Stamp,
    /// Servers other than Taskcast may leave these out.
    pub(crate) stream_id: Option<StreamId>,
    pub(crate) prev_stream_id: Option<StreamId>,
}

/// A piece of text and where it was found last.
struct Field {
    finder: Finder<'static>,
    hint: usize,
}

impl Field {
    fn new(needle: &'static [u8]) -> Self {
        Self { finder: Finder::new(needle), hint: 0 }
    }

    /// The bytes from the start of the text on. `anchor` is the end that it keeps its distance from.
    fn find<'a>(&mut self, payload: &'a [u8], anchor: Anchor) -> Option<&'a [u8]> {
        let expected = match anchor {
            Anchor::Start => self.hint,
            Anchor::End => payload.len().wrapping_sub(self.hint),
        };
        if let Some(rest) = payload.get(expected..)
            && rest.starts_with(self.finder.needle())
        {
            return Some(rest);
        }
        let at = self.finder.find(payload)?;
        self.hint = match anchor {
            Anchor::Start => at,
            Anchor::End => payload.len() - at,
        };
        payload.get(at..)
    }
}

#[derive(Clone, Copy)]
enum Anchor {
    Start,
    End,
}

/// Finds the fields of updates.
pub(crate) struct Fields {
    mark: Field,
    stream_id: Field,
    prev_stream_id: Field,
}

impl Fields {
    pub(crate) fn new() -> Self {
        Self {
            mark: Field::new(MARK),
            stream_id: Field::new(b"\"stream_id\":"),
            prev_stream_id: Field::new(b"\"prev_stream_id\":"),
        }
    }

    /// What the update says, or `None` when this is not an update of ours.
    pub(crate) fn read(&mut self, payload: &[u8]) -> Option<Seen> {
        let stamp = Stamp::read(self.mark.find(payload, Anchor::Start)?)?;
        let stream_id = self.stream_id.find(payload, Anchor::End).and_then(id_after_colon);
        let prev_stream_id =
            self.prev_stream_id.find(payload, Anchor::End).and_then(id_after_colon);
        Some(Seen { stamp, stream_id, prev_stream_id })
    }
}

/// Servers may or may not put a space after the colon.
fn id_after_colon(field: &[u8]) -> Option<StreamId> {
    let colon = memchr::memchr(b':', field)?;
    let value = field.get(colon + 1..)?;
    StreamId::read(value.strip_prefix(b" ").unwrap_or(value).strip_prefix(b"\"")?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::frames::{Next, next};
    use crate::wire::{Shape, Update};

    fn id(ms: u64, seq: u64) -> Option<StreamId> {
        Some(StreamId { ms, seq })
    }

    #[test]
    fn fields_are_found_whatever_the_lengths_before() {
        let mut fields = Fields::new();
        let shape = Shape::of_size(420, "lt-").expect("fits");
        for (task, seq, ms, n) in
            [(0, 1, 5, 0), (0, 2, 1_700_000_000_000, 12), (9_999_999, 3, 6, 1)]
        {
            let stamp = Stamp { task, seq, due_ns: 77 };
            let (this, before) = (format!("{ms}-{n}"), format!("{}-0", ms - 1));
            let frame = Update::new("lt-", stamp).frame(&shape, &this, &before);
            let Next::Frame { payload, .. } = next(&frame) else { panic!("no frame") };
            let seen = fields.read(payload).expect("an update");
            assert_eq!(seen, Seen { stamp, stream_id: id(ms, n), prev_stream_id: id(ms - 1, 0) });
        }
    }

    #[test]
    fn other_spacing_and_missing_ids_are_read_too() {
        let mut fields = Fields::new();
        let stamp = "~LT~000000010000000200000000000000ff";
        let spaced = format!(r#"{{"metadata": {{"stamp": "{stamp}"}}, "stream_id": "7-1"}}"#);
        let seen = fields.read(spaced.as_bytes()).expect("an update");
        assert_eq!(seen.stamp, Stamp { task: 1, seq: 2, due_ns: 255 });
        assert_eq!((seen.stream_id, seen.prev_stream_id), (id(7, 1), None));
        assert_eq!(fields.read(b"{\"update_type\":\"caught_up\",\"stream_id\":\"7-1\"}"), None);
    }

    #[test]
    fn malformed_ids_are_none() {
        for text in ["", "-", "1", "1-", "-1\"", "1-1", "1-x\"", "123456789012345678901-0\""] {
            assert_eq!(StreamId::read(text.as_bytes()), None, "{text}");
        }
    }
}
