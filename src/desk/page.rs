//! A page: a part of the stream that was read for those who wait, and who finds himself in it.

use std::sync::Arc;

use crate::core::chunk::Chunk;
use crate::id::StreamId;

/// A part of the stream, encoded.
#[derive(Default)]
pub(super) struct Page {
    pub(super) from: Option<StreamId>,
    pub(super) chunks: Vec<Arc<Chunk>>,
    /// The entry that the page was to begin with is there.
    pub(super) anchored: bool,
    /// There is nothing behind the page.
    pub(super) whole: bool,
}

/// Where a position is in a [`Page`].
pub(super) enum Found<'a> {
    /// What comes after it is in these chunks.
    Here(&'a [Arc<Chunk>]),
    /// It should be in this page, and is not: there is no such entry.
    Nowhere,
    /// It is before or behind this page.
    NotInThisPage,
}

impl Page {
    pub(super) fn find(&self, position: StreamId) -> Found<'_> {
        let Some(from) = self.from else { return Found::NotInThisPage };
        if position == from {
            // `0-0` asks for everything that is retained and needs no entry.
            let honest = self.anchored || position == StreamId::ZERO;
            return if honest { Found::Here(&self.chunks) } else { Found::Nowhere };
        }
        let number = self.chunks.partition_point(|chunk| chunk.last() < position);
        match self.chunks.get(number) {
            _ if position < from => Found::NotInThisPage,
            Some(chunk) if chunk.units.iter().any(|unit| unit.position == position) => {
                Found::Here(&self.chunks[number..])
            }
            None if !self.whole => Found::NotInThisPage,
            _ => Found::Nowhere,
        }
    }
}
