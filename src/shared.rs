//! What the workers of a process share, and how they tell each other something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::access::{Access, Refused, Shown};
use crate::config::Config;
use crate::core::access::Pass;
use crate::core::account::Account;
use crate::core::chunk::Chunk;
use crate::core::fanout::{Answer, Batch, Derived, Question};
use crate::core::history::History;
use crate::core::judge::Known;
use crate::core::slots::Key;
use crate::desk::Rooms;
use crate::holders::Holders;
use crate::lane::Lane;
use crate::log::tail::Hints;
use crate::log::{Log, Snapshot};
use crate::metrics::Metrics;
use crate::readings;
use crate::supervise::Supervisor;
use crate::tls::Certificates;
use crate::topic::{Recent, Registry, Shrink, Topic};

/// How often the topics are asked to hold less,
const SHRINK_INTERVAL_MS: u64 = 250;

/// and where all memory is spent: what is read brings more within a moment.
const SHRINK_SPENT_INTERVAL_MS: u64 = 10;

/// So long after it was appended, a chunk was given to all sockets that take it.
const SENT_AFTER_MS: u64 = 100;

/// One per process.
pub(crate) struct Shared {
    pub config: Arc<Config>,
    pub log: Log,
    pub access: Arc<Access>,
    pub holders: Arc<Holders>,
    /// Where the listeners speak TLS.
    pub certificates: Option<Arc<Certificates>>,
    pub topics: Registry,
    /// For the viewers of each worker. Bounded by topics (a worker is told once of each), by viewers
    /// (each waits for one answer of a desk and one of the application at the most), by sockets (each has one token looked
    /// at) and by states that were given of late.
    pub inboxes: Box<[Mailbox<WorkerMessage>]>,
    /// For the tail of each worker, and behind them the lane's. Bounded likewise.
    pub tails: Box<[Mailbox<TailMessage>]>,
    pub lane: Arc<Lane>,
    /// Where desks wait for room for what they read.
    pub rooms: Rooms,
    /// All that is held on behalf of others.
    pub account: Account,
    pub metrics: Metrics,
    pub supervisor: Arc<Supervisor>,
    /// What the log says has changed, for each worker's tail and behind them the lane's, where it is
    /// in this process.
    pub hints: Box<[Hints]>,
    /// Tails that are connected; the server is ready when all are.
    pub tails_connected: AtomicUsize,
    /// The tail reads by `XREAD BLOCK` on this many workers.
    pub tails_blocking: AtomicUsize,
    /// It was said that Redis has no room to track what is watched.
    pub said_table_too_small: AtomicBool,
    pub draining: AtomicBool,
    /// When the topics were asked to hold less, in milliseconds of the process' clock.
    shrunk_ms: AtomicU64,
    /// How often somebody had waited for room by then.
    starved: AtomicU64,
    started: Instant,
}

/// For a worker's viewers.
pub(crate) enum WorkerMessage {
    /// There is something new in a topic.
    New(Arc<Topic>),
    /// A topic cannot be read, for a reason that does not pass by itself.
    Failed(Arc<Topic>),
    /// The desk's answer to a viewer.
    Answer(Key, Answer),
    /// The viewers of a batch are owed something.
    Derived(Arc<Topic>, Batch, Arc<Derived>),
    /// What came of a socket's token, and what the application is shown of that socket from now on.
    Authenticated(Key, Result<(Arc<Pass>, Option<Arc<Shown>>), Refused>),
    /// Until when the application allows what was asked, or why it does not.
    Decided(Question, Result<Instant, Refused>),
    /// Passes were taken back.
    Revoked,
}

/// For a tail.
pub(crate) enum TailMessage {
    /// Watch this topic from its head on; look at it now.
    Watch(Arc<Topic>),
    /// The same, and its stream may be another one than it was; it was read in this history, if that is
    /// not the one in which it was read before.
    Look(Arc<Topic>, Option<History>),
    /// The keys with what the task is now are others.
    State(Arc<Topic>),
}

