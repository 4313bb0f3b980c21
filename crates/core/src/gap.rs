//! A gap: what a stream's facts say of a position that may be gone, and why it is.

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

/// Whether the stream's facts alone prove that the entry is still there: it is not older than the
/// first one nor newer than the last one, and nothing from it on was ever deleted by name.
pub fn certainly_kept(position: StreamId, stream: &StreamFacts) -> bool {
    stream.first.is_some_and(|first| first <= position)
        && stream.last.is_some_and(|last| position <= last)
        && stream.max_deleted.is_some_and(|deleted| deleted < position)
}

/// Why a position that is not the last generated id is no entry of the stream.
pub fn reason(position: StreamId, stream: &StreamFacts) -> GapReason {
    if !stream.exists || position > stream.last_generated {
        return GapReason::Reset;
    }
    // Redis before version 7 does not say what was deleted.
    let deleted_from_here_on = stream.max_deleted.is_none_or(|deleted| position <= deleted);
    match stream.first {
        // Nothing was ever taken out of this stream, so the position is of another one.
        _ if stream.entries_added == Some(stream.length) => GapReason::Reset,
        Some(first) if position < first => match stream.max_deleted {
            Some(deleted) if position <= deleted && deleted < first => GapReason::Deleted,
            _ => GapReason::Trimmed,
        },
        Some(_) if deleted_from_here_on => GapReason::Deleted,
        Some(_) => GapReason::Reset,
        None if stream.max_deleted.is_some_and(|deleted| position <= deleted) => GapReason::Deleted,
        None => GapReason::Trimmed,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> StreamId {
        StreamId { ms, seq: 0 }
    }

    fn stream(first: u64, last: u64, added: u64, length: u64, deleted: u64) -> StreamFacts {
        StreamFacts {
            exists: true,
            length,
            last_generated: id(last),
            first: (first > 0).then(|| id(first)),
            last: (first > 0).then(|| id(last)),
            entries_added: Some(added),
            max_deleted: Some(id(deleted)),
        }
    }

    #[test]
    fn the_reason_of_a_gap_is_the_true_one() {
        for (position, stream, expected) in [
            (5, StreamFacts::default(), GapReason::Reset),
            (11, stream(1, 10, 10, 10, 0), GapReason::Reset),
            (5, stream(6, 10, 10, 5, 0), GapReason::Trimmed),
            (5, stream(4, 10, 10, 6, 5), GapReason::Deleted),
            (1, stream(2, 10, 10, 9, 1), GapReason::Deleted),
            (5, stream(6, 10, 10, 4, 7), GapReason::Trimmed),
            // Created again, with greater ids.
            (5, stream(6, 10, 5, 5, 0), GapReason::Reset),
            // Rolled back, and gone on from there past the position.
            (5, stream(2, 10, 10, 6, 0), GapReason::Reset),
            (5, stream(0, 10, 10, 0, 0), GapReason::Trimmed),
            (5, stream(0, 10, 10, 0, 10), GapReason::Deleted),
        ] {
            assert_eq!(reason(id(position), &stream), expected, "{position} in {stream:?}");
        }
    }
}
