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