/// A list that one thread fills and another empties.
pub(crate) struct Mailbox<T> {
    messages: Mutex<Vec<T>>,
    notify: Notify,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { messages: Mutex::default(), notify: Notify::new() }
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn put(&self, message: T) {
        self.messages.lock().push(message);
        self.notify.notify_one();
    }

    /// Takes everything.
    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.messages.lock())
    }

    /// Resolves when something was put since the last call. May be dropped: a later call resolves
    /// for what came meanwhile.
    pub(crate) async fn filled(&self) {
        self.notify.notified().await;
    }
}

impl Shared {
    pub(crate) fn new(
        config: Arc<Config>,
        account: Account,
        log: Log,
        access: Arc<Access>,
        lane: Arc<Lane>,
    ) -> Self {
        let workers = config.workers;
        Self {
            holders: Arc::new(Holders::new(&config.limits, &account)),
            certificates: None,
            topics: Registry::new(config.keys.clone(), workers, account.clone()),
            inboxes: (0..workers).map(|_| Mailbox::default()).collect(),
            tails: (0..=workers).map(|_| Mailbox::default()).collect(),
            access,
            lane,
            rooms: Rooms::default(),
            account,
            shrunk_ms: AtomicU64::new(0),
            starved: AtomicU64::new(0),
            metrics: Metrics::new(workers),
            supervisor: Arc::default(),
            hints: (0..=workers).map(|_| Hints::default()).collect(),
            said_table_too_small: AtomicBool::new(false),
            tails_connected: AtomicUsize::new(0),
            tails_blocking: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            started: Instant::now(),
            config,
            log,
        }
    }

