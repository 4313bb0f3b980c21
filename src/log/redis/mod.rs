//! The log in Redis.
//!
//! One connection of the process serves what is asked now and then (state, pages, publishing);
//! each worker that owns streams has a `tail::RedisTail` of its own for what changes.

mod attempts;
pub mod connection;
mod error;
pub(in crate::log) mod history;
mod link;
mod list;
pub mod publish;
pub mod reply;
pub mod resp;
mod revoke;
mod rights;
mod script;
mod state;
mod stream;
pub(in crate::log) mod tail;
mod tracking;
mod waiter;
pub(in crate::log) mod wire;
pub mod xread;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use redis::Value;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::core::source::{StateKey, Words};
use crate::id::{Keys, ThreadId};
use crate::log::tail::TrackingTable;
use crate::log::{AtOnce, AwaitedTurn, LogCounts, LogError, Snapshot, SnapshotWants, State};
use connection::{Connector, Timeouts};
use error::{Class, Failure};
use link::Link;
use rights::Rights;
use script::Script;
use wire::Bounds;

/// Reads of which the answers are under way at a time, by their weights: what Redis holds for a
/// connection that is not read is not bounded otherwise, and may end it.
const READS_WEIGHT_MAX: u32 = 64;
/// A read of a part of a stream: four at a time.
const PAGE_WEIGHT: u32 = 16;
/// A read of state weighs one for each so many bytes that the last ones had, about: many large ones
/// in a row would keep Redis from answering the tail, and a worker from its viewers.
const BYTES_PER_WEIGHT: usize = 32 * 1024;
/// Two reads of state may be under way, however large the last ones were.
const STATE_WEIGHT_MAX: u32 = READS_WEIGHT_MAX / 2;
/// So often a turn is missed while there is no room; then the turn waits for room.
const TURNS_MISSED_MAX: usize = 2;
/// So often a large read is done again where the connection broke, before it is the answer's size.
const BROKEN_MAX: usize = 2;
/// An answer that may have more bytes is alone.
const LARGE_BYTES: u64 = 8 * 1024 * 1024;

/// What a [`RedisLog`] has to know.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://`, `unix://` or `redis+sentinel://`.
    pub url: String,
    /// The file with the authorities that vouch for its certificate; empty: the system's do.
    pub ca: String,
    /// Where things lie.
    pub keys: Keys,
    /// What the agent's words for a status mean.
    pub words: Words,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// About how many entries a stream that we publish to keeps.
    pub stream_length_max: u64,
    /// How long state and stream live after the last thing we published, in seconds.
    pub expiry_seconds: u64,
}

/// The log in Redis.
pub struct RedisLog {
    options: RedisOptions,
    connector: Arc<Connector>,
    link: Arc<Link>,
    reads: Semaphore,
    /// How large the last states were, about, in bytes.
    state_bytes: AtomicUsize,
    snapshot: Script,
    publish: Script,
    rights: Rights,
}

/// What the log counts, for the metrics. Only ever grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Commands and scripts sent.
    pub round_trips: AtomicU64,
    /// Those that failed.
    pub errors: AtomicU64,
    /// Snapshots with state.
    pub state_reads: AtomicU64,
    /// Pages read.
    pub page_reads: AtomicU64,
}

impl Counters {
    pub(in crate::log) fn now(&self) -> LogCounts {
        LogCounts {
            round_trips: self.round_trips.load(Relaxed),
            errors: self.errors.load(Relaxed),
            state_reads: self.state_reads.load(Relaxed),
            page_reads: self.page_reads.load(Relaxed),
        }
    }
}

impl RedisLog {
    /// Nothing is connected yet; the first question does that.
    ///
    /// # Errors
    /// [`LogError::Refused`] where the URL is wrong.
    pub fn new(options: RedisOptions) -> Result<Self, LogError> {
        let connector = Arc::new(Connector::new(&options.url, &options.ca, options.timeouts)?);
        Ok(Self {
            link: Arc::new(Link::new(connector.clone(), options.timeouts)),
            connector,
            reads: Semaphore::new(READS_WEIGHT_MAX as usize),
            state_bytes: AtomicUsize::new(0),
            snapshot: Script::reading(include_str!("snapshot.lua")),
            publish: Script::new(concat!(include_str!("turn.lua"), include_str!("publish.lua"))),
            rights: Rights::of(&options.keys),
            options,
        })
    }

