//! When the entry at the head is not there: whether anything is missing behind it.

use crate::facts::StreamFacts;
use crate::gap::GapReason;
use crate::id::StreamId;
use crate::snapshot::Snapshot;

/// How many entries were ever added; a stream that is not there had none.
pub fn added(stream: &StreamFacts) -> Option<u64> {
    if stream.exists { stream.entries_added } else { Some(0) }
}

/// Whether the entries in a snapshot go on right behind the head.
pub enum Verdict {
    /// Nothing is missing.
    Complete,
    /// Something is, and why.
    Gap(GapReason),
}

/// The head was delivered; `known_added` entries had been added by then. The stream is the same one
/// and lacks nothing if it has exactly the entries that were added since.
pub fn judge(head: StreamId, known_added: Option<u64>, snapshot: &Snapshot) -> Verdict {
    let stream = &snapshot.stream;
    if snapshot.page.first().is_some_and(|entry| entry.id == head) {
        return Verdict::Complete;
    }
    if !stream.exists {
        let gone = head != StreamId::ZERO;
        return if gone { Verdict::Gap(GapReason::Reset) } else { Verdict::Complete };
    }
    if stream.last_generated < head {
        return Verdict::Gap(GapReason::Reset);
    }
    if stream.last_generated == head {
        return Verdict::Complete;
    }
    let (Some(known), Some(now)) = (known_added, stream.entries_added) else {
        // Redis before version 7 does not count: an unbroken stream cannot be told from a trimmed
        // one, unless it began after the head.
        let began_here = head == StreamId::ZERO;
        return if began_here { Verdict::Complete } else { Verdict::Gap(GapReason::Trimmed) };
    };
    let behind_head_only = stream.first.is_none_or(|first| first > head);
    let removed = now.saturating_sub(stream.length);
    if behind_head_only && removed == known {
        return Verdict::Complete;
    }
    if now < known || (behind_head_only && removed < known) {
        return Verdict::Gap(GapReason::Reset);
    }
    if !behind_head_only {
        // Older entries are still there, the head is not: it was deleted by name, or never was.
        let deleted = stream.max_deleted.is_some_and(|deleted| head <= deleted);
        return if deleted { Verdict::Complete } else { Verdict::Gap(GapReason::Reset) };
    }
    if stream.max_deleted.is_some_and(|deleted| head < deleted) {
        Verdict::Gap(GapReason::Deleted)
    } else {
        Verdict::Gap(GapReason::Trimmed)
    }
}

#[cfg(test)]
mod tests;
