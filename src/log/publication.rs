//! What is published in one step, and what comes of it.

use super::PublicationId;
use crate::id::{StreamId, ThreadId};

/// One step of state and events: all of it happens, or nothing does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Publication {
    /// What has the same id is not done again. The default is an id of its own.
    pub id: PublicationId,
    /// Fail with [`LogError::NotFound`](super::LogError::NotFound) unless the thread exists.
    pub must_exist: bool,
    /// Changes of the state, in the `thread` layout.
    pub writes: Vec<Write>,
    /// Entries to add to the stream, in order: names and values.
    pub events: Vec<Vec<(String, String)>>,
}

/// One change of a task's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// `sre:thread:{id}:status`
    Status(String),
    /// Pushed to the head of `sre:thread:{id}:updates`, which is cut to 100.
    Update(String),
    /// `sre:thread:{id}:result`, a JSON text.
    Result(String),
    /// `sre:thread:{id}:error`
    Error(String),
    /// Fields set in the hash `sre:thread:{id}:metadata`.
    Metadata(Vec<(String, String)>),
    /// Fields set in the hash `sre:thread:{id}:context`.
    Context(Vec<(String, String)>),
    /// The thread's place in the index `sre:threads:index`: score = seconds since the epoch.
    Index(f64),
}

/// What came of a publication, now or when it was done first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The thread that it was done to. One that makes a thread is repeated under another name, and
    /// this is the name that there is.
    pub thread: ThreadId,
    /// The id of the last entry added; the stream's last id where there was none.
    pub stream_id: StreamId,
}
