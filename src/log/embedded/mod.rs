//! The log in this process's memory, for a machine without Redis.
//!
//! Follows the rules of Redis that the rest of the crate relies on: stream ids, trimming, expiry,
//! one atomic step per publication. Keeps nothing over a restart. Bounded by tasks and by bytes:
//! where it is full, the task goes that was finished and unchanged for longest, or else the one
//! that was unchanged for longest.

mod remembered;
mod stream;
mod task;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use parking_lot::{Mutex, RwLock};

use self::remembered::Remembered;
use self::stream::Stream;
use self::task::Task;
use super::revocations::HeldRevocations;
use super::{
    Entry, LISTED_UPDATES_MAX, Listed, LogError, Publication, Published, Snapshot, SnapshotWants,
    StreamFacts,
};
use crate::clock::now_ms;
use crate::config::Limits;
use crate::core::history::History;
use crate::id::{StreamId, ThreadId};

/// One task may take this part of `embedded_bytes_max`; its stream is trimmed to that.
const TASK_SHARE: usize = 8;

/// Told of each thread that changed.
pub type Listener = Box<dyn Fn(&ThreadId) + Send + Sync>;

/// There is one past, that of this process.
const HISTORY: &str = "embedded";

/// The log in memory; all methods are short and never wait for anything but each other.
pub struct EmbeddedLog {
    tasks: Mutex<Tasks>,
    listener: RwLock<Option<Listener>>,
    /// Which tokens are taken back.
    pub(in crate::log) revocations: HeldRevocations,
}

impl EmbeddedLog {
    /// An empty log, bounded by `embedded_tasks_max`, `embedded_bytes_max`, `stream_length_max`
    /// and `expiry_seconds`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            tasks: Mutex::new(Tasks::new(limits)),
            listener: RwLock::new(None),
            revocations: HeldRevocations::default(),
        }
    }

    /// Where everything is read.
    pub fn history(&self) -> History {
        History::of(HISTORY)
    }

    /// Sets who is told of each thread that changed, after the change and outside the lock.
    /// Threads that expired or had to go are told too.
    pub fn set_listener(&self, listener: Listener) {
        *self.listener.write() = Some(listener);
    }

    /// See [`Log::snapshot`](super::Log::snapshot).
    pub fn snapshot(&self, thread: &ThreadId, wants: SnapshotWants) -> Snapshot {
        self.tasks.lock().snapshot(thread, wants, now_ms())
    }

    /// See [`Log::publish`](super::Log::publish).
    ///
    /// # Errors
    /// [`LogError::NotFound`], [`LogError::Refused`] and [`LogError::KeyUsed`].
    pub fn publish(
        &self,
        thread: &ThreadId,
        publication: &Publication,
    ) -> Result<Published, LogError> {
        let (published, gone) = {
            let (mut tasks, now_ms) = (self.tasks.lock(), now_ms());
            if let Some(known) = tasks.remembered.find(&publication.id, now_ms)? {
                return Ok(known);
            }
            let (stream_id, gone) = tasks.publish(thread, publication, now_ms)?;
            let published = Published { thread: thread.clone(), stream_id };
            tasks.remembered.keep(&publication.id, &published, now_ms);
            (published, gone)
        };
        if let Some(listener) = &*self.listener.read() {
            gone.iter().chain([thread]).for_each(listener);
        }
        Ok(published)
    }

    /// See [`Log::newest_tasks`](super::Log::newest_tasks).
    pub fn newest_tasks(&self, limit: u64) -> Vec<Listed> {
        self.tasks.lock().newest(limit, now_ms())
    }

    /// See [`Log::weigh`](super::Log::weigh). The stream is counted too.
    pub fn weigh(&self, thread: &ThreadId) -> u64 {
        self.tasks.lock().held.get(thread).map_or(0, |held| held.bytes as u64)
    }

    /// The stream's facts and its entries after a position, for the tail.
    pub fn read(
        &self,
        thread: &ThreadId,
        after: StreamId,
        entries_max: u64,
    ) -> (StreamFacts, Vec<Entry>) {
        let tasks = self.tasks.lock();
        let stream = tasks.living(thread, now_ms()).and_then(|task| task.stream.as_ref());
        stream.map_or_else(Default::default, |stream| {
            (stream.facts(), stream.after(after, entries_max))
        })
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLog").finish_non_exhaustive()
    }
}

/// A task's place in the order in which tasks go: finished ones first, then by the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Turn {
    running: bool,
    change: u64,
}

#[derive(Debug, Default)]
struct Held {
    task: Task,
    turn: Turn,
    expires_at_ms: u64,
    bytes: usize,
}

struct Tasks {
    held: HashMap<ThreadId, Held>,
    turns: BTreeMap<Turn, ThreadId>,
    /// Score (its bits order as the number does, for it is not negative) and thread.
    index: BTreeSet<(u64, ThreadId)>,
    remembered: Remembered,
    changes: u64,
    bytes: usize,
    tasks_max: usize,
    bytes_max: usize,
    stream_length_max: u64,
    expiry_ms: u64,
}

impl Tasks {
    fn new(limits: &Limits) -> Self {
        Self {
            held: HashMap::new(),
            turns: BTreeMap::new(),
            index: BTreeSet::new(),
            remembered: Remembered::default(),
            changes: 0,
            bytes: 0,
            tasks_max: limits.embedded_tasks_max,
            bytes_max: limits.embedded_bytes_max,
            stream_length_max: limits.stream_length_max,
            expiry_ms: limits.expiry_seconds * 1000,
        }
    }

    fn living(&self, thread: &ThreadId, now_ms: u64) -> Option<&Task> {
        self.held.get(thread).filter(|held| held.expires_at_ms > now_ms).map(|held| &held.task)
    }

