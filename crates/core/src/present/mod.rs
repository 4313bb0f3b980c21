//! What a task is now: its status, its result, its error. Beside the log of what happened it is a
//! latest value with a version, which each viewer gets who has everything of the log and an older one
//! (protocol §3.2). What was different in between is skipped.
//!
//! A *reading* is what the task's keys said at the end of the stream. Whoever was given a state has a
//! reading's version; and everything that entries tell behind that reading's position he has been told
//! by them. So whether a viewer lacks anything is one look at two lists, and no viewer holds more than
//! a number. A reading is *told* once entries have had their time to say the same.
//!
//! | file | what it owns |
//! |---|---|
//! | `says` | what a state says, and what an entry tells of one |
//! | `standing` | the newest reading's bytes, as the frames that tell them |

mod says;
mod standing;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::account::Account;
use crate::entry::Entry;
use crate::hash;
use crate::id::StreamId;
use crate::source::Words;
use crate::state::State;

use says::{Hashed, Part, Says, Tells, tells_of};
pub use standing::{Lacks, Standing};

/// The version of a reading. Nobody is at 0, but who has not been told anything.
pub type Version = u32;

/// Readings that are remembered: who was given an older one is told the newest again.
const READINGS_MAX: usize = 16;

/// What entries told that is remembered, each by its newest entry.
const TELLS_MAX: usize = 32;

/// A task with a longer name is not watched.
const TASK_ID_BYTES_MAX: usize = 256;

/// Tasks of the thread that were seen in its entries.
const TASKS_MAX: usize = 64;

/// A task as its keys say, and what of it was told.
#[derive(Debug, Default)]
pub struct Present {
    /// The last readings, oldest first.
    readings: VecDeque<Reading>,
    /// Up to here readings are told.
    told: Version,
    /// The last version that was given.
    last: Version,
    /// What entries told, in no order.
    tells: Vec<Tells>,
    tasks: VecDeque<Hashed>,
    /// The newest reading's task, where its name can be a key's.
    task_id: Option<Bytes>,
    /// The newest reading's result as it was written: large ones take long to be understood.
    result: Option<u64>,
    standing: Option<Arc<Standing>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    version: Version,
    /// The end of the stream then.
    position: StreamId,
    says: Says,
}

impl Present {
    /// The version up to which viewers are told; 0 where nothing was read yet.
    pub fn told(&self) -> Version {
        self.told
    }

    /// The version that who is given this state has, which was read at the stream's end. The first one is
    /// told with it, if it is `given` to somebody: nobody has another. Else who lacks it is told once entries
    /// had their time to say so.
    pub fn observe(
        &mut self,
        account: &Account,
        state: &State,
        position: StreamId,
        now_ms: u64,
        given: bool,
    ) -> Version {
        let is_first = self.readings.is_empty();
        let result = state.result.as_deref().map(hash::of);
        let same_result = self.readings.back().filter(|_| result == self.result);
        let says = Says::of(state, same_result.map(|last| &last.says));
        self.result = result;
        self.see_task(says.task());
        let is_news = |last: &Reading| {
            last.says != says || self.tells.iter().any(|tells| tells.id > last.position)
        };
        match self.readings.back() {
            Some(last) if !is_news(last) => return last.version,
            _ => {}
        }
        let task_id = state.task.as_ref().map(|task| &task.task_id);
        let is_short = |id: &&Bytes| id.len() <= TASK_ID_BYTES_MAX;
        self.task_id = task_id.filter(is_short).map(|id| Bytes::copy_from_slice(id));
        self.last = self.last.wrapping_add(1).max(1);
        let version = self.last;
        if self.readings.len() == READINGS_MAX {
            self.readings.pop_front();
        }
        // Most topics have one.
        self.readings.reserve_exact(1);
        self.readings.push_back(Reading { version, position, says });
        self.standing = None;
        if (is_first && given) || !self.lacks_anything() {
            self.told = version;
        } else {
            self.hold(account, state, now_ms);
        }
        version
    }

    /// Whether this task was not seen before.
    fn see_task(&mut self, task: Option<Hashed>) -> bool {
        let Some(task) = task.filter(|task| !self.tasks.contains(task)) else { return false };
        if self.tasks.len() == TASKS_MAX {
            self.tasks.pop_front();
        }
        self.tasks.push_back(task);
        true
    }

    /// Entries came, or were read for somebody: what they tell need not be told again. `words` are the
    /// publisher's for statuses. Whether the state is to be read again: a turn may have ended or begun, or
    /// the keys said something else.
    pub fn note(&mut self, entries: &[Entry], words: &Words) -> bool {
        let mut reads_again = false;
        for entry in entries {
            reads_again |= self.note_one(entry, words);
        }
        reads_again
    }

    fn note_one(&mut self, entry: &Entry, words: &Words) -> bool {
        let found = tells_of(entry, words);
        let is_new_task = self.see_task(found.task);
        let mut says_else = false;
        for tells in found.tells.into_iter().flatten() {
            let now = self.readings.back().map(|last| last.says);
            says_else |= now.is_some_and(|now| !tells.is_as(&now));
            self.remember(tells);
        }
        (is_new_task || found.ends_turn || says_else) && !self.readings.is_empty()
    }