    /// The clock of the process, in milliseconds since its start.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub(crate) fn ready(&self) -> bool {
        let tails_are = self.tails_connected.load(Relaxed) == self.lane_number();
        tails_are && self.access.is_ready() && !self.draining()
    }

    pub(crate) fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The number of the lane's tail: it stands behind those of the workers.
    pub(crate) fn lane_number(&self) -> usize {
        self.inboxes.len()
    }

    /// Has the lane read a stream. For the tail that has let go of it.
    pub(crate) fn give_to_lane(&self, topic: &Arc<Topic>) {
        tracing::debug!(thread_id = %topic.thread, "to_lane");
        self.metrics.lane_streams.fetch_add(1, Relaxed);
        topic.move_to(self.lane_number());
        self.tails[self.lane_number()].put(TailMessage::Watch(topic.clone()));
    }

    /// A tail begins: it is to watch what was given to the one before it, which has panicked.
    pub(crate) fn begin_tail(&self, number: usize) {
        for topic in self.topics.all().into_iter().filter(|topic| topic.owner() == number) {
            if topic.head().is_some() {
                self.tails[number].put(TailMessage::Watch(topic));
            }
        }
    }

    /// Has the log tell the tails what changed, where it is in this process.
    pub(crate) fn listen(self: &Arc<Self>) {
        let shared = Arc::downgrade(self);
        self.log.listen(move |thread| {
            if let Some(shared) = shared.upgrade()
                && let Some(topic) = shared.topics.find(thread)
            {
                shared.hints[topic.owner()].key(topic.key.clone());
            }
        });
    }

    /// Appends chunks to a topic and tells the workers that have viewers of it.
    pub(crate) fn append(&self, topic: &Arc<Topic>, chunks: Vec<Arc<Chunk>>) {
        self.change(topic, |recent| {
            if let Some(log) = &mut recent.log {
                log.begin_read();
                chunks.into_iter().for_each(|chunk| log.append(chunk));
            }
        });
    }

    /// Goes on behind a gap, of which `chunk` tells the viewers, from what was read then; where the
    /// stream is another one, in a new epoch.
    pub(crate) fn renew(
        &self,
        topic: &Arc<Topic>,
        chunk: Chunk,
        read: &Snapshot,
        another_stream: bool,
        batch: Option<Batch>,
    ) {
        self.change(topic, |recent| {
            recent.known = Known::all_of(read.stream);
            recent.history = read.history;
            recent.gap = None;
            let Some(log) = &mut recent.log else { return };
            if another_stream {
                log.begin_epoch();
            }
            let version = readings::observe_in(&self.account, log, read, true);
            log.renew(Arc::new(chunk), batch, version);
        });
    }

    fn change(&self, topic: &Arc<Topic>, change: impl FnOnce(&mut Recent)) {
        {
            let mut recent = topic.recent.lock();
            recent.appended_ms = self.now_ms();
            change(&mut recent);
            let Some(log) = &mut recent.log else { return };
            log.trim(self.topic_bytes_max());
        }
        self.tell_workers(topic);
    }

    /// Reads which passes are taken back, for as long as the server runs, and has the workers look at theirs.
    pub(crate) async fn follow_revocations(self: Arc<Self>) {
        let tell = || self.inboxes.iter().for_each(|inbox| inbox.put(WorkerMessage::Revoked));
        self.access.follow_revocations(&self.log, &self.account, tell).await;
    }

    /// Tells the workers that have viewers of a topic that there is something for them.
    pub(crate) fn tell_workers(&self, topic: &Arc<Topic>) {
        for (worker, on_worker) in topic.on_worker.iter().enumerate() {
            if on_worker.viewers.load(Relaxed) > 0 && !on_worker.told.swap(true, Relaxed) {
                self.inboxes[worker].put(WorkerMessage::New(topic.clone()));
            }
        }
    }

    /// The viewers of a batch are owed something: those on each worker that has some.
    pub(crate) fn derive(&self, topic: &Arc<Topic>, batch: Batch, derived: &Arc<Derived>) {
        if let Some(log) = topic.recent.lock().log.as_mut() {
            log.derive(batch, derived);
        }
        for (worker, on_worker) in topic.on_worker.iter().enumerate() {
            if on_worker.viewers.load(Relaxed) > 0 {
                let message = WorkerMessage::Derived(topic.clone(), batch, derived.clone());
                self.inboxes[worker].put(message);
            }
        }
    }

    /// How many bytes a topic may hold now: where memory is tight, only its newest chunk.
    pub(crate) fn topic_bytes_max(&self) -> usize {
        if self.account.is_tight() { 0 } else { self.config.limits.topic_bytes_max }
    }

    /// Where memory is tight, all topics let go of what can be read again.
    pub(crate) fn shrink_if_tight(&self) {
        let is_spent = self.account.is_spent();
        let interval_ms = if is_spent { SHRINK_SPENT_INTERVAL_MS } else { SHRINK_INTERVAL_MS };
        if self.account.is_tight() && self.begin_shrinking(interval_ms) {
            let starved = self.account.starved();
            let somebody_waits = self.starved.swap(starved, Relaxed) != starved;
            // Newest chunks of very many topics may be all that is held, and nobody could read on.
            let nothing = somebody_waits || self.account.is_full();
            self.topics.shrink(if nothing { Shrink::Nothing } else { Shrink::Newest });
        }
    }

    /// Much is about to be read of what came long ago: it does not add to what is held already.
    /// Whether too much of that is held.
    pub(crate) fn shrink_for_bulk(&self) -> bool {
        let too_much = self.account.bytes() > self.account.bytes_max() / 4;
        if too_much && self.begin_shrinking(SHRINK_INTERVAL_MS / 4) {
            let appended_before_ms = self.now_ms().saturating_sub(SENT_AFTER_MS);
            self.topics.shrink(Shrink::Unsent { appended_before_ms });
        }
        too_much
    }

    /// Begins to ask the topics to hold less, where that is long enough ago. Whether it does.
    fn begin_shrinking(&self, interval_ms: u64) -> bool {
        let (now_ms, before_ms) = (self.now_ms(), self.shrunk_ms.load(Relaxed));
        now_ms.saturating_sub(before_ms) >= interval_ms
            && self.shrunk_ms.compare_exchange(before_ms, now_ms, Relaxed, Relaxed).is_ok()
    }

    /// A topic cannot be read, for a reason that does not pass by itself: its viewers are told so.
    pub(crate) fn fail(&self, topic: &Arc<Topic>) {
        for (worker, on_worker) in topic.on_worker.iter().enumerate() {
            if on_worker.viewers.load(Relaxed) > 0 {
                self.inboxes[worker].put(WorkerMessage::Failed(topic.clone()));
            }
        }
    }
}
