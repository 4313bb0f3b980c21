//! What this server saw in the list of a topic, and when: an update that is in the list for
//! [`WAIT_MS`](super::WAIT_MS) is old, whatever its own time says.

use super::WAIT_MS;
use super::list::{List, Mark, Stands};

/// Newest updates are remembered at most so often. All that wait are told together.
const MARK_EVERY_MS: u64 = 100;

/// How many are remembered at most: those of the wait, the one that is old, and one over.
const MARKS_MAX: usize = (WAIT_MS / MARK_EVERY_MS) as usize + 2;

/// Which updates of a topic's list are known to be old, and which will be. Takes 40 bytes an update,
/// of at most 22; what nobody attaches to holds nothing new.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Memory {
    /// The newest update of a read, and the time of that read, oldest first.
    seen: Vec<(Mark, u64)>,
    /// Updates up to here are old, whatever the time: they were waited for.
    old: Option<Mark>,
}

impl Memory {
    /// A read of the list, at this time.
    pub fn saw(&mut self, list: &List<'_>, now_ms: u64) {
        let Some(newest) = list.newest() else { return };
        // Of those that are old already, the newest is enough.
        let old = self.seen.iter().take_while(|(_, at_ms)| is_old(*at_ms, now_ms)).count();
        self.seen.drain(..old.saturating_sub(1));
        if let Some(&(last, at_ms)) = self.seen.last()
            && (last == newest || now_ms < at_ms.saturating_add(MARK_EVERY_MS))
            && now_ms >= at_ms
        {
            return;
        }
        if self.seen.len() == MARKS_MAX {
            self.seen.pop();
        }
        self.seen.push((newest, now_ms));
    }

    /// The updates of a batch were waited for, and told where nothing came: from now on they are old.
    pub fn waited_for(&mut self, newest: Mark) {
        self.old = Some(newest);
    }

    /// When the newest update of this list will be old.
    pub fn old_at_ms(&self, list: &List<'_>, now_ms: u64) -> u64 {
        let newest = list.newest();
        let is_newest = |mark: Mark| newest.is_some_and(|newest| newest.is_surely(mark));
        let seen = self.seen.iter().find(|(mark, _)| is_newest(*mark));
        seen.map_or(now_ms, |(_, at_ms)| (*at_ms).min(now_ms)).saturating_add(WAIT_MS)
    }

    /// How many updates of what was read are old, for what this server saw.
    pub(super) fn old_in(&self, list: &List<'_>, now_ms: u64) -> usize {
        let seen = self.seen.iter().rev().find(|(_, at_ms)| is_old(*at_ms, now_ms));
        let marks = seen.map(|(mark, _)| *mark).into_iter().chain(self.old);
        let old = marks.map(|mark| match list.find(mark) {
            Stands::At(at) => at + 1,
            Stands::Before | Stands::Nowhere => 0,
        });
        old.max().unwrap_or_default()
    }
}

fn is_old(at_ms: u64, now_ms: u64) -> bool {
    now_ms.saturating_sub(at_ms) >= WAIT_MS
}
