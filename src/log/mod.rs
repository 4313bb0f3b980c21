//! The log: what Redis keeps of every task, behind one seam.
//!
//! Two implementations: [`redis`] and [`embedded`]. Everything else in the crate asks through
//! [`Log`] and does not know which one answers.

mod awaited;
pub mod embedded;
mod idempotency;
mod publication;
pub mod redis;
mod revocations;
pub(crate) mod source;
pub mod tail;

use std::fmt;
use std::sync::Arc;

use crate::config::Config;
use crate::core::access::Revocation;
use crate::id::{StreamId, ThreadId};

pub use crate::core::entry::Entry;
pub use crate::core::facts::StreamFacts;
pub use crate::core::snapshot::{PageWants, Snapshot, SnapshotWants};
pub use crate::core::state::{State, TaskPart};
pub(crate) use awaited::{AtOnce, AwaitedTurn};
pub use idempotency::{IdempotencyKey, InvalidIdempotencyKey, PublicationId};
pub use publication::{Publication, Published, Write};
pub(crate) use revocations::NAME_BYTES_MAX as REVOKED_BYTES_MAX;

/// How many of its newest updates a row of the list of tasks comes with.
pub(crate) const LISTED_UPDATES_MAX: u64 = 10;
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
    /// Something else was published with the idempotency key before; nothing was written now.
    KeyUsed,
    /// The log was asked to write and did not say what came of it: it may have been written, and it
    /// may not. Who publishes the same with this idempotency key, within 60 s where it is not a key
    /// of his own, has it written once.
    Unknown {
        /// What happened.
        why: String,
        /// To come again with.
        idempotency_key: IdempotencyKey,
    },
}

impl LogError {
    /// An answer of Redis cannot be read.
    pub(in crate::log) fn another_form() -> Self {
        Self::Unavailable("it gave an unexpected answer".to_owned())
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "Redis cannot be used now: {why}"),
            Self::NotFound => f.write_str("Thread not found"),
            Self::TooLarge => f.write_str("what Redis holds is larger than was asked for"),
            Self::Refused(why) => write!(f, "Redis refused: {why}"),
            Self::KeyUsed => {
                f.write_str("something else was published with this idempotency key before")
            }
            Self::Unknown { why, .. } => {
                write!(f, "it is not known whether this was written: {why}")
            }
        }
    }
}

impl std::error::Error for LogError {}

/// The log, whichever it is. Cheap to clone; every clone asks the same one.
#[derive(Clone)]
pub struct Log(Kind);

#[derive(Clone)]
enum Kind {
    /// A Redis server.
    Redis(Arc<redis::RedisLog>),
    /// Memory of this process.
    Embedded(Arc<embedded::EmbeddedLog>),
}

impl From<redis::RedisLog> for Log {
    fn from(log: redis::RedisLog) -> Self {
        Self(Kind::Redis(Arc::new(log)))
    }
}

impl From<embedded::EmbeddedLog> for Log {
    fn from(log: embedded::EmbeddedLog) -> Self {
        Self(Kind::Embedded(Arc::new(log)))
    }
}

/// What a log counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Commands and scripts sent for state, pages and publishing.
    pub round_trips: u64,
    /// Those that failed.
    pub errors: u64,
    /// Reads of a task's state.
    pub state_reads: u64,
    /// Reads of a part of a stream.
    pub page_reads: u64,
}

impl Log {
    /// The log that the configuration names. Nothing is connected yet.
    ///
    /// # Errors
    /// [`LogError::Refused`] where the URL of Redis cannot be used.
    pub fn open(config: &Config) -> Result<Self, LogError> {
        let limits = &config.limits;
        if config.embedded {
            return Ok(embedded::EmbeddedLog::new(limits).into());
        }
        let options = redis::RedisOptions {
            url: config.redis.clone(),
            ca: config.redis_ca.clone(),
            keys: config.keys.clone(),
            words: config.sources.words.clone(),
            timeouts: redis::connection::Timeouts {
                connect: limits.redis_connect_timeout(),
                response: limits.redis_response_timeout(),
            },
            stream_length_max: limits.stream_length_max,
            expiry_seconds: limits.expiry_seconds,
        };
        Ok(redis::RedisLog::new(options)?.into())
    }

    /// The same log, over connections of its own.
    ///
    /// # Errors
    /// [`LogError::Refused`] where the URL of Redis cannot be used.
    pub fn another(&self) -> Result<Self, LogError> {
        match &self.0 {
            Kind::Redis(log) => Ok(log.another()?.into()),
            Kind::Embedded(_) => Ok(self.clone()),
        }
    }

    /// Says at start which log it is.
    pub(crate) fn announce(&self, config: &Config) {
        match &self.0 {
            Kind::Redis(_) => tracing::info!(redis = config.redis_masked(), "log"),
            Kind::Embedded(_) => tracing::info!("embedded_log: nothing is kept over a restart"),
        }
    }

