//! A chunk: complete WebSocket frames back to back in one shared buffer, with the position that a
//! viewer has reached at each place where it may stop.

use bytes::Bytes;

use crate::id::StreamId;

/// Part of a topic's log in the form in which it goes to the sockets.
///
/// It is made once per process and shared by all viewers and threads.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// The frames.
    pub bytes: Bytes,
    /// What the frames are, in order. Never empty; ends ascend; the last one ends the bytes.
    pub units: Box<[Unit]>,
    /// The position of a viewer who has nothing of this chunk yet.
    pub after: StreamId,
}

/// Frames that belong together: one entry's, or a `gap` with the `initial_state` behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Where in the chunk the unit ends, in bytes.
    pub end: usize,
    /// The position of a viewer who has this unit.
    pub position: StreamId,
}

impl Chunk {
    /// The position of a viewer who has all of this chunk.
    pub fn last(&self) -> StreamId {
        self.units.last().map_or(self.after, |unit| unit.position)
    }

    /// Where the bytes that a viewer at `position` lacks begin; none where that is no place of
    /// this chunk.
    pub fn offset_after(&self, position: StreamId) -> Option<usize> {
        if position == self.after {
            return Some(0);
        }
        let found = self.units.binary_search_by_key(&position, |unit| unit.position).ok()?;
        Some(self.units[found].end)
    }

    /// The unit that the byte at `offset` belongs to, with its number.
    pub fn unit_at(&self, offset: usize) -> Option<(usize, Unit)> {
        let number = self.units.partition_point(|unit| unit.end <= offset);
        Some((number, *self.units.get(number)?))
    }

    /// What is left of a unit from `offset` on, for a viewer whose socket took the rest.
    ///
    /// A small remainder is copied: it must not keep a large chunk alive for one slow viewer. One
    /// that is most of the chunk is shared.
    pub fn remainder(&self, offset: usize, end: usize) -> Bytes {
        if (end - offset) * 2 >= self.bytes.len() {
            self.bytes.slice(offset..end)
        } else {
            Bytes::copy_from_slice(&self.bytes[offset..end])
        }
    }
}
