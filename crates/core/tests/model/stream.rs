//! A stream as a naive list of entries: what it keeps now, and all that it ever was given.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rand::RngExt as _;
use rand::rngs::StdRng;
use taskcast_core::account::Account;
use taskcast_core::chunk::{After, Chunk, Unit};
use taskcast_core::form::ws::{self, Opcode};
use taskcast_core::id::StreamId;

/// So many entries are skipped.
const SKIPPED: f64 = 0.2;

/// What an entry's frame is, empty where it is skipped, and the id of the entry before it.
pub(crate) struct Given {
    pub(crate) frame: Bytes,
    pub(crate) previous: StreamId,
}

/// The stream. Ids of its different lives differ in their sequence numbers.
pub(crate) struct Stream {
    pub(crate) number: usize,
    kept: VecDeque<StreamId>,
    pub(crate) last: StreamId,
    given: HashMap<StreamId, Given>,
    deleted: HashSet<StreamId>,
    pub(crate) life: u64,
    /// There is no such task.
    pub(crate) is_unknown: bool,
}

impl Stream {
    pub(crate) fn new(number: usize, is_unknown: bool) -> Self {
        let last = StreamId { ms: 1000, seq: 0 };
        Self {
            number,
            kept: VecDeque::new(),
            last,
            given: HashMap::new(),
            deleted: HashSet::new(),
            life: 0,
            is_unknown,
        }
    }

    pub(crate) fn given(&self, id: StreamId) -> Option<&Given> {
        self.given.get(&id)
    }

    /// Whether a viewer that stands there can go on.
    pub(crate) fn is_honest(&self, position: StreamId) -> bool {
        position == self.last || position == StreamId::ZERO || self.kept.contains(&position)
    }

    /// Whether nothing that is kept and sent, in the same life of the stream, lies before this entry.
    pub(crate) fn nothing_kept_before(&self, id: StreamId) -> bool {
        let mut sent = self.kept.iter().filter(|kept| !self.is_skipped(**kept));
        sent.next().is_none_or(|first| first.seq != id.seq || id <= *first)
    }

    /// Whether an entry is not sent.
    pub(crate) fn is_skipped(&self, id: StreamId) -> bool {
        self.given.get(&id).is_some_and(|given| given.frame.is_empty())
    }

    /// Whether a viewer who was sent this last has everything.
    pub(crate) fn has_nothing_behind(&self, position: StreamId) -> bool {
        let is_of_it = position == StreamId::ZERO || position.seq == self.life;
        let mut behind = self.kept.iter().rev().take_while(|id| **id > position);
        position == self.last || is_of_it && behind.all(|id| self.is_skipped(*id))
    }

    pub(crate) fn add(&mut self, random: &mut StdRng) {
        let id = StreamId { ms: self.last.ms + random.random_range(1..3), seq: self.life };
        let filler = match random.random_range(0..100) {
            0 => 70_000,
            1..10 => random.random_range(100..2_000),
            _ => random.random_range(0..60),
        };
        let text = format!("entry {} {id} {}", self.number, "x".repeat(filler));
        let skipped = random.random_bool(SKIPPED);
        let frame = if skipped { Bytes::new() } else { text_frame(&text) };
        self.given.insert(id, Given { frame, previous: self.last });
        self.kept.push_back(id);
        self.last = id;
    }

    pub(crate) fn trim(&mut self, length: usize) {
        while self.kept.len() > length {
            self.kept.pop_front();
        }
    }

    /// Deletes an entry by name, not far before the head of the topic's log.
    pub(crate) fn delete(&mut self, head: StreamId, random: &mut StdRng) {
        let same_life = head.seq == self.life;
        let behind = self.kept.iter().take_while(|id| same_life && **id < head).count();
        if behind > 0
            && let Some(id) =
                self.kept.remove(random.random_range(behind.saturating_sub(6)..behind))
        {
            self.deleted.insert(id);
        }
    }

    pub(crate) fn is_deleted(&self, id: StreamId) -> bool {
        self.deleted.contains(&id)
    }

    /// Whether an entry is the next one for a viewer who has everything up to `position`.
    pub(crate) fn follows(&self, id: StreamId, position: StreamId) -> bool {
        let mut previous = self.given[&id].previous;
        let is_passed = |id| self.is_deleted(id) || self.is_skipped(id);
        while previous != position && is_passed(previous) {
            previous = self.given[&previous].previous;
        }
        previous == position
    }

    /// Becomes another stream, with smaller or greater ids.
    pub(crate) fn reset(&mut self, random: &mut StdRng) {
        self.life += 1;
        self.kept.clear();
        self.last = StreamId { ms: random.random_range(1..3_000), seq: self.life };
        self.add(random);
    }

    /// What is kept behind a position, at most so many.
    pub(crate) fn after(&self, position: StreamId, entries_max: usize) -> Vec<StreamId> {
        let place = self.kept.iter().position(|id| *id == position);
        let first = match place {
            Some(place) => place + 1,
            None if position == StreamId::ZERO || self.begins_behind(position) => 0,
            None => self.kept.len(),
        };
        self.kept.iter().skip(first).take(entries_max).copied().collect()
    }

    /// Whether what was trimmed ends exactly there.
    fn begins_behind(&self, position: StreamId) -> bool {
        self.kept.front().is_some_and(|first| self.given[first].previous == position)
    }

    /// Whether the entries behind a head are all still there.
    pub(crate) fn continues(&self, head: StreamId) -> bool {
        self.is_honest(head) || self.begins_behind(head)
    }

    /// Entries as chunks, cut anywhere.
    pub(crate) fn chunks(
        &self,
        account: &Account,
        mut after: After,
        ids: &[StreamId],
        random: &mut StdRng,
    ) -> Vec<Arc<Chunk>> {
        let mut chunks = Vec::new();
        let mut rest = ids;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(random.random_range(1..=rest.len()));
            rest = later;
            let mut bytes = BytesMut::new();
            let mut units = Vec::new();
            for id in now {
                bytes.extend_from_slice(&self.given[id].frame);
                units.push(Unit { end: bytes.len(), position: *id });
            }
            let bytes = bytes.freeze();
            let chunk = Chunk::new(account, bytes, units.into(), after);
            after = After { position: chunk.last(), sent: chunk.last_sent() };
            chunks.push(Arc::new(chunk));
        }
        chunks
    }

    fn state_frame(&self) -> Bytes {
        text_frame(&format!("state {} {} ", self.number, self.last))
    }

    /// The state.
    pub(crate) fn state_chunk(&self, account: &Account) -> Arc<Chunk> {
        let state = self.state_frame();
        Arc::new(Chunk::of_one(account, state, StreamId::ZERO, self.last))
    }

    /// A `gap` and the state behind it.
    pub(crate) fn gap_chunk(&self, account: &Account, requested: StreamId) -> Arc<Chunk> {
        let gap = text_frame(&format!("gap {} {requested} ", self.number));
        let frames = [gap, self.state_frame()].concat().into();
        Arc::new(Chunk::of_one(account, frames, requested, self.last))
    }
}

fn text_frame(text: &str) -> Bytes {
    ws::whole(Opcode::Text, text.as_bytes())
}
