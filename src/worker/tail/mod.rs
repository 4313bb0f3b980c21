//! The tail of a worker: reads what is new in the streams that it owns and appends it to their
//! topics. One task per worker, ended with the worker's runtime.
//!
//! Each read begins with the entry at the topic's head: that it is still there proves that the
//! stream is the same and nothing is missing. Where it is not there, `verify` looks closer. A hint
//! only makes a read come sooner; the position per stream carries correctness.

mod read;
mod share;
mod source;
mod sweep;
mod verify;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use tokio::time::{Instant, sleep};

use crate::config;
use crate::log::redis::tail::TailMode;
use crate::log::tail::Hinted;
use crate::log::{Log, LogError};
use crate::supervise::{self, Part};
use crate::sys::pause::Pause;
use crate::worker::shared::{Shared, TailMessage};
use crate::worker::topic::Topic;
use share::Share;
use source::Source;
use sweep::{MISSED_SWEEPS_MAX, SWEEP_PARTS};

/// How long the tail rests after it has read: under load, what changes meanwhile is read together.
/// An idle tail reads at once. Each read wakes this thread twice and Redis once, which costs more
/// than what is read; `loadtest wide` shows it.
const READ_PAUSE: Duration = Duration::from_micros(800);

/// The tail of one worker, or of the lane.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    /// The worker's number; the lane's is the one behind the last worker's.
    number: usize,
    share: Share,
    /// In an order, so that the sweep can go through them in steps.
    watched: IndexMap<Bytes, Watched>,
    /// The sweep's place in `watched`.
    swept_to: usize,
    /// Streams to read now.
    due: HashSet<Bytes>,
    /// The mode to try first.
    mode: TailMode,
    missed_sweeps: u32,
}

struct Watched {
    topic: Arc<Topic>,
    /// What is under the key is no stream; it is read alone, and when Redis tells of a change.
    wrong_type: bool,
    /// When it was read; the sweep reads what was not for long.
    read_at: Instant,
}

/// A tail is connected as long as this is held.
struct Connected {
    shared: Arc<Shared>,
    ready: bool,
    blocking: bool,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.shared.tails_connected.fetch_sub(self.ready.into(), Relaxed);
        self.shared.tails_blocking.fetch_sub(self.blocking.into(), Relaxed);
    }
}

impl Tail {
    /// The tail of a worker.
    pub(crate) fn of_worker(shared: Arc<Shared>, number: usize) -> Self {
        Self::new(shared, number, Share::OF_WORKER)
    }

    /// The tail of the lane, for streams with entries that would hold up a worker.
    pub(crate) fn of_lane(shared: Arc<Shared>) -> Self {
        let number = shared.lane_number();
        Self::new(shared, number, Share::OF_LANE)
    }

    fn new(shared: Arc<Shared>, number: usize, share: Share) -> Self {
        let mode = match shared.config.tail {
            config::TailMode::Block => TailMode::Block,
            config::TailMode::Auto | config::TailMode::Tracking => TailMode::Tracking,
        };
        Self {
            shared,
            number,
            share,
            watched: IndexMap::new(),
            swept_to: 0,
            due: HashSet::new(),
            mode,
            missed_sweeps: 0,
        }
    }

    /// Tails until the runtime ends; connects again whenever the connection is lost.
    pub(crate) async fn run(mut self) {
        let mut attempt = 0;
        loop {
            while self.is_lane() && self.watched.is_empty() {
                self.shared.clone().tails[self.number].filled().await;
                self.take_messages();
            }
            let mut source = match self.connect().await {
                Ok(source) => source,
                Err(error) => {
                    if attempt == 0 {
                        tracing::warn!(worker = self.number, %error, "redis_unreachable");
                    }
                    sleep(self.backoff(attempt)).await;
                    attempt += 1;
                    self.take_messages();
                    continue;
                }
            };
            if attempt > 0 {
                tracing::info!(worker = self.number, attempt, "redis_back");
            }
            attempt = 1;
            let connected = self.connected(&source);
            let error = self.follow(&mut source).await;
            drop(connected);
            if let Log::Redis(log) = self.log() {
                // State and pages must come from the same server as what is tailed next.
                log.disconnect().await;
            }
            tracing::warn!(worker = self.number, %error, "redis_lost");
            sleep(self.backoff(0)).await;
        }
    }

    /// Where it asks for state.
    fn log(&self) -> &Log {
        if self.is_lane() { self.shared.lane.log() } else { &self.shared.log }
    }

    /// Whether entries of any size are to be read here.
    fn is_lane(&self) -> bool {
        self.number == self.shared.lane_number()
    }