    /// How changes are learned of, in one word, where some of the tails have to wait for them or
    /// none does.
    pub(crate) fn mode(&self, blocking: bool) -> &'static str {
        match &self.0 {
            Kind::Redis(_) if blocking => tail::HintMode::Block.as_str(),
            Kind::Redis(_) => tail::HintMode::Tracking.as_str(),
            Kind::Embedded(_) => "embedded",
        }
    }

    /// Has each thread that changed told, where the log is in this process; of another one, a
    /// [`Source`](source::Source) tells.
    pub(crate) fn listen(&self, listener: impl Fn(&ThreadId) + Send + Sync + 'static) {
        if let Kind::Embedded(log) = &self.0 {
            log.set_listener(Box::new(listener));
        }
    }

    /// Connects again before the next question: the log may be on another server now.
    pub(crate) fn disconnect(&self) {
        if let Kind::Redis(log) = &self.0 {
            log.disconnect();
        }
    }

    /// Whether changes would be told by tracking, if one connected now.
    pub(crate) async fn tracks(&self) -> bool {
        match &self.0 {
            Kind::Redis(log) => log.tracks().await,
            Kind::Embedded(_) => true,
        }
    }

    /// What is tracked for all clients.
    pub(crate) async fn tracking_table(&self) -> tail::TrackingTable {
        match &self.0 {
            Kind::Redis(log) => log.tracking_table().await,
            Kind::Embedded(_) => tail::TrackingTable::default(),
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> LogCounts {
        match &self.0 {
            Kind::Redis(log) => log.counters().now(),
            Kind::Embedded(_) => LogCounts::default(),
        }
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
        match &self.0 {
            Kind::Redis(log) => log.snapshot(thread, wants).await,
            Kind::Embedded(log) => Ok(log.snapshot(thread, wants)),
        }
    }

    /// As [`Log::snapshot`], once it is somebody's turn: he has it when nothing else keeps the question
    /// back any more, until the answer is there, and longer.
    ///
    /// # Errors
    /// As [`Log::snapshot`].
    pub(crate) async fn snapshot_in_turn<T: AwaitedTurn>(
        &self,
        thread: &ThreadId,
        wants: SnapshotWants,
        mut turn: T,
    ) -> Result<(Snapshot, T::Turn), LogError> {
        match &self.0 {
            Kind::Redis(log) => log.snapshot_in_turn(thread, wants, turn).await,
            Kind::Embedded(log) => {
                let turn = turn.take().await;
                Ok((log.snapshot(thread, wants), turn))
            }
        }
    }

    /// How many bytes the state of a task has, about; for this, none of it is read.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn weigh(&self, thread: &ThreadId) -> Result<u64, LogError> {
        match &self.0 {
            Kind::Redis(log) => log.weigh(thread).await,
            Kind::Embedded(log) => Ok(log.weigh(thread)),
        }
    }

    /// Facts and whole state of one task, as by [`Log::snapshot`], but without holding up others
    /// that ask Redis, however large the state is. The state is never older than the facts.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn large_state(&self, thread: &ThreadId) -> Result<Snapshot, LogError> {
        match &self.0 {
            Kind::Redis(log) => log.large_state(thread).await,
            Kind::Embedded(log) => {
                let updates_max = Some(u64::MAX);
                Ok(log.snapshot(thread, SnapshotWants { updates_max, ..SnapshotWants::default() }))
            }
        }
    }

    /// Writes state and events in one atomic step, unless that was done before: then what came of it
    /// that time.
    ///
    /// # Errors
    /// Each [`LogError`] but [`LogError::TooLarge`]; nothing was written, unless it is
    /// [`LogError::Unknown`].
    pub async fn publish(
        &self,
        thread: &ThreadId,
        publication: &Publication,
    ) -> Result<Published, LogError> {
        if thread.source().is_some() {
            return Err(LogError::Refused("what others publish is theirs".into()));
        }
        match &self.0 {
            Kind::Redis(log) => log.publish(thread, publication).await,
            Kind::Embedded(log) => log.publish(thread, publication),
        }
    }

    /// Has every server know that tokens are taken back; it is told for so many days.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`]. It may be done twice, which means the same.
    pub(crate) async fn revoke(&self, revocation: Revocation, days: u64) -> Result<(), LogError> {
        match &self.0 {
            Kind::Redis(log) => log.revoke(&revocation, days).await,
            Kind::Embedded(log) => {
                log.revocations.add(revocation);
                Ok(())
            }
        }
    }

    /// The revocations behind a position, oldest first; none is an entry that is no revocation.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub(crate) async fn revocations(
        &self,
        after: StreamId,
        max: u64,
    ) -> Result<Vec<(StreamId, Option<Revocation>)>, LogError> {
        match &self.0 {
            Kind::Redis(log) => log.revocations(after, max).await,
            Kind::Embedded(log) => Ok(log.revocations.after(after, max)),
        }
    }

    /// The newest tasks of the index that still have state, newest first.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn newest_tasks(&self, limit: u64) -> Result<Vec<Listed>, LogError> {
        match &self.0 {
            Kind::Redis(log) => log.newest_tasks(limit).await,
            Kind::Embedded(log) => Ok(log.newest_tasks(limit)),
        }
    }

    /// Whether the log answers.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] says why not.
    pub async fn check(&self) -> Result<(), LogError> {
        match &self.0 {
            Kind::Redis(log) => log.check().await,
            Kind::Embedded(_) => Ok(()),
        }
    }
}
