//! A part of a task's list of updates, as it was read, and where in it a known update stands.

use std::ops::Range;

use bytes::Bytes;

use crate::hash;
use crate::state::State;

/// In the thread layout a list keeps so many updates (protocol §2): one of that length may have lost
/// older ones.
const THREAD_UPDATES_KEPT: u64 = 100;

/// By so many updates before it an update is known among others that say the same, and of each by so
/// many of its bytes.
const NEIGHBOURS: usize = 3;
const NEIGHBOUR_BYTES: usize = 256;

/// The newest updates of a task's list.
#[derive(Debug, Clone, Copy)]
pub struct List<'a> {
    /// JSON texts, oldest first.
    pub updates: &'a [Bytes],
    /// How many the list has.
    pub total: u64,
    /// In the task layout, whose list it is.
    pub task_id: Option<&'a [u8]>,
}

/// An update of a list that is known again, by its place and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// How many updates were before it.
    place: u64,
    /// Of the task and the update.
    hash: u64,
    /// How many updates right before it are known, and what they are.
    neighbours: u8,
    before: u64,
    /// Nothing before it in its list looks like it. Else the newest update of a later list may look
    /// like this one, and be another.
    stands_out: bool,
}

/// Where a known update stands in a part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// At this place of what was read.
    At(usize),
    /// Before all that was read.
    Before,
    /// The list does not have it: it is another one than it was.
    Nowhere,
}

impl Mark {
    /// Whether two lists end with the same update, so that nothing was pushed in between.
    pub(super) fn is_surely(self, other: Self) -> bool {
        self.stands_out && self == other
    }
}

impl<'a> List<'a> {
    /// The list of a state, as far as it was read.
    pub fn of(state: &'a State) -> Self {
        Self {
            updates: &state.updates,
            total: state.updates_total,
            task_id: state.task.as_ref().map(|task| task.task_id.as_ref()),
        }
    }

    /// Whether it was not read to its beginning.
    pub fn has_more(&self) -> bool {
        (self.updates.len() as u64) < self.total
    }

    /// Whether there may be updates that were not read, or are not kept any more, whose entries are in
    /// the stream.
    pub(super) fn is_cut(&self) -> bool {
        self.has_more() || self.loses_updates()
    }

    fn loses_updates(&self) -> bool {
        self.task_id.is_none() && self.total >= THREAD_UPDATES_KEPT
    }

    /// How many are before the first that was read.
    fn offset(&self) -> u64 {
        self.total.saturating_sub(self.updates.len() as u64)
    }

    /// The newest update's mark; none where nothing was read.
    pub fn newest(&self) -> Option<Mark> {
        let at = self.updates.len().checked_sub(1)?;
        let neighbours = at.min(NEIGHBOURS);
        let before = self.before(at, neighbours);
        let (place, hash) = (self.offset() + at as u64, self.hash_at(at));
        let looks_like_it = |other: usize| {
            self.updates[other] == self.updates[at]
                && (other < neighbours || self.before(other, neighbours) == before)
        };
        let stands_out = !self.loses_updates() || !(0..at).any(looks_like_it);
        Some(Mark { place, hash, neighbours: neighbours as u8, before, stands_out })
    }

    /// What so many updates right before one are known by.
    fn before(&self, at: usize, neighbours: usize) -> u64 {
        self.updates[at - neighbours..at].iter().fold(0, |so_far, update| {
            let end = update.len().saturating_sub(NEIGHBOUR_BYTES);
            hash::of(&(so_far, update.len(), &update[end..]))
        })
    }

    /// Where a known update stands. In doubt, of equal ones, at the oldest: what is before it is taken
    /// to be old, and what is behind it is not.
    pub(super) fn find(&self, mark: Mark) -> Stands {
        if !self.loses_updates() {
            return self.find_by_place(mark, |at| self.hash_at(at));
        }
        // Where not all of those before it were read, nothing speaks against it.
        let neighbours = usize::from(mark.neighbours);
        let is_it = |at: &usize| {
            self.hash_at(*at) == mark.hash
                && (*at < neighbours || self.before(*at, neighbours) == mark.before)
        };
        match self.may_stand_at(mark).find(is_it) {
            Some(at) => Stands::At(at),
            None => Stands::Before,
        }
    }

    /// The same of the last one of those that were read before, which are all known by their hashes:
    /// what is behind it was pushed since.
    pub(super) fn find_last(
        &self,
        mark: Mark,
        seen: &[u64],
        hash_at: impl Fn(usize) -> u64,
    ) -> Stands {
        if !self.loses_updates() {
            return self.find_by_place(mark, hash_at);
        }
        let goes_on = |at: &usize| {
            let mut known = seen.iter().rev().zip((0..=*at).rev());
            known.all(|(&seen, at)| hash_at(at) == seen)
        };
        let Some(last) = self.may_stand_at(mark).rev().find(goes_on) else {
            return Stands::Before;
        };
        // It may stand before that only where the updates say the same again and again. Fewer than
        // repeat once are there by chance.
        let before = (0..last).rev().find(goes_on);
        let period = before.map(|at| last - at).filter(|period| *period <= last - period + 1);
        let oldest = period.and_then(|period| (last % period..last).step_by(period).find(goes_on));
        Stands::At(oldest.unwrap_or(last))
    }

    /// Of a list that loses none.
    fn find_by_place(&self, mark: Mark, hash_at: impl Fn(usize) -> u64) -> Stands {
        let Some(at) = mark.place.checked_sub(self.offset()) else { return Stands::Before };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let is_there = at < self.updates.len() && hash_at(at) == mark.hash;
        if is_there { Stands::At(at) } else { Stands::Nowhere }
    }

    /// In a list that loses its oldest ones, a known one stands where it did, or nearer to the
    /// beginning.
    fn may_stand_at(&self, mark: Mark) -> Range<usize> {
        let behind = (mark.place + 1).saturating_sub(self.offset());
        0..usize::try_from(behind).unwrap_or(usize::MAX).min(self.updates.len())
    }

    /// What each update that was read is known by.
    pub(super) fn hashes(&self) -> Box<[u64]> {
        (0..self.updates.len()).map(|at| self.hash_at(at)).collect()
    }

    pub(super) fn hash_at(&self, at: usize) -> u64 {
        hash_of(self.task_id, &self.updates[at])
    }
}

/// What an update of a task is known by.
pub(super) fn hash_of(task_id: Option<&[u8]>, update: &Bytes) -> u64 {
    hash::of(&(task_id, update))
}
