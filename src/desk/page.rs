//! A page: a part of the stream that was read for those who wait, and who finds himself in it.

use std::sync::Arc;

use crate::core::chunk::Chunk;
use crate::id::StreamId;

/// A part of the stream, encoded.
#[derive(Default)]
pub(super) struct Page {
    pub(super) from: Option<StreamId>,
    /// What its first frame names as the entry before it.
    pub(super) previous: StreamId,
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// The entry that the page was to begin with is there.
    pub(super) anchored: bool,
    /// There is nothing behind the page.
    pub(super) whole: bool,
    /// Something of it is behind what the topic has.
    pub(super) is_cut: bool,
}

/// Where a position is in a [`Page`].
pub(super) enum Found<'a> {
    /// What comes after it is in these chunks.
    Here {
        chunks: &'a [Arc<Chunk>],
        /// Its entry is there.
        is_there: bool,
        /// There is something to be sent behind it.
        sends: bool,
    },
    /// Only a page that begins with it can tell.
    NotInThisPage,
}

impl Page {
    /// Whether it is of no use yet: there is more than the topic has, and who attaches is to be given all
    /// that there is before it is told so.
    pub(super) fn is_too_early(&self, attaching: bool) -> bool {
        self.is_cut && (attaching || self.chunks.is_empty())
    }

    /// Finds somebody who was sent `position` last, and of whom everything up to `passed` is known to
    /// be skipped.
    pub(super) fn find(&self, position: StreamId, passed: StreamId) -> Found<'_> {
        if self.from == Some(passed) && self.previous == position {
            return self.here(0, 0, self.anchored);
        }
        if self.from.is_none_or(|from| position <= from) || passed != position {
            return Found::NotInThisPage;
        }
        let number = self.chunks.partition_point(|chunk| chunk.last() < position);
        let Some(chunk) = self.chunks.get(number) else { return Found::NotInThisPage };
        match chunk.offset_after(position) {
            Some(offset) if offset > 0 => self.here(number, offset, true),
            _ => Found::NotInThisPage,
        }
    }

    fn here(&self, number: usize, offset: usize, is_there: bool) -> Found<'_> {
        let chunks = &self.chunks[number..];
        let bytes = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        Found::Here { chunks, is_there, sends: bytes > offset }
    }
}
