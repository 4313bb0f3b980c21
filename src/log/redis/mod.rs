//! The log in Redis.
//!
//! One connection of the process serves what is asked now and then (state, pages, publishing);
//! each worker that owns streams has a [`tail::RedisTail`] of its own for what changes.

pub mod connection;
mod list;
pub mod publish;
pub mod reply;
pub mod resp;
mod state;
mod stream;
pub mod tail;
mod waiter;
mod wire;
pub mod xread;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, Script, Value};

use crate::clock;
use crate::id::{Keys, StreamId, ThreadId};
use crate::log::{LogError, Publication, Snapshot, SnapshotWants};
use connection::{Connector, Timeouts};

/// What a [`RedisLog`] has to know.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// `redis://`, `rediss://`, `unix://` or `redis+sentinel://`.
    pub url: String,
    /// Where things lie.
    pub keys: Keys,
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
    connection: tokio::sync::Mutex<Option<MultiplexedConnection>>,
    snapshot: Script,
    publish: Script,
    counters: Counters,
    /// How far the clock of Redis is ahead of ours.
    clock_ahead_ms: AtomicI64,
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

impl RedisLog {
    /// Nothing is connected yet; the first question does that.
    ///
    /// # Errors
    /// [`LogError::Refused`] where the URL is wrong.
    pub fn new(options: RedisOptions) -> Result<Self, LogError> {
        Ok(Self {
            connector: Arc::new(Connector::new(&options.url, options.timeouts)?),
            options,
            connection: tokio::sync::Mutex::new(None),
            snapshot: Script::new(include_str!("snapshot.lua")),
            publish: Script::new(include_str!("publish.lua")),
            counters: Counters::default(),
            clock_ahead_ms: AtomicI64::new(0),
        })
    }

    /// Where things lie.
    pub fn keys(&self) -> &Keys {
        &self.options.keys
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connects again before the next question: Redis may be another server now.
    pub async fn disconnect(&self) {
        *self.connection.lock().await = None;
    }

    /// The way to Redis, for connections of one's own.
    pub fn connector(&self) -> Arc<Connector> {
        self.connector.clone()
    }

    /// See [`Log::snapshot`](crate::log::Log::snapshot).
    pub(crate) async fn snapshot(
        &self,
        thread: &ThreadId,
        wants: SnapshotWants,
    ) -> Result<Snapshot, LogError> {
        let keys = &self.options.keys;
        let prefix = keys.prefix();
        if wants.updates_max.is_some() {
            self.counters.state_reads.fetch_add(1, Relaxed);
        }
        if wants.page.is_some() {
            self.counters.page_reads.fetch_add(1, Relaxed);
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
        let mut call = self.snapshot.prepare_invoke();
        call.key(keys.stream(thread))
            .key(format!("{prefix}:thread:{thread}"))
            .arg(format!("{prefix}:task"))
            .arg(updates)
            .arg(wants.newest_max)
            .arg(from)
            .arg(entries_max)
            .arg(page_bytes_max)
            .arg(wants.bytes_max);
        match self.run(&call).await? {
            Value::Nil => Err(LogError::TooLarge),
            answer => Ok(reply::snapshot(answer)),
        }
    }

    /// See [`Log::publish`](crate::log::Log::publish).
    pub(crate) async fn publish(
        &self,
        thread: &ThreadId,
        publication: &Publication,
    ) -> Result<StreamId, LogError> {
        let mut connection = self.connected().await?;
        let (keys, mut args) = publish::invocation(
            &self.options.keys,
            thread,
            publication,
            self.options.stream_length_max,
            self.options.expiry_seconds,
        );
        // Who is told that Redis did not answer in time must not find it written later.
        let patience_ms = (self.options.timeouts.response * 3 / 4).as_millis() as i64;
        let now_ms = clock::now_ms() as i64 + self.clock_ahead_ms.load(Relaxed);
        args[publish::DEADLINE_MS] = (now_ms + patience_ms).to_string();
        let mut call = self.publish.prepare_invoke();
        for key in keys {
            call.key(key);
        }
        for arg in args {
            call.arg(arg);
        }
        let answer = call.invoke_async(&mut connection).await;
        match self.judge(answer).await? {
            Value::Nil => Err(LogError::NotFound),
            reply => reply::stream_id(&reply)
                .ok_or_else(|| LogError::Refused(format!("an unexpected reply: {reply:?}"))),
        }
    }

    /// See [`Log::check`](crate::log::Log::check).
    pub(crate) async fn check(&self) -> Result<(), LogError> {
        self.ask::<Value>(&redis::cmd("PING")).await.map(drop)
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, LogError> {
        let mut connection = self.connected().await?;
        let answer = command.query_async(&mut connection).await;
        self.judge(answer).await
    }

    /// Runs a script by its hash, loading it where Redis does not know it.
    async fn run(&self, call: &redis::ScriptInvocation<'_>) -> Result<Value, LogError> {
        let mut connection = self.connected().await?;
        let answer = call.invoke_async(&mut connection).await;
        self.judge(answer).await
    }

    async fn connected(&self) -> Result<MultiplexedConnection, LogError> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = connection.as_ref() {
            return Ok(connection.clone());
        }
        let mut fresh = self.connector.connect().await?;
        let time: redis::RedisResult<(i64, i64)> = redis::cmd("TIME").query_async(&mut fresh).await;
        let (seconds, micros) = time.map_err(|error| connection::log_error(&error))?;
        let theirs_ms = seconds * 1000 + micros / 1000;
        self.clock_ahead_ms.store(theirs_ms - clock::now_ms() as i64, Relaxed);
        *connection = Some(fresh.clone());
        Ok(fresh)
    }

    async fn judge<T>(&self, answer: redis::RedisResult<T>) -> Result<T, LogError> {
        self.counters.round_trips.fetch_add(1, Relaxed);
        match answer {
            Ok(value) => Ok(value),
            Err(error) => {
                self.counters.errors.fetch_add(1, Relaxed);
                if connection::spoils_connection(&error) {
                    *self.connection.lock().await = None;
                }
                Err(connection::log_error(&error))
            }
        }
    }
}
