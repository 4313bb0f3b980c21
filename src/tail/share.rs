//! How much a tail takes at a time: a worker's little enough that its viewers are not held up, the
//! lane's whatever there is.

/// The share of the work that one tail takes at a time.
pub(super) struct Share {
    /// Streams that one read asks for, at the most.
    pub(super) streams_max: usize,
    /// Entries that one read takes of a stream, at the most; where there are more, it is read again
    /// at once.
    pub(super) entries_max: usize,
    /// The longest value of an entry, in bytes.
    pub(super) string_bytes_max: usize,
    /// Answers of any length are taken.
    pub(super) unbounded: bool,
}

impl Share {
    pub(super) const OF_WORKER: Self =
        Self { streams_max: 128, entries_max: 256, string_bytes_max: 256 * 1024, unbounded: false };

    pub(super) const OF_LANE: Self = Self {
        streams_max: 1,
        // The entry at the head, as proof, and the next one.
        entries_max: 2,
        string_bytes_max: usize::MAX,
        unbounded: true,
    };
}
