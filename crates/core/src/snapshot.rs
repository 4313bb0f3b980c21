//! State, facts and entries of one task, read in one step; and what such a read is to bring.

use crate::entry::Entry;
use crate::facts::StreamFacts;
use crate::history::History;
use crate::id::StreamId;
use crate::state::State;

/// What a snapshot is to hold, beside the stream's facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotWants {
    /// How many of the newest updates; none means that no state is wanted at all, `u64::MAX` that it is
    /// wanted whole, with the thread's metadata and context.
    pub updates_max: Option<u64>,
    /// How many of the stream's newest entries.
    pub newest_max: u64,
    /// A part of the stream.
    pub page: Option<PageWants>,
    /// An id of which is told whether it has an entry.
    pub looks_for: Option<StreamId>,
    /// Where it would be more than so many bytes, about, the answer says so and nothing else; none
    /// where that does not matter.
    pub bytes_max: Option<u64>,
}

/// A part of a stream, from a position on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageWants {
    /// The first id that may be in the page (inclusive).
    pub from: StreamId,
    /// At most that many entries; more than one, as the first is often known.
    pub entries_max: u64,
    /// No more entries once there are so many bytes and at least two entries.
    pub bytes_max: u64,
}

/// State, facts and entries of one task, all of one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The stream.
    pub stream: StreamFacts,
    /// The state, where it was asked for and there is one.
    pub state: Option<State>,
    /// The stream's newest entries, oldest first.
    pub newest: Vec<Entry>,
    /// The page that was asked for, oldest first.
    pub page: Vec<Entry>,
    /// The stream may go on behind the page.
    pub page_goes_on: bool,
    /// The id that was looked for has an entry.
    pub is_there: bool,
    /// The log's clock, in milliseconds since the epoch.
    pub now_ms: u64,
    /// Where it was read.
    pub history: History,
    /// Whoever writes to this log changes state and stream in one step.
    pub one_step: bool,
}

impl Snapshot {
    /// Whether the thread exists: by its state, or by its stream alone (protocol §2).
    pub fn thread_exists(&self) -> bool {
        self.stream.exists || self.state.is_some()
    }
}
