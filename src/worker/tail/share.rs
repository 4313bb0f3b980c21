//! How much a tail takes at a time: a worker's little enough that its viewers are not held up, the
//! lane's whatever there is.

/// The share of the work that one tail takes at a time.
pub(super) struct Share {
    /// Streams that one read asks for.
    pub(super) streams_per_read: usize,
    /// Entries that one read takes of a stream; where there are more, it is read again at once.
    pub(super) entries_per_read: usize,
    /// The longest value of an entry, in bytes.
    pub(super) string_bytes_max: usize,
}

impl Share {
    pub(super) const OF_WORKER: Self =
        Self { streams_per_read: 128, entries_per_read: 256, string_bytes_max: 256 * 1024 };

    pub(super) const OF_LANE: Self = Self {
        streams_per_read: 1,
        // The entry at the head, as proof, and the next one.
        entries_per_read: 2,
        string_bytes_max: usize::MAX,
    };
}
