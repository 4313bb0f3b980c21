//! The names of the field: which task, which place in its stream, which keys.
//!
//! Parse, don't validate: a [`ThreadId`] or [`StreamId`] that exists is well-formed. Knows nothing
//! of Redis connections or sockets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use crate::digits;
use crate::source::Source;

/// The longest thread id, in bytes (protocol §1).
pub const THREAD_ID_BYTES_MAX: usize = 128;

/// The id of a task: of the agent's, 1 to 128 of `[A-Za-z0-9_-]` (protocol §1); of another
/// [`Source`]'s, as that says, and with it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ThreadId {
    text: Arc<str>,
    source: Option<Arc<Source>>,
}

impl ThreadId {
    /// A task of a source that is not the agent's.
    ///
    /// # Errors
    /// The source has no task of that id.
    pub fn of(source: &Arc<Source>, text: &str) -> Result<Self, InvalidThreadId> {
        let id = Self { text: Arc::from(text), source: Some(source.clone()) };
        if source.has(text) { Ok(id) } else { Err(InvalidThreadId) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its source; none is the agent's.
    pub fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref()
    }

    /// The name of its source; none is the agent's.
    pub fn source_name(&self) -> Option<&str> {
        self.source.as_deref().map(Source::name)
    }
}

impl FromStr for ThreadId {
    type Err = InvalidThreadId;

    fn from_str(text: &str) -> Result<Self, InvalidThreadId> {
        let well_formed = (1..=THREAD_ID_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let id = || Self { text: Arc::from(text), source: None };
        if well_formed { Ok(id()) } else { Err(InvalidThreadId) }
    }
}

impl fmt::Display for ThreadId {
    /// With its source before it, where that is not the agent's: `source:id`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self.source_name() {
            write!(f, "{source}:")?;
        }
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no thread id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidThreadId;

impl fmt::Display for InvalidThreadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a thread id is 1 to 128 letters, digits, '_' or '-'")
    }
}

impl std::error::Error for InvalidThreadId {}

/// A Redis stream id, `ms-seq`: the one kind of position there is (protocol §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct StreamId {
    /// Milliseconds since the Unix epoch, by the clock of Redis.
    pub ms: u64,
    /// Sequence number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// Before every entry: `0-0`.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// The greatest id.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The id right before this one; `0-0` has none and stays.
    pub fn predecessor(self) -> Self {
        match (self.ms, self.seq) {
            (0, 0) => Self::ZERO,
            (ms, 0) => Self { ms: ms - 1, seq: u64::MAX },
            (ms, seq) => Self { ms, seq: seq - 1 },
        }
    }

    /// The id right after this one; the greatest has none and stays.
    pub fn successor(self) -> Self {
        match (self.ms, self.seq) {
            (u64::MAX, u64::MAX) => Self::MAX,
            (ms, u64::MAX) => Self { ms: ms + 1, seq: 0 },
            (ms, seq) => Self { ms, seq: seq + 1 },
        }
    }

    /// Reads `ms-seq`, or `ms` alone, which means `ms-0` as in Redis. Digits only.
    pub fn parse_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.iter().position(|byte| *byte == b'-') {
            Some(dash) => {
                let (ms, seq) = (&bytes[..dash], &bytes[dash + 1..]);
                Some(Self { ms: digits::parse(ms)?, seq: digits::parse(seq)? })
            }
            None => Some(Self { ms: digits::parse(bytes)?, seq: 0 }),
        }
    }

    /// Appends the id as text.
    pub fn put(self, out: &mut BytesMut) {
        digits::put(out, self.ms);
        out.put_u8(b'-');
        digits::put(out, self.seq);
    }
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    /// As [`StreamId::parse_bytes`].
    fn from_str(text: &str) -> Result<Self, InvalidStreamId> {
        Self::parse_bytes(text.as_bytes()).ok_or(InvalidStreamId)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The text is no stream id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidStreamId;

impl fmt::Display for InvalidStreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stream id is MILLISECONDS-SEQUENCE, such as 1718000000000-0")
    }
}

impl std::error::Error for InvalidStreamId {}

