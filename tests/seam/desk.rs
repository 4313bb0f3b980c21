//! What a server does with what it reads, in the order in which `src/seam.rs` does it: everything that
//! decides is the core's.

use bytes::Bytes;
use taskcast::core::seam::{
    Attach, Batch, Limits, List, Memory, Read, Reread, Sieve, Told, UPDATES_READ_ON, WAIT_MS,
    attach, reread,
};
use taskcast::id::StreamId;
use taskcast::log::{Entry, PageWants, Snapshot, SnapshotWants};

use crate::viewer::Place;

/// A number of a batch.
pub type BatchNumber = usize;

#[derive(Default)]
pub struct Desk {
    memory: Memory,
    waiting: Vec<Waiting>,
    came: Sieve,
    /// Everything up to here was taken in.
    head: StreamId,
    last: BatchNumber,
}

struct Waiting {
    number: BatchNumber,
    batch: Batch,
    /// By the time that went by, whatever the log's clock says.
    due_ms: u64,
}

impl Desk {
    /// So many of the newest, and what is behind the head.
    pub fn wants(&self, updates_max: u64, newest_max: u64) -> SnapshotWants {
        let page = PageWants { from: self.head, entries_max: 1_000_000, bytes_max: 1 << 40 };
        SnapshotWants {
            updates_max: Some(updates_max),
            newest_max,
            page: Some(page),
            ..SnapshotWants::default()
        }
    }

    pub fn wants_again(&self) -> SnapshotWants {
        self.wants(UPDATES_READ_ON, 0)
    }

    /// Brings the topic to the end of the stream as it was read.
    pub fn bring_to_end(&mut self, snapshot: &Snapshot) {
        let behind = |entry: &&Entry| entry.id > self.head;
        if !self.waiting.is_empty() {
            let told = snapshot.page.iter().filter(behind).filter_map(Told::by);
            told.for_each(|told| self.came.take(told));
        }
        self.head = snapshot.stream.last_generated;
    }

    pub fn reads_on(&self, snapshot: &Snapshot) -> bool {
        let read = Read::of(snapshot);
        read.is_some_and(|read| attach(&read, &self.memory, Limits::default()).reads_on)
    }

    /// Leaves in a state what is shown of it; and the batch of those who are given it.
    pub fn settle(
        &mut self,
        snapshot: &mut Snapshot,
        place: &Place,
        copies: bool,
    ) -> (Attach, Option<BatchNumber>) {
        let Some(read) = Read::of(snapshot) else { return (Attach::default(), None) };
        let (position, now_ms) = (snapshot.stream.last_generated, read.now_ms);
        let found = attach(&read, &self.memory, Limits::default());
        let copy = |update: &Bytes| copies.then(|| update.clone());
        let batch = Batch::of(&found, &read, position, &self.memory, copy);
        self.memory.saw(&read.list, place.now_ms);
        if let Some(state) = &mut snapshot.state {
            found.leave_shown(state);
        }
        let Some(batch) = batch else { return (found, None) };
        if let Some(last) = self.waiting.last()
            && (last.due_ms > place.went_ms && last.batch.is_as(&batch))
        {
            return (found, Some(last.number));
        }
        self.last += 1;
        self.came.add(&batch);
        let due_ms = place.went_ms + batch.due_ms.saturating_sub(now_ms).min(WAIT_MS);
        self.waiting.push(Waiting { number: self.last, batch, due_ms });
        (found, Some(self.last))
    }

    /// When the next ones who wait are due.
    pub fn due_ms(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.due_ms).min()
    }

    /// What is told to which batch: of all that were due when the read began.
    pub fn read_again(
        &mut self,
        snapshot: &Snapshot,
        place: &Place,
        began_ms: u64,
    ) -> Vec<(BatchNumber, Vec<Bytes>)> {
        let none = List { updates: &[], total: 0, task_id: None };
        let list = snapshot.state.as_ref().map_or(none, List::of);
        self.memory.saw(&list, place.now_ms);
        let read = Reread::new(list, snapshot.stream.last_generated);
        let mut told = Vec::new();
        for waiting in self.waiting.extract_if(.., |waiting| waiting.due_ms <= began_ms) {
            let Waiting { number, batch, .. } = waiting;
            let kept = self.came.kept_for(&batch);
            told.push((number, reread(&batch, &read, &kept, Limits::default())));
            self.memory.waited_for(batch.newest());
        }
        self.came.retain(self.waiting.iter().map(|waiting| &waiting.batch));
        told
    }

    /// Whoever waits is given another state: the stream is another one.
    pub fn begin_anew(&mut self) {
        self.waiting.clear();
        self.came.retain([]);
        self.head = StreamId::ZERO;
    }
}
