//! Whether a reader of a stream missed anything, by what the stream says of itself.
//!
//! An entry that was deleted by name before the reader came to it is *withdrawn*, and nobody is owed
//! it. Owed are the entries that were trimmed away unread, and everything where there is another
//! stream under the key now. What decides is that trimming takes entries from the old end only: while
//! any entry up to a position is there, none behind it was trimmed. Where none is there, all of them
//! were removed, and the count of what was ever removed says whether more was. Counts tell apart, too,
//! most streams that came to be under the same key.
//!
//! # The decision tables
//!
//! Of one read, in one step: A entries were ever added, L are there, R = A - L were removed; G is the
//! last id that was given out, D the greatest that was deleted by name, *floor* the oldest entry's id
//! or, where there is none, the id right above G. Without a stream, all of them are zero. With a 0, as
//! in A0, they are those of the last read. A reader has read everything up to the position p, which is
//! the ordinal o: so many entries had been added up to there. n entries were read behind it. w is 1
//! where p < D <= G, as at least one entry behind p was withdrawn then, and otherwise 0.
//!
//! An ordinal may be too low, which costs a gap that was none now and then; one that is too high would
//! hide some. So p and o are G and A after a read to the end, where withdrawn entries are behind the
//! reader too, and the last entry and o + n after a read that was capped.
//!
//! In each table, the first row that holds says it.
//!
//! [`Known::follow`]: a reader that comes again and again, to the same server.
//!
//! | # | if | then |
//! |---|---|---|
//! | 1 | there is no stream | complete if p is 0-0 and o is 0, else reset |
//! | 2 | something went back: A < A0, R < R0, G < G0 or floor < floor0; A = A0, but G is another; D is another, but below D0 or floor0 | reset |
//! | 3 | floor <= p | reset if A - o < n + w, else complete |
//! | 4 | floor > p | reset if R < o + w, complete if R = o + w, else trimmed |
//!
//! Who looked for the entry at its position and did not find it knows more:
//! [`Known::lost_its_place`].
//!
//! [`behind`]: a slow reader at a position of its own, in a stream that somebody else follows. What
//! tells other streams apart is left out, as who follows sees to that.
//!
//! | # | if | then |
//! |---|---|---|
//! | 1 | there is no stream | complete if p is 0-0 and o is 0, else reset |
//! | 2 | floor <= p | complete |
//! | 3 | floor > p | reset if R < o + w, complete if R = o + w, else trimmed |
//!
//! [`since`]: a reader of which only the position S is known: the id of the last entry that it got.
//! The server may be another one than it was.
//!
//! | # | if | then |
//! |---|---|---|
//! | 1 | the entry S is there, or G = S | complete |
//! | 2 | S is 0-0 | complete if R = 0, or if R = 1 and D > 0; else trimmed |
//! | 3 | floor > S | complete if R = 1 and D = S; reset if R = 0, or if R = 1 and D > S; else trimmed |
//! | 4 | floor <= S | complete if D = S, deleted if D > S, reset if D < S |
//!
//! Neither a stream that is gone nor G < S needs a row there: they are in the first and the last one,
//! as floor <= S and D <= G < S then.
//!
//! # What no rule can tell
//!
//! - A stream that was replaced since the last read, where the new one had just as many entries
//!   removed as the old one had added; or where the reader is at 0-0. With MAXLEN 1 that is the only
//!   trace an unbroken stream leaves as well.
//! - Two or more withdrawn entries from any number of trimmed ones, once nothing up to the position is
//!   there. It is a gap then, which may be none.
//! - With S gone and a later entry deleted by name: whether S was in this stream. It is a gap.
//! - Anything, where ids are given out twice or somebody sets the counts.
//!
//! # Redis before version 7
//!
//! It tells neither A nor D. Then it is a reset where there is no stream, or where G or floor went
//! back; complete where floor <= p, G = p, or p is 0-0; else trimmed.

mod known;

use crate::facts::StreamFacts;
use crate::gap::GapReason;
use crate::id::StreamId;

pub use known::Known;

/// Whether the entries behind a position are all that there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is missing.
    Complete,
    /// Something is, or may be, and why.
    Gap(GapReason),
}

const TRIMMED: Verdict = Verdict::Gap(GapReason::Trimmed);
const DELETED: Verdict = Verdict::Gap(GapReason::Deleted);
const RESET: Verdict = Verdict::Gap(GapReason::Reset);

/// What is missing behind the position of a slow reader, in a stream that the caller follows: the
/// verdict holds only if whoever follows finds no other stream when it reads again after this read.
///
/// `ordinal` is the position's, or lower; not known, it is taken to be the lowest there is.
pub fn behind(position: StreamId, ordinal: Option<u64>, facts: &StreamFacts) -> Verdict {
    let ordinal = ordinal.unwrap_or(u64::from(position != StreamId::ZERO));
    if !facts.exists {
        let nothing = position == StreamId::ZERO && ordinal == 0;
        return if nothing { Verdict::Complete } else { RESET };
    }
    if facts.floor() <= position {
        return Verdict::Complete;
    }
    let (Some(removed), Some(deleted)) = (facts.removed(), facts.deleted()) else {
        return uncounted(position, facts);
    };
    all_removed(ordinal, removed, is_behind(deleted, position, facts))
}

/// What is missing behind a position of which nothing else is known. `is_there` says whether its
/// entry is in the stream.
pub fn since(position: StreamId, facts: &StreamFacts, is_there: bool) -> Verdict {
    if is_there || facts.last_generated == position {
        return Verdict::Complete;
    }
    let (Some(removed), Some(deleted)) = (facts.removed(), facts.deleted()) else {
        let went_back = facts.last_generated < position;
        return if went_back { RESET } else { uncounted(position, facts) };
    };
    if position == StreamId::ZERO {
        let withdrawn_at_most = removed == 0 || (removed == 1 && deleted > position);
        return if withdrawn_at_most { Verdict::Complete } else { TRIMMED };
    }
    if facts.floor() > position {
        return match removed {
            0 => RESET,
            1 if deleted == position => Verdict::Complete,
            1 if deleted > position => RESET,
            _ => TRIMMED,
        };
    }
    match deleted.cmp(&position) {
        std::cmp::Ordering::Equal => Verdict::Complete,
        std::cmp::Ordering::Greater => DELETED,
        std::cmp::Ordering::Less => RESET,
    }
}

/// Of a stream without anything up to the position: whether no more was removed than that, and one
/// entry behind it by name.
fn all_removed(ordinal: u64, removed: u64, withdrawn: bool) -> Verdict {
    match removed.cmp(&ordinal.saturating_add(u64::from(withdrawn))) {
        std::cmp::Ordering::Less => RESET,
        std::cmp::Ordering::Equal => Verdict::Complete,
        std::cmp::Ordering::Greater => TRIMMED,
    }
}

/// Whether an entry behind a position was deleted by name. An id above the last one that was given
/// out says nothing: somebody has set that back.
fn is_behind(deleted: StreamId, position: StreamId, facts: &StreamFacts) -> bool {
    deleted > position && deleted <= facts.last_generated
}

/// Of a stream that does not count, and in which nothing went back.
fn uncounted(position: StreamId, facts: &StreamFacts) -> Verdict {
    let unbroken =
        facts.floor() <= position || facts.last_generated == position || position == StreamId::ZERO;
    if unbroken { Verdict::Complete } else { TRIMMED }
}

#[cfg(test)]
mod tests;
