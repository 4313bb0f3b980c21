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
    /// What comes after it is in these chunks; whether its entry is there.
    Here(&'a [Arc<Chunk>], bool),
    /// Only a page that begins with it can tell.
    NotInThisPage,
}

impl Page {
    pub(super) fn find(&self, position: StreamId) -> Found<'_> {
        if self.from == Some(position) {
            return Found::Here(&self.chunks, self.anchored);
        }
        if self.from.is_none_or(|from| position < from) {
            return Found::NotInThisPage;
        }
        let number = self.chunks.partition_point(|chunk| chunk.last() < position);
        match self.chunks.get(number) {
            Some(chunk) if chunk.units.iter().any(|unit| unit.position == position) => {
                Found::Here(&self.chunks[number..], true)
            }
            _ => Found::NotInThisPage,
        }
    }
}
