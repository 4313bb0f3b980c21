//! A chunk: complete frames back to back in one shared buffer, with the position that a viewer has
//! reached at each place where it may stop.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::{Buf, Bytes};

use crate::account::{Account, Charge, Kind};
use crate::id::StreamId;
use crate::source::End;

/// What a chunk takes beside its bytes and its units: itself, its counters, its place in a log.
const OVERHEAD_BYTES: usize = 128;

/// Part of a topic's log, or a state, in the form in which it goes to the sockets.
///
/// It is made once per process and shared by all viewers and threads, and it is charged to the
/// account as long as anybody holds it.
#[derive(Debug)]
pub struct Chunk {
    /// The frames.
    pub bytes: Bytes,
    /// What the frames are, in order. Never empty; ends do not descend; the last one ends the bytes.
    pub units: Box<[Unit]>,
    /// The position of a viewer who has nothing of this chunk yet,
    pub after: StreamId,
    /// and the id that its first frame names as that of the entry before it.
    pub previous: StreamId,
    /// How many units are without a frame.
    skipped: usize,
    /// The last end among its entries.
    pub ended: Option<Ended>,
    charge: Charge,
    /// Bytes that were ever copied of it, for sockets that took a part of a frame.
    copied: AtomicUsize,
}

/// Where entries follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// Everything up to here is before them,
    pub position: StreamId,
    /// of which this was sent last.
    pub sent: StreamId,
}

impl From<StreamId> for After {
    /// Behind an entry that was sent.
    fn from(position: StreamId) -> Self {
        Self { position, sent: position }
    }
}

/// An entry that ended its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The entry.
    pub position: StreamId,
    /// What it said.
    pub end: End,
    /// How many entries came behind it.
    pub behind: u64,
}

/// Frames that belong together: one entry's, or a `gap` with the `initial_state` behind it. An entry
/// that is skipped has none, and ends where the one before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Where in the chunk the unit ends, in bytes.
    pub end: usize,
    /// The position of a viewer who has this unit.
    pub position: StreamId,
}

impl Chunk {
    /// A chunk of these units. One that the account could not hold beside others is held outside.
    pub fn new(
        account: &Account,
        bytes: Bytes,
        units: Box<[Unit]>,
        after: impl Into<After>,
    ) -> Self {
        let After { position: after, sent: previous } = after.into();
        let mut end = 0;
        let is_skipped = |unit: &&Unit| std::mem::replace(&mut end, unit.end) == unit.end;
        let skipped = units.iter().filter(is_skipped).count();
        let size = bytes.len() + units.len() * size_of::<Unit>() + OVERHEAD_BYTES;
        let charge = if account.exceeds(size) {
            account.hold_outside(Kind::Chunks, size)
        } else {
            account.charge(Kind::Chunks, size)
        };
        let copied = AtomicUsize::new(0);
        Self { bytes, units, after, previous, skipped, ended: None, charge, copied }
    }

    /// The same with the last end among its entries.
    pub fn ending(self, ended: Option<Ended>) -> Self {
        Self { ended, ..self }
    }

    /// A chunk of one unit, behind which a viewer stands at `position`.
    pub fn of_one(account: &Account, bytes: Bytes, after: StreamId, position: StreamId) -> Self {
        let unit = Unit { end: bytes.len(), position };
        Self::new(account, bytes, [unit].into(), after)
    }

    /// The position of a viewer who has all of this chunk.
    pub fn last(&self) -> StreamId {
        self.units.last().map_or(self.after, |unit| unit.position)
    }

    /// How many of its entries are not sent.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// What it takes of what may be held: its bytes, or its units, where nearly all are without a
    /// frame.
    pub fn weight(&self) -> usize {
        self.bytes.len().max(self.skipped * size_of::<Unit>())
    }

    /// The last entry of it that was sent, or that was before it.
    pub fn last_sent(&self) -> StreamId {
        self.sent_before(self.bytes.len()).unwrap_or(self.previous)
    }

    /// Where the bytes that a viewer at `position` lacks begin; none where that is no place of
    /// this chunk: behind an entry that is skipped the chain is another one.
    pub fn offset_after(&self, position: StreamId) -> Option<usize> {
        if position == self.previous {
            return Some(0);
        }
        let found = self.units.binary_search_by_key(&position, |unit| unit.position).ok()?;
        let end = self.units[found].end;
        (self.sent_before(end) == Some(position)).then_some(end)
    }

