//! The tail: which streams changed, and what is new in them.
//!
//! Redis is asked to tell of changes (`CLIENT TRACKING`): each read of a stream makes it tell once
//! of the next change. What it tells is a hint; it only ever makes a read come sooner. Where
//! tracking is refused, a second connection waits with `XREAD BLOCK` and makes the hints itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{Cmd, ErrorKind, PushInfo, PushKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Notify;

use crate::id::StreamId;
use crate::log::redis::connection::{Connector, log_error, spoils_connection};
use crate::log::redis::reply;
use crate::log::{Entry, LogError};

/// How many streams one `XREAD` asks for.
pub const STREAMS_PER_READ_MAX: usize = 128;

/// How many streams one `XREAD BLOCK` waits for.
const STREAMS_PER_BLOCK: usize = 128;

/// How long one `XREAD BLOCK` waits: so long may a stream that was just added stay unwatched.
const BLOCK_MS: u64 = 50;

/// What is known to have changed since it was last asked for.
#[derive(Clone, Default)]
pub struct Hints(Arc<HintsInner>);

#[derive(Default)]
struct HintsInner {
    /// Bounded by the number of watched streams: Redis tells of a key once per read.
    keys: Mutex<HashSet<Bytes>>,
    everything: AtomicBool,
    lost: AtomicBool,
    notify: Notify,
}

impl Hints {
    /// Waits until there is something, and takes it.
    pub async fn next(&self, into: &mut Vec<Bytes>) -> Hinted {
        loop {
            let notified = self.0.notify.notified();
            if self.0.lost.swap(false, Relaxed) {
                return Hinted::ConnectionLost;
            }
            if self.0.everything.swap(false, Relaxed) {
                return Hinted::Everything;
            }
            self.take_keys(into);
            if !into.is_empty() {
                return Hinted::Keys;
            }
            notified.await;
        }
    }

    /// Takes the keys that are there now.
    pub fn take_keys(&self, into: &mut Vec<Bytes>) {
        into.extend(self.0.keys.lock().drain());
    }

    /// Adds a key.
    pub fn key(&self, key: Bytes) {
        self.0.keys.lock().insert(key);
        self.0.notify.notify_one();
    }

    fn raise(&self, flag: &AtomicBool) {
        flag.store(true, Relaxed);
        self.0.notify.notify_one();
    }
}

impl AsyncPushSender for Hints {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        match push.kind {
            PushKind::Disconnection => self.raise(&self.0.lost),
            PushKind::Invalidate => match push.data.into_iter().next() {
                Some(Value::Array(keys)) => {
                    self.0.keys.lock().extend(keys.into_iter().filter_map(reply::bytes));
                    self.0.notify.notify_one();
                }
                _ => self.raise(&self.0.everything),
            },
            _ => {}
        }
        Ok(())
    }
}

/// What [`Hints::next`] took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hinted {
    /// These streams, at least.
    Keys,
    /// Redis was flushed, or lost track: any stream may have changed.
    Everything,
    /// The connection is gone: connect again, and then look at every stream.
    ConnectionLost,
}

/// How the hints come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailMode {
    /// Redis tells (`CLIENT TRACKING`).
    Tracking,
    /// We ask (`XREAD BLOCK`).
    Block,
}

impl TailMode {
    /// The name in logs, metrics and `stream-info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tracking => "tracking",
            Self::Block => "block",
        }
    }
}

/// What is new in one stream.
#[derive(Debug)]
pub enum Read {
    /// Entries from the position that was asked for on; there may be none, and there may be more.
    Entries(Vec<Entry>),
    /// There is something else than a stream under the key.
    WrongType,
}

/// The connection of one worker that reads what changed.
pub struct RedisTail {
    connection: MultiplexedConnection,
    /// How hints come on this connection.
    pub mode: TailMode,
    /// The hints.
    pub hints: Hints,
    waiter: Option<Waiter>,
    /// Behind Sentinels: sees that the master is another one before the old one says so.
    _master_watch: Option<AbortOnDrop>,
}

/// How often the Sentinels are asked who the master is.
const MASTER_CHECK: Duration = Duration::from_secs(1);