    /// Another log of the same Redis, over connections of its own.
    pub(crate) fn another(&self) -> Result<Self, LogError> {
        Self::new(self.options.clone())
    }

    /// Where things lie.
    pub fn keys(&self) -> &Keys {
        &self.options.keys
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.link.counters
    }

    /// Connects again before the next question: Redis may be another server now.
    pub(crate) fn disconnect(&self) {
        self.link.disconnect();
    }

    /// The way to Redis, for connections of one's own.
    pub(in crate::log) fn connector(&self) -> Arc<Connector> {
        self.connector.clone()
    }

    /// See [`Log::snapshot`](crate::log::Log::snapshot).
    pub(crate) async fn snapshot(
        &self,
        thread: &ThreadId,
        wants: SnapshotWants,
    ) -> Result<Snapshot, LogError> {
        Ok(self.snapshot_in_turn(thread, wants, AtOnce).await?.0)
    }

    /// See [`Log::snapshot_in_turn`](crate::log::Log::snapshot_in_turn).
    pub(crate) async fn snapshot_in_turn<T: AwaitedTurn>(
        &self,
        thread: &ThreadId,
        wants: SnapshotWants,
        turn: T,
    ) -> Result<(Snapshot, T::Turn), LogError> {
        let keys = &self.options.keys;
        let prefix = keys.prefix();
        if wants.updates_max.is_some() {
            self.counters().state_reads.fetch_add(1, Relaxed);
        }
        if wants.page.is_some() {
            self.counters().page_reads.fetch_add(1, Relaxed);
        }
        let updates = match wants.updates_max {
            Some(u64::MAX) => "-1".to_owned(),
            Some(max) => max.to_string(),
            None => String::new(),
        };
        let (from, entries_max, page_bytes_max) = match wants.page {
            Some(page) => (page.from.to_string(), page.entries_max, page.bytes_max),
            None => (String::new(), 0, 0),
        };
        let bytes_max = wants.bytes_max.map(|bytes| bytes.to_string()).unwrap_or_default();
        let looks_for = wants.looks_for.map(|id| id.to_string()).unwrap_or_default();
        let state_key = thread.source().map(|source| source.state_key(thread.as_str()));
        let (state, kind, field) = match state_key {
            None => (format!("{prefix}:thread:{thread}"), "", String::new()),
            Some(None) => (keys.stream(thread), "none", String::new()),
            Some(Some(StateKey::String(key))) => (key, "string", String::new()),
            Some(Some(StateKey::Field { hash, field })) => (hash, "hash", field),
        };
        let names = [keys.stream(thread), state];
        let args = [
            format!("{prefix}:task"),
            updates,
            wants.newest_max.to_string(),
            from,
            entries_max.to_string(),
            page_bytes_max.to_string(),
            bytes_max,
            looks_for,
            kind.to_owned(),
            field,
        ];
        let reading = self.link.in_time(async {
            let (_room, turn) = self.room_in_turn(wants, turn).await;
            let run = || self.link.run_somewhere(&self.snapshot, &names, &args);
            let mut answer = run().await;
            for _ in 0..BROKEN_MAX {
                // Nothing else was under way, and it is not that Redis is away: it answers others.
                // Nor that the way to it breaks now and then.
                let breaks = |failure: &Failure| failure.class == Class::Broken && is_large(wants);
                if !answer.as_ref().is_err_and(breaks) || self.link.measure_clock().await.is_err() {
                    return Ok((answer?, turn));
                }
                answer = run().await;
            }
            let not_sent = |failure: Failure| match failure.class {
                Class::Broken => Failure::not_sent(&names[0]),
                _ => failure,
            };
            Ok((answer.map_err(not_sent)?, turn))
        });
        match reading.await? {
            ((Value::Nil, _), _) => Err(LogError::TooLarge),
            ((answer, history), turn) => {
                let snapshot = reply::snapshot(answer).ok_or_else(LogError::another_form)?;
                let mut snapshot = Snapshot { history, ..snapshot };
                if thread.source().is_none() {
                    snapshot.state = snapshot.state.map(|state| self.in_words(state));
                }
                if wants.page.is_none() {
                    self.learn_size(snapshot.state.as_ref().map_or(0, |state| state.bytes_len()));
                }
                Ok((snapshot, turn))
            }
        }
    }

