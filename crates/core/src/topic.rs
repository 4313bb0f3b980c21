//! The recent part of a task's stream, as one string of bytes with a moving window held in memory.
//!
//! What is held keeps its place in that string, so a viewer's position is one number, and
//! "everything that this viewer lacks" is one range. What was let go and read again may lie
//! elsewhere (entries were deleted in between, or a gap was told): a place counts only together
//! with the stream id that the viewer has there.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::chunk::{Chunk, Ended};
use crate::fanout::{Batch, Derived};
use crate::id::StreamId;
use crate::present::{Present, Version};

/// Places start here, so that older chunks can be put in front.
const ORIGIN: u64 = 1 << 48;

/// The recent chunks of a topic and its head.
#[derive(Debug)]
pub struct TopicLog {
    held: VecDeque<Held>,
    end: u64,
    /// Where that begins which was read last.
    read_from: u64,
    head: StreamId,
    /// The last entry that was sent of those up to the head; where they begin, the head.
    sent: StreamId,
    /// The last end among them.
    ended: Option<Ended>,
    bytes: usize,
    appended: u64,
    /// The same when it last began with a gap.
    renewed: u64,
    epoch: u32,
    renewal: Renewal,
    present: Present,
}

/// Everybody who is given the gap that a log begins with, and the state in it.
#[derive(Debug, Clone, Default)]
pub struct Renewal {
    /// Which batch that makes them, where something was withheld.
    pub batch: Option<Batch>,
    /// What of that they are to be told, once that is known.
    pub derived: Option<Arc<Derived>>,
    /// The version of that state.
    pub version: Version,
}

/// A chunk with its place in the topic's string of bytes.
#[derive(Debug, Clone)]
pub struct Held {
    /// The place of the chunk's first byte.
    pub start: u64,
    /// The chunk.
    pub chunk: Arc<Chunk>,
    /// Whether the chunk begins another stream: what was before it has no continuation here.
    renewed: bool,
}

impl Held {
    /// A chunk at a place.
    pub fn new(start: u64, chunk: Arc<Chunk>) -> Self {
        Self { start, chunk, renewed: false }
    }

    /// Whether it begins another stream.
    pub fn is_renewal(&self) -> bool {
        self.renewed
    }

    /// The number of the chunk's first unit that does not lie before a place.
    pub fn first_unit_from(&self, place: u64) -> usize {
        let within = place.saturating_sub(self.start) as usize;
        self.chunk.units.partition_point(|unit| unit.end <= within)
    }

    /// The place behind the chunk's last byte.
    pub fn end(&self) -> u64 {
        self.start + self.chunk.bytes.len() as u64
    }

    /// Whether a viewer who was sent `position` last stands at this place of the chunk.
    fn stands_at(&self, place: u64, position: StreamId) -> bool {
        let offset = place.checked_sub(self.start).map(|offset| offset as usize);
        offset.and_then(|offset| self.chunk.sent_before(offset)) == Some(position)
    }
}

impl TopicLog {
    /// A log that holds nothing yet and whose head is at `head`.
    pub fn new(head: StreamId) -> Self {
        Self {
            held: VecDeque::new(),
            end: ORIGIN,
            read_from: ORIGIN,
            head,
            sent: head,
            ended: None,
            bytes: 0,
            appended: 1,
            renewed: 1,
            epoch: 0,
            renewal: Renewal::default(),
            present: Present::default(),
        }
    }

    /// What the task is now.
    pub fn present(&self) -> &Present {
        &self.present
    }

    /// The same, to be brought up to date.
    pub fn present_mut(&mut self) -> &mut Present {
        &mut self.present
    }

    /// The same where an end is among the entries up to the head.
    pub fn ending(self, ended: Option<Ended>) -> Self {
        Self { ended, ..self }
    }

    /// Up to where there is everything.
    pub fn head(&self) -> StreamId {
        self.head
    }

    /// The position of a viewer who has everything: the last entry that was sent.
    pub fn sent(&self) -> StreamId {
        self.sent
    }

    /// The last end, if it is among so many of the newest entries.
    pub fn ended(&self, within: usize) -> Option<Ended> {
        self.ended.filter(|ended| ended.behind < within as u64)
    }

    /// The place behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many units were ever appended, and one more, so that it is never 0.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// How many entries were appended since somebody had so many of the units; none where there was a gap
    /// since.
    pub fn appended_since(&self, received: u64) -> Option<u64> {
        (received >= self.renewed).then(|| self.appended.saturating_sub(received))
    }

    /// Which stream this is, of those that were under the key one after the other: positions in
    /// different ones have nothing to do with each other, even where the ids are the same.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The stream is another one from here on.
    pub fn begin_epoch(&mut self) {
        self.epoch += 1;
        self.present.begin_epoch();
    }

    /// How many bytes are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The position from which on everything is held; none where what is held begins with a gap.
    pub fn floor(&self) -> Option<StreamId> {
        match self.held.front() {
            Some(held) if held.renewed => None,
            Some(held) => Some(held.chunk.after),
            None => Some(self.head),
        }
    }