impl RedisTail {
    /// Connects. `preferred` is tried; where Redis refuses tracking, it is [`TailMode::Block`].
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn connect(
        connector: &Arc<Connector>,
        preferred: TailMode,
    ) -> Result<Self, LogError> {
        let hints = Hints::default();
        let master_watch = watch_master(connector, &hints).await;
        if preferred == TailMode::Tracking {
            match connector.connect(Some(hints.clone())).await {
                Ok(mut connection) => {
                    let mut tracking = Cmd::new();
                    tracking.arg("CLIENT").arg("TRACKING").arg("ON");
                    match tracking.query_async::<Value>(&mut connection).await {
                        Ok(_) => {
                            return Ok(Self {
                                connection,
                                mode: TailMode::Tracking,
                                hints,
                                waiter: None,
                                _master_watch: master_watch,
                            });
                        }
                        Err(error) if spoils_connection(&error) => return Err(log_error(&error)),
                        Err(error) => tracing::warn!(%error, "tracking_refused"),
                    }
                }
                Err(LogError::Refused(error)) if is_resp3_refusal(&error) => {
                    tracing::warn!(%error, "resp3_refused");
                }
                Err(error) => return Err(error),
            }
        }
        let connection = connector.connect(None::<Hints>).await?;
        let waiter = Waiter::start(connector.connect(None::<Hints>).await?, hints.clone());
        Ok(Self {
            connection,
            mode: TailMode::Block,
            hints,
            waiter: Some(waiter),
            _master_watch: master_watch,
        })
    }

    /// Says which streams are watched, and from where; only [`TailMode::Block`] needs to know.
    pub fn watch<'a>(&self, streams: impl Iterator<Item = (&'a Bytes, StreamId)>) {
        if let Some(waiter) = &self.waiter {
            *waiter.streams.lock() = streams.map(|(key, after)| (key.clone(), after)).collect();
        }
    }

    /// Whether the connection still answers: a peer that vanished says nothing by itself.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where it does not within the response timeout.
    pub async fn ping(&mut self) -> Result<(), LogError> {
        let answer = redis::cmd("PING").query_async::<Value>(&mut self.connection).await;
        answer.map(drop).map_err(|error| log_error(&error))
    }

    /// Reads streams, each from behind a position, at most `entries_max` entries of each. The
    /// answers stand in the order of the questions.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`]: nothing of it was read.
    pub async fn read(
        &mut self,
        streams: &[(Bytes, StreamId)],
        entries_max: usize,
    ) -> Result<Vec<Read>, LogError> {
        match self.read_together(streams, entries_max).await {
            Ok(reads) => Ok(reads),
            Err(error) if is_wrong_type(&error) => {
                // One key of a wrong type fails the whole command: ask for each by itself.
                let mut reads = Vec::with_capacity(streams.len());
                for stream in streams {
                    let alone = std::slice::from_ref(stream);
                    match self.read_together(alone, entries_max).await {
                        Ok(read) => reads.extend(read),
                        Err(error) if is_wrong_type(&error) => reads.push(Read::WrongType),
                        Err(error) => return Err(log_error(&error)),
                    }
                }
                Ok(reads)
            }
            Err(error) => Err(log_error(&error)),
        }
    }

    /// [`RedisTail::read`], and in the same round trip how many entries were ever taken out of some
    /// of the streams; Redis before version 7 does not say.
    ///
    /// # Errors
    /// As [`RedisTail::read`].
    pub async fn read_with_removed(
        &mut self,
        streams: &[(Bytes, StreamId)],
        entries_max: usize,
        of: &[Bytes],
    ) -> Result<(Vec<Read>, HashMap<Bytes, u64>), LogError> {
        let asking = join_all(of.iter().map(|key| removed(self.connection.clone(), key.clone())));
        // The read comes first: what is removed after it shows, and makes the answer look worse,
        // never better.
        let (reads, removed) = tokio::join!(self.read(streams, entries_max), asking);
        Ok((reads?, removed.into_iter().flatten().collect()))
    }

    async fn read_together(
        &mut self,
        streams: &[(Bytes, StreamId)],
        entries_max: usize,
    ) -> Result<Vec<Read>, RedisError> {
        let command = read_command(streams, entries_max, None);
        let reply = self.connection.send_packed_command(&command).await?;
        let reply = reply.extract_error()?;
        let mut found: HashMap<Bytes, Vec<Entry>> = reply::streams(reply).into_iter().collect();
        Ok(streams
            .iter()
            .map(|(key, _)| Read::Entries(found.remove(key).unwrap_or_default()))
            .collect())
    }
}

