//! The tail of a worker: reads what is new in the streams that it owns and appends it to their
//! topics. One task per worker, ended with the worker's runtime.
//!
//! Each read begins with the entry at the topic's head: that it is still there proves that the
//! stream is the same and nothing is missing. Where it is not there, `verify` looks
//! closer. A hint only makes a read come sooner; the position per stream carries correctness.

mod judge;
mod sweep;
mod verify;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config;
use crate::core::encode;
use crate::id::StreamId;
use crate::log::redis::tail::{Hinted, Hints, Read, RedisTail, STREAMS_PER_READ_MAX, TailMode};
use crate::log::{Entry, Log, LogError};
use crate::worker::shared::{Shared, TailMessage};
use crate::worker::topic::Topic;
use sweep::{MISSED_SWEEPS_MAX, SWEEP_PARTS};

/// Entries that one read takes of a stream; where there are more, it is read again at once.
const ENTRIES_PER_READ_MAX: usize = 256;

/// A read begins at least so long after the last one, rounded up to the runtime's millisecond: under
/// load, what changes meanwhile is read together. An idle tail reads at once. It saves the server
/// and Redis a wake-up each; `loadtest wide` shows it.
const READ_PACE: Duration = Duration::from_micros(500);

/// An entry at the head that is larger than this is not read again as proof; the sweep looks.
const PROOF_BYTES_MAX: usize = 16 * 1024;

/// The tail of one worker.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    worker: usize,
    watched: HashMap<Bytes, Watched>,
    /// Streams to read now.
    due: HashSet<Bytes>,
    /// The mode to try first.
    mode: TailMode,
    missed_sweeps: u32,
}

struct Watched {
    topic: Arc<Topic>,
    /// The size of the entry at the head, where this tail has read it.
    head_bytes: usize,
    /// What is under the key is no stream; it is read alone, and when Redis tells of a change.
    wrong_type: bool,
    swept: Instant,
    /// It changed since it was last read.
    hinted: bool,
}

/// How the streams are read: the log's own way.
enum Source {
    Redis(RedisTail),
    Embedded,
}

