//! The log: what Redis keeps of every task, behind one seam.
//!
//! Two implementations: [`redis`] and [`embedded`]. Everything else in the crate asks through
//! [`Log`] and does not know which one answers.

pub mod embedded;
pub mod redis;
pub mod tail;

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::id::{StreamId, ThreadId};

pub use crate::core::entry::Entry;
pub use crate::core::facts::StreamFacts;
pub use crate::core::snapshot::{PageWants, Snapshot, SnapshotWants};
pub use crate::core::state::{State, TaskPart};

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
/// The longest text in a row of the list of tasks.
pub(crate) const LISTED_TEXT_BYTES_MAX: usize = 4096;

/// A row of the list of the newest tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// The task.
    pub thread: ThreadId,
    /// Its score in the index, in seconds since the epoch.
    pub updated_at: f64,
    /// What a row shows of its state: the status, the newest updates, when it was made and what it
    /// is about. An update that is long may lack the rest.
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

    /// How many bytes the state of a task has, about; for this, none of it is read.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn weigh(&self, thread: &ThreadId) -> Result<u64, LogError> {
        match self {
            Self::Redis(log) => log.weigh(thread).await,
            Self::Embedded(log) => Ok(log.weigh(thread)),
        }
    }

    /// Facts and whole state of one task, as by [`Log::snapshot`], but without holding up others
    /// that ask Redis, however large the state is. The state is never older than the facts.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn large_state(&self, thread: &ThreadId) -> Result<Snapshot, LogError> {
        match self {
            Self::Redis(log) => log.large_state(thread).await,
            Self::Embedded(log) => {
                let updates_max = Some(u64::MAX);
                Ok(log.snapshot(thread, SnapshotWants { updates_max, ..SnapshotWants::default() }))
            }
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
