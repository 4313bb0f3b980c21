//! An entry of a stream, as its publisher wrote it.

use bytes::Bytes;

use crate::id::StreamId;

/// One entry of a stream: its id and its fields, in the entry's order, as raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The position of the entry.
    pub id: StreamId,
    /// Names and values, as the publisher wrote them; names may repeat.
    pub fields: Vec<(Bytes, Bytes)>,
}

impl Entry {
    /// The size of names and values, in bytes.
    pub fn bytes_len(&self) -> usize {
        self.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}