/// Where everything of a task lies in Redis: the stream by its template, the rest by the prefix
/// (protocol §1 and §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    prefix: Arc<str>,
    template: Arc<str>,
    stream_head: Arc<str>,
    stream_tail: Arc<str>,
}

impl Keys {
    /// `template` may use `{prefix}` and must use `{thread_id}` exactly once.
    ///
    /// # Errors
    /// Says what is wrong with the template.
    pub fn new(prefix: &str, template: &str) -> Result<Self, String> {
        let filled = template.replace("{prefix}", prefix);
        match filled.split("{thread_id}").collect::<Vec<_>>()[..] {
            [head, tail] => Ok(Self {
                prefix: prefix.into(),
                template: template.into(),
                stream_head: head.into(),
                stream_tail: tail.into(),
            }),
            _ => Err(format!(
                "the stream key template {filled:?} has to contain {{thread_id}} exactly once"
            )),
        }
    }

    /// The prefix of every key but the stream's.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a task's stream.
    pub fn stream(&self, thread: &ThreadId) -> String {
        match thread.source() {
            None => format!("{}{thread}{}", self.stream_head, self.stream_tail),
            Some(source) => source.stream_key(thread.as_str()),
        }
    }

    /// The template of a stream's key, as it was given.
    pub fn stream_template(&self) -> &str {
        &self.template
    }

    /// The sorted set of the threads that `ThreadManager` made:
    /// score = time of the last change, in seconds.
    pub fn index(&self) -> String {
        format!("{}:threads:index", self.prefix)
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            prefix: "sre".into(),
            template: "{prefix}:stream:task:{thread_id}".into(),
            stream_head: "sre:stream:task:".into(),
            stream_tail: "".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_reads_and_prints_as_in_redis() {
        for (text, id) in [
            ("0", StreamId::ZERO),
            ("5", StreamId { ms: 5, seq: 0 }),
            ("5-7", StreamId { ms: 5, seq: 7 }),
            ("18446744073709551615-18446744073709551615", StreamId::MAX),
        ] {
            assert_eq!(text.parse(), Ok(id));
        }
        for text in ["", "-", "5-", "-5", "5-7-9", "+5", " 5", "a", "18446744073709551616", "$"] {
            assert_eq!(text.parse::<StreamId>(), Err(InvalidStreamId), "{text:?}");
        }
        assert_eq!(StreamId { ms: 5, seq: 7 }.to_string(), "5-7");
    }

    #[test]
    fn the_predecessor_is_the_greatest_smaller_id() {
        assert_eq!(StreamId { ms: 5, seq: 7 }.predecessor(), StreamId { ms: 5, seq: 6 });
        assert_eq!(StreamId { ms: 5, seq: 0 }.predecessor(), StreamId { ms: 4, seq: u64::MAX });
        assert_eq!(StreamId::ZERO.predecessor(), StreamId::ZERO);
    }

    #[test]
    fn the_successor_is_the_smallest_greater_id() {
        assert_eq!(StreamId { ms: 5, seq: 7 }.successor(), StreamId { ms: 5, seq: 8 });
        assert_eq!(StreamId { ms: 4, seq: u64::MAX }.successor(), StreamId { ms: 5, seq: 0 });
        assert_eq!(StreamId::MAX.successor(), StreamId::MAX);
    }

    #[test]
    fn a_thread_id_is_1_to_128_of_its_alphabet() {
        assert!("a".parse::<ThreadId>().is_ok());
        assert!("x".repeat(128).parse::<ThreadId>().is_ok());
        for text in ["", &"x".repeat(129), "a b", "a:b", "ü", "a/b", "a\n"] {
            assert_eq!(text.parse::<ThreadId>(), Err(InvalidThreadId), "{text:?}");
        }
    }

    #[test]
    fn a_stream_key_follows_its_template() {
        let id: ThreadId = "t1".parse().unwrap();
        assert_eq!(Keys::default().stream(&id), "sre:stream:task:t1");
        let keys = Keys::new("acme", "{prefix}:s:{thread_id}:x").unwrap();
        assert_eq!(keys.stream(&id), "acme:s:t1:x");
        assert_eq!(keys.index(), "acme:threads:index");
        assert!(Keys::new("acme", "{prefix}:s").is_err());
    }
}