    /// Which entry was sent last before what begins at an offset; none where a frame lies across.
    pub fn sent_before(&self, offset: usize) -> Option<StreamId> {
        if offset == 0 {
            return Some(self.previous);
        }
        // Those that are skipped behind it end there, too.
        let unit = self.units.get(self.units.partition_point(|unit| unit.end < offset))?;
        (unit.end == offset).then_some(unit.position)
    }

    /// How many entries come behind the one that was sent last before an offset.
    pub fn entries_from(&self, offset: usize) -> usize {
        match offset {
            0 => self.units.len(),
            _ => {
                let before = self.units.partition_point(|unit| unit.end < offset);
                self.units.len().saturating_sub(before + 1)
            }
        }
    }

    /// How many of the units from one on have frames.
    pub fn frames_from(&self, number: usize) -> usize {
        let units = &self.units[number.min(self.units.len())..];
        if self.skipped == 0 {
            return units.len();
        }
        let mut end = number.checked_sub(1).map_or(0, |before| self.units[before].end);
        units.iter().filter(|unit| std::mem::replace(&mut end, unit.end) != unit.end).count()
    }

    /// The unit that the byte at `offset` belongs to, with its number.
    pub fn unit_at(&self, offset: usize) -> Option<(usize, Unit)> {
        let number = self.units.partition_point(|unit| unit.end <= offset);
        Some((number, *self.units.get(number)?))
    }

    /// What is left of a unit, for a viewer whose socket took the rest.
    ///
    /// It is copied, so that it does not keep a large chunk alive for one slow viewer; but all copies
    /// together are never more than half of the chunk, however many viewers are slow: the others
    /// share it.
    pub fn remainder(self: &Arc<Self>, left: Range<usize>) -> Rest {
        let copies_max = self.bytes.len() / 2;
        let with_this = |copied| Some(copied + left.len()).filter(|sum| *sum <= copies_max);
        if self.copied.fetch_update(Relaxed, Relaxed, with_this).is_ok() {
            Rest::of(self.charge.account(), &self.bytes[left])
        } else {
            Rest::Shared(self.clone(), left)
        }
    }
}

/// What is left of a frame, or of a unit's frames, that a socket took in part: before anything else
/// it gets the rest of it. Never empty.
#[derive(Debug)]
pub enum Rest {
    /// A part of a chunk.
    Shared(Arc<Chunk>, Range<usize>),
    /// Bytes of its own.
    Own(Bytes, Charge),
}

impl Rest {
    /// A copy of what is left.
    pub fn of(account: &Account, left: &[u8]) -> Self {
        let charge = account.charge(Kind::Rests, left.len());
        Self::Own(Bytes::copy_from_slice(left), charge)
    }

    /// The bytes.
    pub fn slice(&self) -> IoSlice<'_> {
        IoSlice::new(match self {
            Self::Shared(chunk, left) => &chunk.bytes[left.clone()],
            Self::Own(left, _) => left,
        })
    }

    /// Drops what the socket took. Whether something is left still.
    pub fn advance(&mut self, sent: usize) -> bool {
        match self {
            Self::Shared(_, left) => {
                left.start += sent;
                left.start < left.end
            }
            Self::Own(left, charge) => {
                left.advance(sent);
                charge.set(left.len());
                !left.is_empty()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_slow_viewers_of_one_frame_hold_half_of_it_beside_it_at_the_most() {
        let account = Account::new(1 << 20);
        let bytes = Bytes::from(vec![b'x'; 1000]);
        let chunk = Arc::new(Chunk::of_one(&account, bytes, StreamId::ZERO, StreamId::MAX));
        for left in [1..1000, 600..1000, 990..1000] {
            let rests: Vec<Rest> = (0..300).map(|_| chunk.remainder(left.clone())).collect();
            assert!(rests.iter().all(|rest| *rest.slice() == chunk.bytes[left.clone()]));
            assert!(account.bytes_of(Kind::Rests) <= 500);
        }
        assert_eq!(account.bytes_of(Kind::Rests), 0);
    }
}
