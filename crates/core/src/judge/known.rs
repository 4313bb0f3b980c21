//! What a reader that follows a stream knows of it.

use super::{RESET, Verdict, all_removed, is_behind, uncounted};
use crate::facts::StreamFacts;
use crate::id::StreamId;

/// A position in a stream, up to which everything was read, and what was known of the stream then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Everything up to here was read.
    position: StreamId,
    /// So many entries had been added up to there, or more; not known before Redis 7.
    ordinal: Option<u64>,
    /// The stream at the last read.
    facts: StreamFacts,
}

impl Known {
    /// After a read to the end of a stream that had these facts then; also where one begins at the
    /// end. Withdrawn entries are behind the reader, too.
    pub fn all_of(facts: StreamFacts) -> Self {
        Self { position: facts.last_generated, ordinal: facts.added(), facts }
    }

    /// Everything up to here was read. It may be the id of no entry.
    pub fn position(&self) -> StreamId {
        self.position
    }

    /// The stream at the last read.
    pub fn facts(&self) -> &StreamFacts {
        &self.facts
    }

    /// How many entries had been added up to the position, or less; none before Redis 7.
    pub fn ordinal(&self) -> Option<u64> {
        self.ordinal
    }

    /// Whether anything is missing, given the facts of a new read, taken in one step with it, that
    /// found so many entries behind the position. The table `follow` of [this module](super).
    pub fn follow(&self, facts: &StreamFacts, entries: u64) -> Verdict {
        if !facts.exists {
            let nothing = self.position == StreamId::ZERO && self.ordinal.is_none_or(|o| o == 0);
            return if nothing { Verdict::Complete } else { RESET };
        }
        if went_back(&self.facts, facts) {
            return RESET;
        }
        let (Some(ordinal), Some(added), Some(removed), Some(deleted)) =
            (self.ordinal, facts.added(), facts.removed(), facts.deleted())
        else {
            return uncounted(self.position, facts);
        };
        let withdrawn = is_behind(deleted, self.position, facts)
            // Above the last id, as it is where somebody has set that back, it tells of no news.
            && !(self.facts.deleted() == Some(deleted) && deleted > self.facts.last_generated);
        if facts.floor() > self.position {
            return all_removed(ordinal, removed, withdrawn);
        }
        // What is there is a part of what was added behind the position.
        let too_few = added.saturating_sub(ordinal) < entries.saturating_add(u64::from(withdrawn));
        if too_few { RESET } else { Verdict::Complete }
    }

    /// Whether this is another stream, given the facts of a new read that did not find the entry at the
    /// position: it was there, it was not trimmed, as something older is there, and nothing from it on
    /// was deleted by name.
    pub fn lost_its_place(&self, facts: &StreamFacts) -> bool {
        // Behind a capped read, the position is the last entry that was read.
        let was_entry =
            self.facts.last == Some(self.position) || self.position < self.facts.last_generated;
        was_entry
            && facts.first.is_some_and(|first| first < self.position)
            && facts.deleted().is_some_and(|deleted| deleted < self.position)
    }

    /// After a read of that many entries behind the position, from `first` to `last`, where it is
    /// proven that nothing else happened to the stream. Its length proves that if it grew by just as
    /// many and had been more than 0; an empty stream may have been replaced.
    ///
    /// After a capped read, the facts stay those of that read, which is as good: what they say may go
    /// forward only.
    pub fn advance(&mut self, first: StreamId, last: StreamId, entries: u64) {
        if entries == 0 {
            return;
        }
        if self.position == self.facts.last_generated {
            let before = self.facts;
            self.facts = StreamFacts {
                exists: true,
                length: before.length.saturating_add(entries),
                last_generated: last,
                first: before.first.or(Some(first)),
                last: Some(last),
                entries_added: before.added().map(|added| added.saturating_add(entries)),
                max_deleted: before.deleted(),
            };
        }
        self.step(last, entries);
    }

    /// After a read of that many entries behind the position, as many as were asked for, so that there
    /// may be more, of a stream that had these facts then. The ordinal is too low where any between
    /// them was withdrawn.
    pub fn advance_capped(&mut self, last: StreamId, entries: u64, facts: StreamFacts) {
        self.facts = facts;
        if entries > 0 {
            self.step(last, entries);
        }
    }

    /// The same of a stream of which nothing else is known: the last of these entries is that many at least.
    pub fn begun_capped(last: StreamId, entries: u64, facts: StreamFacts) -> Self {
        Self { position: last, ordinal: facts.added().map(|_| entries), facts }
    }

    fn step(&mut self, last: StreamId, entries: u64) {
        self.position = last;
        self.ordinal = self.ordinal.map(|ordinal| ordinal.saturating_add(entries));
    }
}

/// Whether there is another stream than before, as something went back that cannot in one stream.
fn went_back(before: &StreamFacts, now: &StreamFacts) -> bool {
    if now.last_generated < before.last_generated || now.floor() < before.floor() {
        return true;
    }
    if let (Some(added_before), Some(added)) = (before.added(), now.added()) {
        let other_id = added == added_before && now.last_generated != before.last_generated;
        if added < added_before || other_id {
            return true;
        }
    }
    // What was removed never comes back.
    if now.removed() < before.removed() && now.removed().is_some() {
        return true;
    }
    let (Some(deleted_before), Some(deleted)) = (before.deleted(), now.deleted()) else {
        return false;
    };
    deleted != deleted_before && deleted < deleted_before.max(before.floor())
}
