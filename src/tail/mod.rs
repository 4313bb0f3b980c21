//! The tail of a worker: reads what is new in the streams that it owns and appends it to their
//! topics. One task per worker, ended with the worker's runtime.
//!
//! Each read begins with the entry at the topic's head: that it is still there proves that the
//! stream is the same and nothing is missing. Where it is not there, `verify` looks closer. A hint
//! only makes a read come sooner; the position per stream carries correctness. Which log it is, the
//! tail does not know.

mod care;
mod connected;
mod due;
mod hints;
mod plan;
mod read;
mod share;
mod spare;
mod states;
mod sweep;
mod take;
mod verify;
mod watched;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use tokio::time::{Instant, sleep, sleep_until};

use crate::config;
use crate::core::backoff::Backoff;
use crate::core::history::History;
use crate::log::source::{Source, SourceWants};
use crate::log::tail::{HintMode, Hinted};
use crate::log::{Log, LogError};
use crate::shared::{Shared, TailMessage};
use crate::supervise::{self, Part};
use crate::sys::pause::Pause;
use connected::Connected;
use due::{Due, Group, Why};
use hints::Hinting;
use plan::Window;
use share::Share;
use spare::SpareFacts;
use states::{POLL, States};
use watched::Watched;

/// How long the tail rests after it has read: under load, what changes meanwhile is read together.
/// An idle tail reads at once. Each read wakes this thread twice and Redis once, which costs more
/// than what is read; `loadtest wide` shows it.
const READ_PAUSE: Duration = Duration::from_micros(800);

/// Of an answer that grows to so many times what was asked for, about, only the beginning is taken.
const ANSWER_GROWTH_MAX: usize = 2;

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
    /// Streams to read now. Bounded by those that are watched.
    due: Due,
    /// Streams that the log refused to read, and when to ask again. Bounded likewise: each is in it
    /// once per time that it was refused.
    later: BinaryHeap<Reverse<(Instant, Bytes)>>,
    /// It was said that the log refuses reads.
    refused_said: bool,
    window: Window,
    /// What was read last.
    group: Group,
    /// Whether next streams are read that are known to bring little, if any are due.
    little_first: bool,
    /// Until when what came long ago waits.
    patient_until: Option<Instant>,
    hinting: Hinting,
    /// Redis may have another history now.
    in_doubt: bool,
    /// Where it reads.
    history: History,
    /// Others are connected to another Redis already.
    moved: bool,
    spare_facts: SpareFacts,
    states: States,
    reconnect: Backoff,
}

/// Why a tail does not follow its streams over a connection any more.
enum End {
    /// The connection cannot be used.
    Lost(LogError),
    /// Hints are to come in another way.
    OtherMode,
}

impl From<LogError> for End {
    fn from(error: LogError) -> Self {
        Self::Lost(error)
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
        let preferred = match shared.config.tail {
            config::TailMode::Block => HintMode::Block,
            config::TailMode::Auto | config::TailMode::Tracking => HintMode::Tracking,
        };
        let limits = &shared.config.limits;
        Self {
            window: Window::new(&share, limits.tail_read_bytes_max, shared.config.workers),
            reconnect: Backoff::new(
                Duration::from_millis(limits.reconnect_min_ms),
                Duration::from_millis(limits.reconnect_max_ms),
            ),
            shared,
            number,
            share,
            watched: IndexMap::new(),
            swept_to: 0,
            due: Due::default(),
            later: BinaryHeap::new(),
            refused_said: false,
            group: Group::default(),
            little_first: false,
            patient_until: None,
            hinting: Hinting::new(preferred),
            in_doubt: false,
            history: History::default(),
            moved: false,
            spare_facts: SpareFacts::default(),
            states: States::default(),
        }
    }