    /// The agent's state with its status as the field calls it.
    fn in_words(&self, state: State) -> State {
        let status = state.status.map(|status| self.options.words.status(status));
        State { status, ..state }
    }

    /// A state had so many bytes. A large one counts at once, small ones by and by.
    fn learn_size(&self, bytes: usize) {
        let before = self.state_bytes.load(Relaxed);
        self.state_bytes.store(bytes.max(before / 8 * 7), Relaxed);
    }

    /// Room for an answer, and the turn to ask. Nobody waits for a turn who has room: whoever has the
    /// turn may need room himself. And nobody keeps a turn from others for long, who waits for room: only
    /// where there was none several times.
    async fn room_in_turn<T: AwaitedTurn>(
        &self,
        wants: SnapshotWants,
        mut turn: T,
    ) -> (Option<SemaphorePermit<'_>>, T::Turn) {
        for _ in 0..TURNS_MISSED_MAX {
            turn.is_due().await;
            let room = self.room(wants).await;
            if let Some(turn) = turn.try_take() {
                return (room, turn);
            }
        }
        let turn = turn.take().await;
        (self.room(wants).await, turn)
    }

    /// Waits until there is room for one more answer. One that may be of any size is alone.
    async fn room(&self, wants: SnapshotWants) -> Option<SemaphorePermit<'_>> {
        let weight = match wants.page {
            _ if is_large(wants) => READS_WEIGHT_MAX,
            Some(_) => PAGE_WEIGHT,
            None => {
                let weight = self.state_bytes.load(Relaxed) / BYTES_PER_WEIGHT;
                u32::try_from(weight).unwrap_or(u32::MAX).clamp(1, STATE_WEIGHT_MAX)
            }
        };
        self.reads.acquire_many(weight).await.ok()
    }

    /// Whether tails may connect. What the user lacks is said in the log; it keeps nobody from that.
    ///
    /// # Errors
    /// This is a node of a Redis Cluster.
    pub(in crate::log) async fn check_kind(&self) -> Result<(), Failure> {
        let checked = self.link.in_time(self.rights.check(&self.link)).await;
        checked.or_else(|failure| match failure.class {
            Class::Redirect => Err(failure),
            _ => Ok(()),
        })
    }

    /// See [`Log::tracks`](crate::log::Log::tracks).
    pub(in crate::log) async fn tracks(&self) -> bool {
        let bounds = Bounds { string_bytes_max: usize::MAX, message_bytes_max: usize::MAX };
        let connected = tracking::connect(&self.connector, bounds).await;
        matches!(connected, Ok(tracking::Tracked::Yes(_)))
    }

    /// See [`Log::tracking_table`](crate::log::Log::tracking_table).
    pub(in crate::log) async fn tracking_table(&self) -> TrackingTable {
        tracking::table(&self.link).await
    }

    /// See [`Log::check`](crate::log::Log::check).
    pub(crate) async fn check(&self) -> Result<(), LogError> {
        let Timeouts { connect, response } = self.options.timeouts;
        let checking = self.rights.check(&self.link);
        let checked = tokio::time::timeout(connect.min(response), checking).await;
        Ok(checked.unwrap_or_else(|_| Err(Failure::silent()))?)
    }
}

/// Whether an answer may be so large that no other is to be under way with it.
fn is_large(wants: SnapshotWants) -> bool {
    // Facts alone are small, whatever the stream holds.
    let facts_alone = wants == SnapshotWants { bytes_max: wants.bytes_max, ..Default::default() };
    !facts_alone && wants.bytes_max.is_none_or(|bytes_max| bytes_max > LARGE_BYTES)
}

#[cfg(test)]
#[path = "../../../tests/common/mod.rs"]
mod common;
#[cfg(test)]
mod tests;
