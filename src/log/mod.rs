//! The log: what Redis keeps of every task, behind one seam.
//!
//! Two implementations: [`redis`] and [`embedded`]. Everything else in the crate asks through
//! [`Log`] and does not know which one answers.

pub mod embedded;
pub mod redis;
pub mod tail;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::Config;
use crate::id::{StreamId, ThreadId};

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

/// What a stream says of itself, read in one step with whatever came along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// Whether there is a stream under the key.
    pub exists: bool,
    /// Number of entries.
    pub length: u64,
    /// The last id that the stream gave out; `0-0` where there is no stream.
    pub last_generated: StreamId,
    /// The oldest entry that is still there.
    pub first: Option<StreamId>,
    /// The newest entry that is still there.
    pub last: Option<StreamId>,
    /// How many entries were ever added (Redis 7 and later).
    pub entries_added: Option<u64>,
    /// The greatest id that was deleted by name (Redis 7 and later).
    pub max_deleted: Option<StreamId>,
}

/// The state of a task, from either layout (protocol §2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The status, as it was read; none where no key holds one.
    pub status: Option<Bytes>,
    /// Updates as JSON texts, oldest first: those the read asked for, the newest at most.
    pub updates: Vec<Bytes>,
    /// How many updates are kept in all.
    pub updates_total: u64,
    /// The result, a JSON text.
    pub result: Option<Bytes>,
    /// The error, plain text.
    pub error: Option<Bytes>,
    /// The metadata hash.
    pub metadata: Vec<(Bytes, Bytes)>,
    /// The context hash.
    pub context: Vec<(Bytes, Bytes)>,
    /// In the `task` layout: the newest task and the hash `sre:task:{task_id}:metadata`.
    pub task: Option<TaskPart>,
}

/// What only the `task` layout has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskPart {
    /// The newest member of `sre:thread:{id}:tasks`.
    pub task_id: Bytes,
    /// The hash `sre:task:{task_id}:metadata`.
    pub metadata: Vec<(Bytes, Bytes)>,
}

impl TaskPart {
    /// A field of the task's metadata.
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        self.metadata.iter().find(|(key, _)| key.as_ref() == name.as_bytes()).map(|(_, v)| v)
    }
}

/// What a [`Log::snapshot`] is to hold, beside the stream's facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SnapshotWants {
    /// How many of the newest updates; none means that no state is wanted at all.
    pub updates_max: Option<u64>,
    /// How many of the stream's newest entries.
    pub newest_max: u64,
    /// A part of the stream.
    pub page: Option<PageWants>,
    /// Where it would be more than so many bytes, about, [`LogError::TooLarge`] is the answer; none
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
    /// The log's clock, in milliseconds since the epoch.
    pub now_ms: u64,
}

impl Snapshot {
    /// Whether the thread exists: by its state, or by its stream alone (protocol §2).
    pub fn thread_exists(&self) -> bool {
        self.stream.exists || self.state.is_some()
    }
}

/// One step of state and events: all of it happens, or nothing does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Publication {
    /// Fail with [`LogError::NotFound`] unless the thread exists.
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

/// How many of its newest updates a row of the list of tasks comes with.
const LISTED_UPDATES_MAX: u64 = 10;

/// A row of the list of the newest tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The task.
    pub thread: ThreadId,
    /// Its score in the index, in seconds since the epoch.
    pub updated_at: f64,
    /// Its state with the newest updates.
    pub state: State,
}

/// Why the log did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogError {
    /// The log cannot be reached, or does not take writes or reads now; nothing was written.
    Unavailable(String),
    /// There is no such thread.
    NotFound,
    /// The answer would have more than [`SnapshotWants::bytes_max`].
    TooLarge,
    /// The log refused for a reason that will not pass by itself; nothing was written.
    Refused(String),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "Redis cannot be used now: {why}"),
            Self::NotFound => f.write_str("Thread not found"),
            Self::TooLarge => f.write_str("what Redis holds is larger than was asked for"),
            Self::Refused(why) => write!(f, "Redis refused: {why}"),
        }
    }
}

impl std::error::Error for LogError {}

/// The log, whichever it is. Cheap to clone; every clone asks the same one.
#[derive(Clone)]
pub enum Log {
    /// A Redis server.
    Redis(Arc<redis::RedisLog>),
    /// Memory of this process.
    Embedded(Arc<embedded::EmbeddedLog>),
}

impl Log {
    /// The log that the configuration names. Nothing is connected yet.
    ///
    /// # Errors
    /// [`LogError::Refused`] where the URL of Redis cannot be used.
    pub fn open(config: &Config) -> Result<Self, LogError> {
        let limits = &config.limits;
        if config.embedded {
            return Ok(Self::Embedded(Arc::new(embedded::EmbeddedLog::new(limits))));
        }
        let options = redis::RedisOptions {
            url: config.redis.clone(),
            keys: config.keys.clone(),
            timeouts: redis::connection::Timeouts {
                connect: limits.redis_connect_timeout(),
                response: limits.redis_response_timeout(),
            },
            stream_length_max: limits.stream_length_max,
            expiry_seconds: limits.expiry_seconds,
        };
        Ok(Self::Redis(Arc::new(redis::RedisLog::new(options)?)))
    }

    /// State, facts and entries of one task, in one atomic step.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], [`LogError::Refused`] and [`LogError::TooLarge`].
    pub async fn snapshot(
        &self,
        thread: &ThreadId,
        wants: SnapshotWants,
    ) -> Result<Snapshot, LogError> {
        match self {
            Self::Redis(log) => log.snapshot(thread, wants).await,
            Self::Embedded(log) => Ok(log.snapshot(thread, wants)),
        }
    }

    /// Writes state and events in one atomic step; the id of the last entry added (the stream's
    /// last id where there was none).
    ///
    /// # Errors
    /// Each [`LogError`]; nothing was written.
    pub async fn publish(
        &self,
        thread: &ThreadId,
        publication: &Publication,
    ) -> Result<StreamId, LogError> {
        match self {
            Self::Redis(log) => log.publish(thread, publication).await,
            Self::Embedded(log) => log.publish(thread, publication),
        }
    }

    /// The newest tasks of the index that still have state, newest first.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn newest_tasks(&self, limit: u64) -> Result<Vec<Listed>, LogError> {
        match self {
            Self::Redis(log) => log.newest_tasks(limit).await,
            Self::Embedded(log) => Ok(log.newest_tasks(limit)),
        }
    }

    /// Whether the log answers.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] says why not.
    pub async fn check(&self) -> Result<(), LogError> {
        match self {
            Self::Redis(log) => log.check().await,
            Self::Embedded(_) => Ok(()),
        }
    }
}