    /// Tails until the runtime ends; connects again whenever the connection is lost.
    pub(crate) async fn run(mut self) {
        loop {
            while self.is_lane() && self.watched.is_empty() {
                self.shared.clone().tails[self.number].filled().await;
                self.take_messages();
            }
            let (what, error) = match self.connect().await {
                Ok(mut source) => {
                    let begun = Instant::now();
                    let end = self.follow(&mut source).await;
                    self.reconnect.held(begun.elapsed());
                    self.mode_held(source.mode(), begun.elapsed());
                    match end {
                        End::Lost(error) => ("redis_lost", error),
                        End::OtherMode => continue,
                    }
                }
                Err(error) => ("redis_unreachable", error),
            };
            // State and pages must come from the same server as what is tailed next.
            self.log().disconnect();
            // Once per outage, however often it fails again.
            if self.reconnect.is_fresh() {
                tracing::warn!(worker = self.number, %error, "{what}");
            } else {
                tracing::debug!(worker = self.number, %error, "{what}");
            }
            sleep(self.reconnect.wait(rand::random_range(0.0..=1.0))).await;
            self.take_messages();
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

    async fn connect(&mut self) -> Result<Source, LogError> {
        let read_bytes_max = self.shared.config.limits.tail_read_bytes_max;
        let wants = SourceWants {
            mode: self.hinting.preferred,
            string_bytes_max: self.share.string_bytes_max,
            answer_bytes_max: if self.share.unbounded {
                usize::MAX
            } else {
                ANSWER_GROWTH_MAX * read_bytes_max
            },
        };
        let hints = &self.shared.hints[self.number];
        let mut source = Source::connect(self.log(), hints, wants).await?;
        source.check().await?;
        self.see_mode(&source);
        Ok(source)
    }

    /// Says that the tail follows its streams, and how; the server is ready while those of all
    /// workers do.
    fn connected(&self, source: &Source) -> Connected {
        let again = !self.reconnect.is_fresh();
        if let Some(mode) = source.mode() {
            self.shared.metrics.redis_connects.fetch_add(1, Relaxed);
            if again {
                tracing::info!(worker = self.number, mode = mode.as_str(), "redis_back");
            } else {
                tracing::info!(worker = self.number, mode = mode.as_str(), "tail_connected");
            }
        }
        Connected::new(self, source.mode() == Some(HintMode::Block))
    }

    /// Follows the streams over one connection, until it fails.
    async fn follow(&mut self, source: &mut Source) -> End {
        // Whatever happened while there was no connection: look at every stream.
        self.history = source.history();
        if !source.knows_history() {
            self.doubt();
        }
        self.rescan();
        while !self.reconnect.is_fresh() && !self.due.is_empty() {
            if let Err(error) = self.read_due(source).await {
                return error.into();
            }
        }
        let _connected = self.connected(source);
        let mut sweep = tokio::time::interval(self.tick());
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut keys = Vec::new();
        let mut pause = Pause::new();
        loop {
            supervise::turn(Part::Tail);
            self.take_messages();
            if std::mem::take(&mut self.moved) {
                return LogError::Unavailable("the log is on another server now".into()).into();
            }
            self.ask_again();
            if self.states.has_due()
                && let Err(error) = self.look_at_states(source).await
            {
                return error.into();
            }
            match self.read_due(source).await {
                Ok(false) => {}
                Ok(true) => {
                    source.keep_still(true);
                    pause.last(self.hinting.pause.unwrap_or(READ_PAUSE)).await;
                    source.keep_still(false);
                    // The runtime hears of what has come.
                    tokio::task::yield_now().await;
                }
                Err(error) => return error.into(),
            }
            let positions = |(key, watched): (_, &Watched)| {
                let waits = !watched.wrong_type && watched.refusal.is_none();
                watched.topic.head().filter(|_| waits).map(|head| (key, head))
            };
            source.watch(self.watched.iter().filter_map(positions));
            let shared = self.shared.clone();
            let (again_at, tracking_at) = (self.asks_again_at(), self.tries_tracking_at());
            tokio::select! {
                // Dropped: the hints stay where they are until they are taken.
                hinted = source.hinted(&mut keys) => {
                    if let Err(error) = self.take_hints(hinted, &mut keys) {
                        return error.into();
                    }
                }
                // Dropped: each turn looks at what is due.
                () = ready(()), if !self.due.is_empty() || self.states.has_due() => {}
                // Dropped: messages stay in the mailbox.
                () = shared.tails[self.number].filled() => {}
                // Dropped: each turn looks at the clock, here and below.
                () = sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() => {}
                () = sleep_until(tracking_at.unwrap_or_else(Instant::now)), if tracking_at.is_some() => {
                    if self.tracking_is_back().await {
                        return End::OtherMode;
                    }
                }
                // Dropped: the next tick comes at its time, here and below.
                _ = poll.tick() => self.poll_states(source),
                _ = sweep.tick() => {
                    if let Err(error) = self.sweep(source).await {
                        return error.into();
                    }
                    let (mode, ticks) = (source.mode(), self.ticks(source));
                    if self.hints_failed(mode, ticks).await {
                        return End::OtherMode;
                    }
                }
            }
        }
    }

    /// Takes what hints tell.
    fn take_hints(&mut self, hinted: Hinted, keys: &mut Vec<Bytes>) -> Result<(), LogError> {
        match hinted {
            Hinted::Keys => {
                self.shared.metrics.hints.fetch_add(keys.len() as u64, Relaxed);
                for key in keys.drain(..) {
                    if self.states.told(&key) {
                        continue;
                    }
                    self.hinting.told(&key);
                    self.is_due(key, Why::Hint);
                }
            }
            Hinted::Everything => {
                // Redis may have been given another data set.
                self.doubt();
                self.in_doubt = true;
                self.log().disconnect();
                self.rescan();
            }
            Hinted::ConnectionLost => {
                return Err(LogError::Unavailable("the connection was closed".into()));
            }
        }
        Ok(())
    }

    /// A stream is to be read, where it is watched and the log does not refuse it.
    fn is_due(&mut self, key: Bytes, why: Why) {
        let Some(watched) = self.watched.get(&key) else { return };
        if watched.refusal.as_ref().is_some_and(|refusal| refusal.until > Instant::now()) {
            return;
        }
        // Its own key: a hint's is a part of what was received, which is let go.
        self.due.insert(watched.topic.key.clone(), why, watched.group());
    }

    fn take_messages(&mut self) {
        for message in self.shared.clone().tails[self.number].take() {
            let (topic, looks) = match message {
                TailMessage::State(topic) => {
                    if self.watched.contains_key(&topic.key) {
                        self.states.is_due(topic.key.clone());
                    }
                    continue;
                }
                TailMessage::Watch(topic) => (topic, false),
                TailMessage::Look(topic, history) => {
                    self.moved |= history.is_some_and(|history| !history.goes_on(self.history));
                    (topic, true)
                }
            };
            // A desk may speak for a topic that was retired, and made anew, in the meantime; or
            // for one that has gone to the lane.
            if !self.shared.topics.holds(&topic) || topic.owner() != self.number {
                continue;
            }
            let key = topic.key.clone();
            let known = self.watched.get(&key);
            if known.is_none_or(|watched| !Arc::ptr_eq(&watched.topic, &topic)) {
                if let Some(mut old) = self.watched.insert(key.clone(), Watched::new(topic)) {
                    self.states.forget(&key, &mut old.seen);
                }
                self.states.is_due(key.clone());
            }
            if looks && let Some(watched) = self.watched.get_mut(&key) {
                watched.in_doubt = true;
            }
            self.is_due(key, Why::Other);
        }
    }

    /// Counts say nothing any more of what is read next.
    fn doubt(&self) {
        for watched in self.watched.values() {
            watched.topic.recent.lock().history = History::default();
        }
    }

    fn rescan(&mut self) {
        self.shared.metrics.rescans.fetch_add(1, Relaxed);
        for key in self.watched.keys().cloned().collect::<Vec<Bytes>>() {
            self.states.is_due(key.clone());
            self.is_due(key, Why::Other);
        }
    }
}
