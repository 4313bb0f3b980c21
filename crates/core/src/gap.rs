//! A gap: what a viewer is told of it.

use crate::facts::StreamFacts;
use crate::id::StreamId;

/// Why a position cannot be honoured (protocol §3, `gap`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// The stream was cut from its old end, past the position.
    Trimmed,
    /// The entry was deleted by name.
    Deleted,
    /// The stream is another one than it was, or gone.
    Reset,
}

impl GapReason {
    /// The name in the protocol.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Deleted => "deleted",
            Self::Reset => "reset",
        }
    }
}

/// What a `gap` frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The position that cannot be honoured.
    pub requested: StreamId,
    /// The oldest entry that is still there; `0-0` where there is none.
    pub first: StreamId,
    /// The newest entry that is still there; `0-0` where there is none.
    pub last: StreamId,
    /// Why.
    pub reason: GapReason,
}

/// What a `gap` frame says of a stream.
pub fn gap(requested: StreamId, stream: &StreamFacts, reason: GapReason) -> Gap {
    Gap {
        requested,
        first: stream.first.unwrap_or_default(),
        last: stream.last.unwrap_or_default(),
        reason,
    }
}