async fn removed(mut connection: MultiplexedConnection, key: Bytes) -> Option<(Bytes, u64)> {
    let mut command = redis::cmd("XINFO");
    command.arg("STREAM").arg(key.as_ref());
    let facts = reply::pairs(command.query_async(&mut connection).await.ok()?);
    let number = |name: &str| {
        let (_, value) = facts.iter().find(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()?.parse::<u64>().ok()
    };
    Some((key, number("entries-added")?.checked_sub(number("length")?)?))
}

/// An old server or a proxy that does not know `HELLO 3`, as opposed to one that wants a password.
fn is_resp3_refusal(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    ["hello", "resp3", "noproto", "unknown command", "unsupported"]
        .iter()
        .any(|word| error.contains(word))
        && !error.contains("auth")
}

/// Behind Sentinels, a task that says the connection is lost when they name another master.
async fn watch_master(connector: &Arc<Connector>, hints: &Hints) -> Option<AbortOnDrop> {
    let master = connector.master().await?;
    let (connector, hints) = (connector.clone(), hints.clone());
    Some(AbortOnDrop(tokio::spawn(async move {
        loop {
            tokio::time::sleep(MASTER_CHECK).await;
            if connector.master().await.is_some_and(|now| now != master) {
                return hints.raise(&hints.0.lost);
            }
        }
    })))
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn read_command(streams: &[(Bytes, StreamId)], entries_max: usize, block: Option<u64>) -> Cmd {
    let mut command = Cmd::new();
    command.arg("XREAD").arg("COUNT").arg(entries_max);
    if let Some(ms) = block {
        command.arg("BLOCK").arg(ms);
    }
    command.arg("STREAMS");
    for (key, _) in streams {
        command.arg(key.as_ref());
    }
    for (_, after) in streams {
        command.arg(after.to_string());
    }
    command
}

fn is_wrong_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE")
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError))
            && error.to_string().contains("WRONGTYPE")
}

/// Waits for changes with `XREAD BLOCK`, group by group, on a connection of its own.
struct Waiter {
    streams: Arc<Mutex<Vec<(Bytes, StreamId)>>>,
    _task: AbortOnDrop,
}

impl Waiter {
    fn start(mut connection: MultiplexedConnection, hints: Hints) -> Self {
        let streams: Arc<Mutex<Vec<(Bytes, StreamId)>>> = Arc::default();
        let watched = streams.clone();
        let task = tokio::spawn(async move {
            let mut from = 0;
            loop {
                let (group, groups) = {
                    let watched = watched.lock();
                    from = if from < watched.len() { from } else { 0 };
                    let to = watched.len().min(from + STREAMS_PER_BLOCK);
                    (watched[from..to].to_vec(), watched.len().div_ceil(STREAMS_PER_BLOCK))
                };
                if group.is_empty() {
                    tokio::time::sleep(Duration::from_millis(BLOCK_MS)).await;
                    continue;
                }
                from += group.len();
                let wait = (BLOCK_MS / groups as u64).max(1);
                let command = read_command(&group, 1, Some(wait));
                match connection.send_packed_command(&command).await {
                    Ok(found) => {
                        for (key, _) in reply::streams(found) {
                            hints.key(key);
                        }
                    }
                    Err(error) if is_wrong_type(&error) => {
                        // The reader sets such a key aside; until then, do not spin.
                        group.into_iter().for_each(|(key, _)| hints.key(key));
                        tokio::time::sleep(Duration::from_millis(BLOCK_MS)).await;
                    }
                    Err(_) => {
                        hints.raise(&hints.0.lost);
                        return;
                    }
                }
                // A hint that was just given is read by the tail before we ask again.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { streams, _task: AbortOnDrop(task) }
    }
}