    /// Puts a chunk behind the head.
    pub fn append(&mut self, chunk: Arc<Chunk>) {
        self.push(chunk, false);
    }

    /// What is appended from now on was read together: viewers at the head were given nothing of it yet.
    pub fn begin_read(&mut self) {
        self.read_from = self.end;
    }

    /// Begins another stream: forgets what is held and puts `chunk`, which tells the viewers at
    /// the head so, in its place. Something may have been withheld from the state in it.
    pub fn renew(&mut self, chunk: Arc<Chunk>, batch: Option<Batch>, version: Version) {
        self.release();
        self.renewal = Renewal { batch, derived: None, version };
        self.ended = None;
        self.push(chunk, true);
        self.renewed = self.appended;
    }

    fn push(&mut self, chunk: Arc<Chunk>, renewed: bool) {
        let held = Held { start: self.end, chunk, renewed };
        let units = held.chunk.units.len() as u64;
        self.end = held.end();
        self.bytes += held.chunk.weight();
        self.appended += units;
        self.head = held.chunk.last();
        self.sent = held.chunk.last_sent();
        let before = self.ended.map(|ended| Ended { behind: ended.behind + units, ..ended });
        self.ended = held.chunk.ended.or(before);
        self.held.push_back(held);
    }

    /// Puts an older chunk in front, if it ends where this log begins, what was sent last of it is what
    /// the log's first frame names as the one before it, and `bytes_max` allows.
    pub fn prepend(&mut self, chunk: &Arc<Chunk>, bytes_max: usize) -> bool {
        let weight = chunk.weight();
        let previous = self.held.front().map_or(self.sent, |held| held.chunk.previous);
        let continues = self.floor() == Some(chunk.last()) && chunk.last_sent() == previous;
        if !continues || self.bytes + weight > bytes_max {
            return false;
        }
        let end = self.held.front().map_or(self.end, |held| held.start);
        let start = end - chunk.bytes.len() as u64;
        self.bytes += weight;
        self.held.push_front(Held { start, chunk: chunk.clone(), renewed: false });
        true
    }

    /// Lets the oldest chunks go until no more than `bytes_max` are held; what was read last stays, as
    /// the log may have it no more.
    pub fn trim(&mut self, bytes_max: usize) {
        let is_older = |held: &Held| held.start < self.read_from;
        while self.bytes > bytes_max
            && self.held.front().is_some_and(is_older)
            && let Some(held) = self.held.pop_front()
        {
            self.bytes -= held.chunk.weight();
        }
    }

    /// Lets all chunks go; the head stays.
    pub fn release(&mut self) {
        self.held.clear();
        self.bytes = 0;
    }

    /// The place of the bytes that a viewer at `position` lacks; none where they are not held.
    pub fn locate(&self, position: StreamId) -> Option<u64> {
        if position == self.head || position == self.sent {
            return Some(self.end);
        }
        // A viewer waits behind the newest chunks far more often than behind the oldest.
        self.held.iter().rev().find_map(|held| {
            if held.renewed && position == held.chunk.after {
                return None;
            }
            Some(held.start + held.chunk.offset_after(position)? as u64)
        })
    }

    /// Who is given the gap that the log begins with.
    pub fn renewal(&self) -> &Renewal {
        &self.renewal
    }

    /// The viewers of a batch are owed something: so are those who come to the gap later.
    pub fn derive(&mut self, batch: Batch, derived: &Arc<Derived>) {
        if self.renewal.batch == Some(batch) {
            self.renewal.derived = Some(derived.clone());
        }
    }

    /// The unit that begins at a place: its bytes, what was sent before it, and its own position. None where
    /// nothing is held there, or it tells that the stream is another one.
    pub fn unit_at(&self, place: u64) -> Option<(&[u8], StreamId, StreamId)> {
        let first = self.held.partition_point(|held| held.end() <= place);
        let held = self.held.get(first).filter(|held| !held.renewed)?;
        let start = usize::try_from(place.checked_sub(held.start)?).ok()?;
        let (_, unit) = held.chunk.unit_at(start)?;
        let before = held.chunk.sent_before(start)?;
        Some((held.chunk.bytes.get(start..unit.end)?, before, unit.position))
    }

    /// How many entries come behind the one that was sent last before a place.
    pub fn entries_from(&self, place: u64) -> u64 {
        let held = self.held.iter().rev().take_while(|held| held.end() >= place);
        held.map(|held| held.chunk.entries_from(place.saturating_sub(held.start) as usize) as u64)
            .sum()
    }

    /// Appends the chunks with the bytes from `place` on, for a viewer with everything up to
    /// `position`; false where some of them are not held.
    pub fn since(&self, position: StreamId, place: u64, run: &mut Vec<Held>) -> bool {
        let first = self.held.partition_point(|held| held.end() <= place);
        let complete = match self.held.get(first) {
            Some(held) => held.stands_at(place, position),
            // Whoever was told that nothing is behind his position may have another id there than
            // the head: of entries that are gone, or that nobody was given.
            None => place == self.end,
        };
        if complete {
            run.extend(self.held.iter().skip(first).cloned());
        }
        complete
    }
}

#[cfg(test)]
mod tests;
