//! What a stream says of itself.

use crate::id::StreamId;

/// What a stream says of itself, read in one step with whatever came along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// Whether there is a stream under the key.
    pub exists: bool,
    /// Number of entries.
    pub length: u64,
    /// The last id that the stream gave out; `0-0` where there is no stream.
    pub last_generated: StreamId,
    /// The oldest entry that is still there.
    pub first: Option<StreamId>,
    /// The newest entry that is still there.
    pub last: Option<StreamId>,
    /// How many entries were ever added (Redis 7 and later).
    pub entries_added: Option<u64>,
    /// The greatest id that was deleted by name (Redis 7 and later).
    pub max_deleted: Option<StreamId>,
}

impl StreamFacts {
    /// How many entries were ever added: none where there is no stream; not known of a stream of
    /// Redis before version 7.
    pub fn added(&self) -> Option<u64> {
        if self.exists { self.entries_added } else { Some(0) }
    }

    /// How many entries were ever removed, by trimming or by name; not known where
    /// [`StreamFacts::added`] is not.
    pub fn removed(&self) -> Option<u64> {
        Some(self.added()?.saturating_sub(self.length))
    }

    /// The greatest id that was deleted by name, `0-0` where none was; not known of a stream of
    /// Redis before version 7.
    pub fn deleted(&self) -> Option<StreamId> {
        if self.exists { self.max_deleted } else { Some(StreamId::ZERO) }
    }

    /// Below it there is nothing: the oldest entry that is still there, or the id right above the
    /// last one that was given out where there is no entry; `0-0` where there is no stream.
    pub fn floor(&self) -> StreamId {
        match self.first {
            Some(first) => first,
            None if self.exists => self.last_generated.successor(),
            None => StreamId::ZERO,
        }
    }
}