    fn remember(&mut self, tells: Tells) {
        if let Some(known) = self.tells.iter_mut().find(|known| known.says_as(&tells)) {
            known.id = known.id.max(tells.id);
            return;
        }
        if self.tells.len() == TELLS_MAX
            && let Some(oldest) = (0..TELLS_MAX).min_by_key(|at| self.tells[*at].id)
        {
            self.tells.swap_remove(oldest);
        }
        self.tells.reserve_exact(1);
        self.tells.push(tells);
    }

    /// Whether the newest reading is to be told to somebody who was given the one before it.
    pub fn is_untold(&self) -> bool {
        self.told != self.newest()
    }

    /// Whether the newest reading can be told now: entries that came behind it say nothing else. Told behind
    /// those, it would not be known later what came last; it is about to be read again.
    fn is_settled(&self) -> bool {
        let Some(last) = self.readings.back() else { return false };
        let says_else = |tells: &Tells| tells.id > last.position && !tells.is_as(&last.says);
        !self.is_untold() && !self.tells.iter().any(says_else)
    }

    /// Whether anybody who has all others lacks the newest reading: entries may have told it meanwhile.
    pub fn lacks_anything(&self) -> bool {
        self.lacks_of(self.told, None).any()
    }

    /// From now on the newest reading is told.
    pub fn tell(&mut self) {
        self.told = self.newest();
    }

    /// The task of the newest reading, in the task layout.
    pub fn task_id(&self) -> Option<&Bytes> {
        self.task_id.as_ref()
    }

    /// Whether the newest reading has this status.
    pub fn has_status(&self, status: Option<&[u8]>) -> bool {
        self.readings.back().is_some_and(|last| last.says.has_status(status))
    }

    fn newest(&self) -> Version {
        self.readings.back().map_or(0, |last| last.version)
    }

    /// What somebody lacks who has everything of the log; none where the newest reading cannot be told now.
    /// `version` is that of the state that he was given last; who resumed behind a position and was given
    /// none has 0.
    pub fn lacks(&self, version: Version, since: Option<StreamId>) -> Option<Lacks> {
        self.is_settled().then(|| self.lacks_of(version, since))
    }

    /// The version of somebody who lacks nothing of the newest reading. A state that is gone for a while
    /// tells nobody anything: what was told before it was told last.
    pub fn passed_to(&self, version: Version) -> Version {
        let is_gone = self.readings.back().is_some_and(|last| last.says.has_status(None));
        if is_gone && version != 0 { version } else { self.told }
    }

    fn lacks_of(&self, version: Version, since: Option<StreamId>) -> Lacks {
        let Some(now) = self.readings.back().map(|last| last.says) else {
            return Lacks::default();
        };
        let given = self.readings.iter().find(|reading| reading.version == version);
        // Who was given one that is forgotten may have been told anything before the oldest known.
        let oldest = self.readings.front().map(|first| first.position);
        let behind = match (given, since) {
            (Some(given), _) => given.position,
            (None, Some(since)) => since,
            (None, None) => oldest.unwrap_or_default(),
        };
        let was_told = |part: Part| self.was_told(part, &now, given.map(|it| &it.says), behind);
        let lacks = |part: Part| now.value(part).is_some() && !was_told(part);
        Lacks {
            status: lacks(Part::Status),
            result: lacks(Part::Result),
            error: lacks(Part::Error),
        }
    }

    /// Whether what was told last of a part is what is so now.
    fn was_told(&self, part: Part, now: &Says, given: Option<&Says>, behind: StreamId) -> bool {
        let of_this =
            |tells: &&Tells| tells.part == part && tells.id > behind && tells.may_be_of(now);
        let changes = self.tells.iter().filter(of_this).filter(|tells| tells.changes);
        let last = changes.max_by_key(|tells| tells.id);
        let by_state = given.is_some_and(|given| given.says_as(part, now));
        let so_far = match last {
            Some(tells) => Some(tells.value) == now.value(part),
            None => by_state,
        };
        let since_then = last.map_or(behind, |tells| tells.id);
        let mut mentions = self.tells.iter().filter(of_this).filter(|tells| tells.id > since_then);
        so_far || mentions.any(|tells| Some(tells.value) == now.value(part))
    }

    /// The newest reading, where it is held.
    pub fn standing(&self) -> Option<&Arc<Standing>> {
        self.standing.as_ref()
    }

    /// What was read may be wrong by now, and nobody is there to be told: it is read again for who comes.
    pub fn forget(&mut self) {
        self.readings.clear();
        self.told = 0;
        self.standing = None;
    }

    /// Lets go of the newest reading's bytes, unless they are few: they can be read again.
    pub fn release(&mut self) {
        self.standing.take_if(|standing| !standing.is_small());
    }

    /// Holds the state that was just observed, for those who lack it: where everybody has it, it is not
    /// held.
    pub fn hold(&mut self, account: &Account, state: &State, now_ms: u64) {
        let standing = || Arc::new(Standing::new(account, state, now_ms));
        self.standing.get_or_insert_with(standing);
    }

    /// The stream is another one: what its entries told says nothing of this one's.
    pub fn begin_epoch(&mut self) {
        self.tells.clear();
        for reading in &mut self.readings {
            reading.position = StreamId::ZERO;
        }
    }
}

#[cfg(test)]
mod tests;
