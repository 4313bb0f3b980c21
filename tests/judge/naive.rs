//! A naive stream: all that ever happened to its entries, the facts that follow from it, and what a
//! reader of it is owed.

use std::fmt;

use taskcast::id::StreamId;
use taskcast::log::StreamFacts;

/// Which entry it is, whatever its id: the how-many-eth of which stream. After a failover a stream
/// goes on under a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    incarnation: u32,
    order: u32,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.order)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    There,
    Trimmed,
    /// Deleted by name.
    Withdrawn,
}

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub number: Number,
    pub id: StreamId,
    pub fate: Fate,
}

/// What a reader missed that had read everything up to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// Nothing.
    Whole,
    /// An entry was trimmed before it was read.
    Trimmed,
    /// All that was behind the entry, as the stream is another one, or gone.
    Other,
}

#[derive(Debug, Clone)]
pub struct Stream {
    pub incarnation: u32,
    history: Vec<Entry>,
    deleted: StreamId,
}

impl Stream {
    pub fn new(incarnation: u32) -> Self {
        Self { incarnation, history: Vec::new(), deleted: StreamId::ZERO }
    }

    /// The number of the next entry.
    pub fn next_number(&self) -> Number {
        Number { incarnation: self.incarnation, order: self.history.len() as u32 + 1 }
    }

    pub fn add(&mut self, number: Number, id: StreamId) {
        assert!(id > self.last_id());
        self.history.push(Entry { number, id, fate: Fate::There });
    }

    pub fn trim(&mut self, count: u64) {
        let there = self.history.iter_mut().filter(|entry| entry.fate == Fate::There);
        there.take(count as usize).for_each(|entry| entry.fate = Fate::Trimmed);
    }

    pub fn trim_to(&mut self, length_max: u64) {
        self.trim((self.there().count() as u64).saturating_sub(length_max));
    }

    pub fn trim_below(&mut self, id: StreamId) {
        self.trim(self.there().filter(|entry| entry.id < id).count() as u64);
    }

    pub fn delete(&mut self, id: StreamId) {
        let mut there = self.history.iter_mut().filter(|entry| entry.fate == Fate::There);
        if let Some(entry) = there.find(|entry| entry.id == id) {
            entry.fate = Fate::Withdrawn;
            self.deleted = self.deleted.max(id);
        }
    }

    pub fn history(&self) -> &[Entry] {
        &self.history
    }

    pub fn there(&self) -> impl Iterator<Item = &Entry> {
        self.history.iter().filter(|entry| entry.fate == Fate::There)
    }

    pub fn last_id(&self) -> StreamId {
        self.history.last().map_or(StreamId::ZERO, |entry| entry.id)
    }

    pub fn facts(&self) -> StreamFacts {
        StreamFacts {
            exists: true,
            length: self.there().count() as u64,
            last_generated: self.last_id(),
            first: self.there().next().map(|entry| entry.id),
            last: self.there().last().map(|entry| entry.id),
            entries_added: Some(self.history.len() as u64),
            max_deleted: Some(self.deleted),
        }
    }

    /// How many entries there were up to this one; none where it is of another stream.
    pub fn ordinal(&self, mark: Option<Number>) -> Option<u64> {
        let Some(mark) = mark else { return Some(0) };
        let place = self.history.iter().position(|entry| entry.number == mark)?;
        Some(place as u64 + 1)
    }

    /// Whether another entry than this has, or had, its id.
    pub fn gave_again(&self, id: StreamId, number: Option<Number>) -> bool {
        self.history.iter().any(|entry| entry.id == id && Some(entry.number) != number)
    }
}

/// What somebody missed by now that had read everything up to `mark`; with none, nothing at all.
pub fn truth(stream: Option<&Stream>, mark: Option<Number>) -> Truth {
    let Some(stream) = stream else {
        return if mark.is_none() { Truth::Whole } else { Truth::Other };
    };
    let Some(ordinal) = stream.ordinal(mark) else { return Truth::Other };
    let behind = &stream.history[ordinal as usize..];
    if behind.iter().any(|entry| entry.fate == Fate::Trimmed) {
        Truth::Trimmed
    } else {
        Truth::Whole
    }
}