impl Tail {
    pub(crate) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        let mode = match shared.config.tail {
            config::TailMode::Block => TailMode::Block,
            config::TailMode::Auto | config::TailMode::Tracking => TailMode::Tracking,
        };
        Self {
            shared,
            worker,
            watched: HashMap::new(),
            due: HashSet::new(),
            mode,
            missed_sweeps: 0,
        }
    }

    /// Tails until the runtime ends; connects again whenever the connection is lost.
    pub(crate) async fn run(mut self) {
        let mut attempt = 0;
        loop {
            let (mut source, hints) = match self.connect().await {
                Ok(connected) => connected,
                Err(error) => {
                    if attempt == 0 {
                        tracing::warn!(worker = self.worker, %error, "redis_unreachable");
                    }
                    sleep(self.backoff(attempt)).await;
                    attempt += 1;
                    self.take_messages();
                    continue;
                }
            };
            if attempt > 0 {
                tracing::info!(worker = self.worker, attempt, "redis_back");
            }
            attempt = 1;
            self.shared.tails_connected.fetch_add(1, Relaxed);
            let error = self.follow(&mut source, &hints).await;
            self.shared.tails_connected.fetch_sub(1, Relaxed);
            self.forget_source(&source);
            if let Log::Redis(log) = &self.shared.log {
                // State and pages must come from the same server as what is tailed next.
                log.disconnect().await;
            }
            tracing::warn!(worker = self.worker, %error, "redis_lost");
            sleep(self.backoff(0)).await;
        }
    }

    /// Grows from `reconnect_min_ms` to `reconnect_max_ms`, with jitter.
    fn backoff(&self, attempt: u32) -> Duration {
        let limits = &self.shared.config.limits;
        let ms = limits.reconnect_min_ms.saturating_mul(1 << attempt.min(16));
        let ms = ms.min(limits.reconnect_max_ms);
        Duration::from_millis(rand::random_range(ms / 2..=ms.max(1)))
    }

    async fn connect(&mut self) -> Result<(Source, Hints), LogError> {
        let metrics = &self.shared.metrics;
        match &self.shared.log {
            Log::Redis(log) => {
                let tail = RedisTail::connect(&log.connector(), self.mode).await?;
                metrics.redis_connects.fetch_add(1, Relaxed);
                if tail.mode == TailMode::Block {
                    self.shared.tails_blocking.fetch_add(1, Relaxed);
                }
                tracing::info!(worker = self.worker, mode = tail.mode.as_str(), "tail_connected");
                let hints = tail.hints.clone();
                Ok((Source::Redis(tail), hints))
            }
            Log::Embedded(_) => {
                Ok((Source::Embedded, self.shared.embedded_hints[self.worker].clone()))
            }
        }
    }

    fn forget_source(&self, source: &Source) {
        if let Source::Redis(tail) = source
            && tail.mode == TailMode::Block
        {
            self.shared.tails_blocking.fetch_sub(1, Relaxed);
        }
    }

    /// Follows the streams over one connection, until it fails.
    async fn follow(&mut self, source: &mut Source, hints: &Hints) -> LogError {
        // Whatever happened while there was no connection: look at every stream.
        self.rescan();
        let sweep_every = self.shared.config.limits.sweep_interval() / SWEEP_PARTS;
        let mut sweep = tokio::time::interval(sweep_every.max(Duration::from_millis(10)));
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut keys = Vec::new();
        let mut next_read = Instant::now();
        loop {
            if !self.due.is_empty() && Instant::now() < next_read {
                sleep_until(next_read).await;
                hints.take_keys(&mut keys);
                self.are_due(&mut keys);
            }
            next_read = Instant::now() + READ_PACE;
            self.take_messages();
            if let Err(error) = self.read_due(source).await {
                return error;
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
                hinted = hints.next(&mut keys) => match hinted {
                    Hinted::Keys => self.are_due(&mut keys),
                    Hinted::Everything => self.rescan(),
                    Hinted::ConnectionLost => {
                        return LogError::Unavailable("the connection was closed".into());
                    }
                },
                // Dropped: messages stay in the mailbox.
                () = shared.workers[self.worker].tail.filled() => {}
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
            if let Some(watched) = self.watched.get_mut(&key) {
                watched.hinted = true;
                self.due.insert(key);
            }
        }
    }

    fn take_messages(&mut self) {
        for message in self.shared.workers[self.worker].tail.take() {
            let (TailMessage::Watch(topic) | TailMessage::Look(topic)) = message;
            // A desk may speak for a topic that was retired, and made anew, in the meantime.
            if !self.shared.topics.holds(&topic) {
                continue;
            }
            let key = topic.key.clone();
            self.due.insert(key.clone());
            let known = self.watched.get(&key);
            if known.is_none_or(|watched| !Arc::ptr_eq(&watched.topic, &topic)) {
                let swept = Instant::now();
                let watched =
                    Watched { topic, head_bytes: 0, wrong_type: false, swept, hinted: false };
                self.watched.insert(key, watched);
            }
        }
    }

    fn rescan(&mut self) {
        self.shared.metrics.rescans.fetch_add(1, Relaxed);
        self.due.extend(self.watched.keys().cloned());
    }

    /// Reads what is due, until nothing is.
    async fn read_due(&mut self, source: &mut Source) -> Result<(), LogError> {
        while !self.due.is_empty() {
            let keys = self.next_due();
            let result = self.read(source, &keys).await;
            if let Err(LogError::Refused(error)) = &result {
                // It would be refused again and again: leave these to the next hint or sweep.
                tracing::error!(worker = self.worker, %error, streams = keys.len(), "read_refused");
                keys.iter().for_each(|key| _ = self.due.remove(key));
                continue;
            }
            result?;
            self.take_messages();
        }
        Ok(())
    }

    /// The next streams to read together. One key of a wrong type would fail them all: such a key
    /// is read alone, until it holds a stream again.
    fn next_due(&self) -> Vec<Bytes> {
        let odd = |key: &&Bytes| self.watched.get(*key).is_some_and(|watched| watched.wrong_type);
        let together = self.due.iter().filter(|key| !odd(key)).take(STREAMS_PER_READ_MAX);
        let keys: Vec<Bytes> = together.cloned().collect();
        if keys.is_empty() { self.due.iter().take(1).cloned().collect() } else { keys }
    }

    /// Reads these streams once. How many of them had something new.
    async fn read(&mut self, source: &mut Source, keys: &[Bytes]) -> Result<usize, LogError> {
        let mut questions = Vec::with_capacity(keys.len());
        // Streams that begin: nothing before their first entries proves those to be the first.
        let mut begin = Vec::new();
        for key in keys {
            let Some(watched) = self.watched.get_mut(key) else {
                self.due.remove(key);
                continue;
            };
            let hinted = std::mem::take(&mut watched.hinted);
            let Some(head) = watched.topic.head() else {
                self.due.remove(key);
                continue;
            };
            let from = if watched.head_bytes > PROOF_BYTES_MAX { head } else { head.predecessor() };
            questions.push((key.clone(), from));
            if hinted && head == StreamId::ZERO {
                begin.push(key.clone());
            }
        }
        let (reads, removed) = match source {
            Source::Redis(tail) => {
                self.shared.metrics.tail_reads.fetch_add(1, Relaxed);
                tail.read_with_removed(&questions, ENTRIES_PER_READ_MAX, &begin).await?
            }
            Source::Embedded => (self.read_embedded(&questions), HashMap::new()),
        };
        let mut news = 0;
        for ((key, from), read) in questions.into_iter().zip(reads) {
            // What is new from here on makes a new hint; what the read left is read again.
            self.due.remove(&key);
            match read {
                Read::Entries(entries) => {
                    if let Some(watched) = self.watched.get_mut(&key) {
                        watched.wrong_type = false;
                    }
                    if entries.len() == ENTRIES_PER_READ_MAX {
                        self.due.insert(key.clone());
                    }
                    news += usize::from(
                        self.take(&key, from, entries, removed.get(&key) == Some(&0)).await?,
                    );
                }
                Read::WrongType => {
                    if let Some(watched) = self.watched.get_mut(&key)
                        && !std::mem::replace(&mut watched.wrong_type, true)
                    {
                        let topic = watched.topic.clone();
                        let thread_id = &topic.thread;
                        tracing::warn!(%thread_id, "stream_key_holds_something_else");
                        if let Some(head) = topic.head() {
                            self.verify(&key, &topic, head).await?;
                        }
                    }
                }
            }
        }
        Ok(news)
    }

    fn read_embedded(&self, questions: &[(Bytes, StreamId)]) -> Vec<Read> {
        let Log::Embedded(log) = &self.shared.log else { return Vec::new() };
        questions
            .iter()
            .map(|(key, from)| {
                let entries = self.watched.get(key).map(|watched| {
                    log.read(&watched.topic.thread, *from, ENTRIES_PER_READ_MAX as u64).1
                });
                Read::Entries(entries.unwrap_or_default())
            })
            .collect()
    }

    /// Takes what one read gave of one stream, of which it may be known that nothing was ever taken
    /// out of it. Whether it was something new.
    async fn take(
        &mut self,
        key: &Bytes,
        from: StreamId,
        entries: Vec<Entry>,
        nothing_removed: bool,
    ) -> Result<bool, LogError> {
        let Some(watched) = self.watched.get_mut(key) else { return Ok(false) };
        let Some(head) = watched.topic.head() else { return Ok(false) };
        // A large head is not read again. A stream that begins has no head, but counts.
        let trusted = from == head && (head != StreamId::ZERO || nothing_removed);
        let proven = entries.first().is_some_and(|entry| entry.id == head) || trusted;
        let new = match &entries[..] {
            [first, new @ ..] if first.id == head => new,
            new => new,
        };
        if !proven || (from == head && new.is_empty()) {
            if new.is_empty() && head == StreamId::ZERO {
                return Ok(false);
            }
            let topic = watched.topic.clone();
            return self.verify(key, &topic, head).await;
        }
        let Some(last) = new.last() else { return Ok(false) };
        watched.head_bytes = last.bytes_len();
        let topic = watched.topic.clone();
        self.append(&topic, head, new);
        Ok(true)
    }

    fn append(&self, topic: &Arc<Topic>, head: StreamId, new: &[Entry]) {
        self.shared.metrics.entries_read.fetch_add(new.len() as u64, Relaxed);
        {
            let mut recent = topic.recent.lock();
            recent.entries_added = recent.entries_added.map(|added| added + new.len() as u64);
        }
        self.shared.append(topic, encode::entries(&topic.thread, head, new));
    }
}
