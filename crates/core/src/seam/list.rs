//! A part of a task's list of updates, as it was read, and where in it a known update stands.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use bytes::Bytes;

use crate::state::State;

/// In the thread layout a list keeps so many updates (protocol §2): one of that length may have lost
/// older ones.
const THREAD_UPDATES_KEPT: u64 = 100;

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
        Some(Mark { place: self.offset() + at as u64, hash: self.hash_at(at) })
    }

    /// Where a known update stands. In doubt, of equal ones, at the oldest: what is before it is taken
    /// to be old, and what is behind it to be new.
    pub(super) fn find(&self, mark: Mark) -> Stands {
        self.find_by(mark, |at| self.hash_at(at))
    }

    /// The same, by hashes that somebody else has.
    pub(super) fn find_by(&self, mark: Mark, hash_at: impl Fn(usize) -> u64) -> Stands {
        if !self.loses_updates() {
            let Some(at) = mark.place.checked_sub(self.offset()) else { return Stands::Before };
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let is_there = at < self.updates.len() && hash_at(at) == mark.hash;
            return if is_there { Stands::At(at) } else { Stands::Nowhere };
        }
        // Older ones may have gone since, so it stands there or nearer to the beginning.
        match (0..self.updates.len()).find(|&at| hash_at(at) == mark.hash) {
            Some(at) => Stands::At(at),
            None => Stands::Before,
        }
    }

    pub(super) fn hash_at(&self, at: usize) -> u64 {
        hash_of(self.task_id, &self.updates[at])
    }
}

/// What an update of a task is known by.
pub(super) fn hash_of(task_id: Option<&[u8]>, update: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    (task_id, update).hash(&mut hasher);
    hasher.finish()
}