    fn snapshot(&self, thread: &ThreadId, wants: SnapshotWants, now_ms: u64) -> Snapshot {
        let history = History::of(HISTORY);
        let mut snapshot = Snapshot { now_ms, history, one_step: true, ..Snapshot::default() };
        let Some(task) = self.living(thread, now_ms) else { return snapshot };
        snapshot.state = wants.updates_max.and_then(|updates_max| task.state(updates_max));
        if let Some(stream) = &task.stream {
            snapshot.stream = stream.facts();
            snapshot.newest = stream.newest(wants.newest_max);
            snapshot.is_there = wants.looks_for.is_some_and(|id| stream.has(id));
            if let Some(page) = wants.page {
                snapshot.page = stream.from(page.from, page.entries_max, page.bytes_max);
                // As Redis: where the page is full, nobody has looked behind it.
                let bytes: usize = snapshot.page.iter().map(Entry::bytes_len).sum();
                snapshot.page_goes_on = snapshot.page.len() as u64 == page.entries_max
                    || bytes as u64 >= page.bytes_max;
            }
        }
        snapshot
    }

    fn newest(&self, limit: u64, now_ms: u64) -> Vec<Listed> {
        let living = self.index.iter().rev().filter_map(|(score, thread)| {
            let state = self.living(thread, now_ms)?.row(LISTED_UPDATES_MAX)?;
            Some(Listed { thread: thread.clone(), updated_at: f64::from_bits(*score), state })
        });
        living.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
    }

    /// The id of the last entry, and which other tasks went.
    fn publish(
        &mut self,
        thread: &ThreadId,
        publication: &Publication,
        now_ms: u64,
    ) -> Result<(StreamId, Vec<ThreadId>), LogError> {
        let task_bytes_max = self.bytes_max / TASK_SHARE;
        if publication_bytes(publication) > task_bytes_max {
            return Err(LogError::Refused(format!(
                "a publication may take {task_bytes_max} bytes, an eighth of embedded_bytes_max"
            )));
        }
        if publication.must_exist && !self.living(thread, now_ms).is_some_and(Task::exists) {
            return Err(LogError::NotFound);
        }
        let mut gone = self.expire(now_ms);
        let mut held = self.remove(thread).unwrap_or_default();
        let last_id = apply(&mut held.task, publication, self.stream_length_max, now_ms);
        held.task.shrink(task_bytes_max);
        held.expires_at_ms = now_ms + self.expiry_ms;
        held.bytes = held.task.bytes();
        gone.extend(self.make_room(held.bytes));
        self.insert(thread.clone(), held);
        gone.retain(|other| other != thread);
        Ok((last_id, gone))
    }

    /// Drops what expired. A change renews the expiry, so each half of the order of turns is also
    /// in the order of expiry.
    fn expire(&mut self, now_ms: u64) -> Vec<ThreadId> {
        let mut gone = Vec::new();
        for running in [false, true] {
            let first = Turn { running, change: 0 };
            while let Some((turn, thread)) = self.turns.range(first..).next() {
                let expired = self.held.get(thread).is_none_or(|h| h.expires_at_ms <= now_ms);
                if turn.running != running || !expired {
                    break;
                }
                let thread = thread.clone();
                self.remove(&thread);
                gone.push(thread);
            }
        }
        gone
    }

    /// Drops tasks in their turn until one more of that size has room.
    fn make_room(&mut self, bytes: usize) -> Vec<ThreadId> {
        let mut gone = Vec::new();
        while self.held.len() >= self.tasks_max || self.bytes + bytes > self.bytes_max {
            let Some((_, thread)) = self.turns.first_key_value() else { break };
            let thread = thread.clone();
            self.remove(&thread);
            gone.push(thread);
        }
        gone
    }

    fn insert(&mut self, thread: ThreadId, mut held: Held) {
        self.changes += 1;
        held.turn = Turn { running: !held.task.finished(), change: self.changes };
        self.turns.insert(held.turn, thread.clone());
        if let Some(score) = held.task.score {
            self.index.insert((score.max(0.0).to_bits(), thread.clone()));
        }
        self.bytes += held.bytes;
        self.held.insert(thread, held);
    }

    fn remove(&mut self, thread: &ThreadId) -> Option<Held> {
        let held = self.held.remove(thread)?;
        self.turns.remove(&held.turn);
        if let Some(score) = held.task.score {
            self.index.remove(&(score.max(0.0).to_bits(), thread.clone()));
        }
        self.bytes -= held.bytes;
        Some(held)
    }
}

fn apply(
    task: &mut Task,
    publication: &Publication,
    stream_length_max: u64,
    now_ms: u64,
) -> StreamId {
    for write in &publication.writes {
        task.apply(write);
    }
    for event in &publication.events {
        let stream = task.stream.get_or_insert_with(Stream::default);
        stream.add(event, now_ms);
        stream.trim(stream_length_max);
    }
    task.stream.as_ref().map_or(StreamId::ZERO, |stream| stream.facts().last_generated)
}

fn publication_bytes(publication: &Publication) -> usize {
    use super::Write::{Context, Error, Index, Metadata, Result, Status, Update};
    let pairs = |fields: &[(String, String)]| -> usize {
        fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    let writes = publication.writes.iter().map(|write| match write {
        Status(text) | Update(text) | Result(text) | Error(text) => text.len(),
        Metadata(fields) | Context(fields) => pairs(fields),
        Index(_) => 0,
    });
    writes.sum::<usize>() + publication.events.iter().map(|event| pairs(event)).sum::<usize>()
}

#[cfg(test)]
mod tests;