    /// Grows from `reconnect_min_ms` to `reconnect_max_ms`, with jitter.
    fn backoff(&self, attempt: u32) -> Duration {
        let limits = &self.shared.config.limits;
        let ms = limits.reconnect_min_ms.saturating_mul(1 << attempt.min(16));
        let ms = ms.min(limits.reconnect_max_ms);
        Duration::from_millis(rand::random_range(ms / 2..=ms.max(1)))
    }

    async fn connect(&mut self) -> Result<Source, LogError> {
        let source = Source::connect(&self.shared, self.number, self.mode, &self.share).await?;
        if let Some(mode) = source.mode() {
            self.shared.metrics.redis_connects.fetch_add(1, Relaxed);
            tracing::info!(worker = self.number, mode = mode.as_str(), "tail_connected");
        }
        Ok(source)
    }

    /// The server is ready while the tails of all workers are connected.
    fn connected(&self, source: &Source) -> Connected {
        let (ready, blocking) = (!self.is_lane(), source.mode() == Some(TailMode::Block));
        self.shared.tails_connected.fetch_add(ready.into(), Relaxed);
        self.shared.tails_blocking.fetch_add(blocking.into(), Relaxed);
        Connected { shared: self.shared.clone(), ready, blocking }
    }

    /// Follows the streams over one connection, until it fails.
    async fn follow(&mut self, source: &mut Source) -> LogError {
        // Whatever happened while there was no connection: look at every stream.
        self.rescan();
        let sweep_every = self.shared.config.limits.sweep_interval() / SWEEP_PARTS;
        let mut sweep = tokio::time::interval(sweep_every.max(Duration::from_millis(10)));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut keys = Vec::new();
        let mut pause = Pause::new();
        loop {
            supervise::turn(Part::Tail);
            self.take_messages();
            match self.read_due(source).await {
                Ok(false) => {}
                Ok(true) => {
                    source.keep_still(true);
                    pause.last(READ_PAUSE).await;
                    source.keep_still(false);
                    // The runtime hears of what has come.
                    tokio::task::yield_now().await;
                }
                Err(error) => return error,
            }
            if let Source::Redis(tail) = source {
                let positions = |(key, watched): (_, &Watched)| {
                    Some((key, watched.topic.head()?)).filter(|_| !watched.wrong_type)
                };
                tail.watch(self.watched.iter().filter_map(positions));
            }
            let shared = self.shared.clone();
            tokio::select! {
                // Dropped: the hints stay where they are until they are taken.
                hinted = source.hinted(&mut keys) => match hinted {
                    Hinted::Keys => self.are_due(&mut keys),
                    Hinted::Everything => self.rescan(),
                    Hinted::ConnectionLost => {
                        return LogError::Unavailable("the connection was closed".into());
                    }
                },
                // Dropped: messages stay in the mailbox.
                () = shared.tails[self.number].filled() => {}
                // Dropped: the next tick comes at its time.
                _ = sweep.tick() => {
                    if let Err(error) = self.sweep(source).await {
                        return error;
                    }
                    if self.missed_sweeps >= MISSED_SWEEPS_MAX && self.give_up_hints() {
                        return LogError::Unavailable("hints went missing".into());
                    }
                }
            }
        }
    }

    /// These streams changed.
    fn are_due(&mut self, keys: &mut Vec<Bytes>) {
        self.shared.metrics.hints.fetch_add(keys.len() as u64, Relaxed);
        for key in keys.drain(..) {
            if let Some(watched) = self.watched.get(&key) {
                // Its own key: the hint's is a part of what was received, which is let go.
                self.due.insert(watched.topic.key.clone());
            }
        }
    }

    fn take_messages(&mut self) {
        for message in self.shared.tails[self.number].take() {
            let (TailMessage::Watch(topic) | TailMessage::Look(topic)) = message;
            // A desk may speak for a topic that was retired, and made anew, in the meantime; or
            // for one that has gone to the lane.
            if !self.shared.topics.holds(&topic) || topic.owner() != self.number {
                continue;
            }
            let key = topic.key.clone();
            self.due.insert(key.clone());
            let known = self.watched.get(&key);
            if known.is_none_or(|watched| !Arc::ptr_eq(&watched.topic, &topic)) {
                let watched = Watched { topic, wrong_type: false, read_at: Instant::now() };
                self.watched.insert(key, watched);
            }
        }
    }

    fn rescan(&mut self) {
        self.shared.metrics.rescans.fetch_add(1, Relaxed);
        self.due.extend(self.watched.keys().cloned());
    }
}
