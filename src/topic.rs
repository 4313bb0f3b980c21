//! A topic as the whole process shares it: the recent log, who has viewers of it, and who waits at
//! its desk. And the registry of all topics.
//!
//! The locks here are held for a few instructions, never over an await; a flush takes one per pass
//! and slice, none per viewer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::core::account::{Account, Charge, Kind};
use crate::core::chunk::Ended;
use crate::core::gap::GapReason;
use crate::core::hash;
use crate::core::history::History;
use crate::core::judge::Known;
use crate::core::seam::ENTRIES_READ;
use crate::core::source::{ENTRIES_LOOKED_AT, Missing};
use crate::core::topic::TopicLog;
use crate::desk::Desks;
use crate::id::{Keys, StreamId, ThreadId};
use crate::log::Entry;
use crate::readings::Readings;
use crate::seam::Seam;
use crate::turn::Turns;

/// What a topic takes, without what it holds: itself, its key, its places in maps, its desks.
const TOPIC_BYTES: usize = 2048;

/// One task's stream, as long as somebody watches it, and a while longer.
pub(crate) struct Topic {
    pub thread: ThreadId,
    /// The key of the stream.
    pub key: Bytes,
    /// Whose tail reads the stream: a worker's, or the lane's.
    owner: AtomicUsize,
    /// How large reads of its state or its entries are.
    size: AtomicU8,
    pub recent: Mutex<Recent>,
    pub turns: Turns,
    pub seam: Seam,
    pub readings: Readings,
    pub desks: Desks,
    /// Viewers on all workers.
    pub viewers: AtomicUsize,
    /// Viewers that have not got everything.
    pub lagging: AtomicUsize,
    /// When the last viewer left, in milliseconds of the process' clock.
    pub left_ms: AtomicU64,
    /// Per worker: how many viewers it has, and whether it was told of what is new.
    pub on_worker: Box<[OnWorker]>,
    _charge: Charge,
}

/// What is left of the logs of topics that are to hold less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shrink {
    /// The newest chunk.
    Newest,
    /// The newest chunk, where it was appended just now or somebody lags.
    Unsent { appended_before_ms: u64 },
    /// Nothing.
    Nothing,
}

/// How large reads of a topic are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Size {
    /// They bring what such reads mostly bring.
    Expected,
    /// A worker does them.
    Usual,
    /// The lane does them.
    Large,
    /// The lane does them one at a time, outside of the account.
    Huge,
}

#[derive(Default)]
pub(crate) struct OnWorker {
    pub viewers: AtomicUsize,
    pub told: AtomicBool,
}

/// What is known of the stream.
#[derive(Default)]
pub(crate) struct Recent {
    /// None until the first attach has read where the stream's end is.
    pub log: Option<TopicLog>,
    /// Up to where the stream was read, and what it told of itself then; of no meaning without a
    /// log.
    pub known: Known,
    /// Where that was read.
    pub history: History,
    /// Something is missing behind the head, and the viewers were not told yet.
    pub gap: Option<GapReason>,
    /// When the log was last appended to, in milliseconds of the process' clock.
    pub appended_ms: u64,
}

impl Topic {
    /// Whose tail reads the stream: that of the worker with this number, or the lane's.
    pub(crate) fn owner(&self) -> usize {
        self.owner.load(Relaxed)
    }

    /// Its stream is read by the lane from now on. For the tail that has let go of it.
    pub(crate) fn move_to(&self, lane: usize) {
        self.size.fetch_max(Size::Large as u8, Relaxed);
        self.owner.store(lane, Relaxed);
    }

    /// How large reads of it are.
    pub(crate) fn size(&self) -> Size {
        match self.size.load(Relaxed) {
            0 => Size::Expected,
            1 => Size::Usual,
            2 => Size::Large,
            _ => Size::Huge,
        }
    }

    /// A read was larger than this.
    pub(crate) fn exceeds(&self, size: Size) {
        let next = match size {
            Size::Expected => Size::Usual,
            Size::Usual => Size::Large,
            Size::Large | Size::Huge => Size::Huge,
        };
        self.size.fetch_max(next as u8, Relaxed);
    }

    /// A read of it was so small: the next one is tried as such, unless the lane reads its entries.
    pub(crate) fn fits(&self, size: Size, smaller: Size) {
        if smaller < size && self.owner() < self.on_worker.len() {
            // Where it is of another size by now, that is what counts.
            _ = self.size.compare_exchange(size as u8, smaller as u8, Relaxed, Relaxed);
        }
    }

    /// Lets go of a part of the log. Where nobody watches, that is everything. Viewers who lack
    /// something then ask the desk for it.
    pub(crate) fn shrink(&self, to: Shrink) {
        let mut recent = self.recent.lock();
        let nothing = match to {
            Shrink::Newest => false,
            Shrink::Unsent { appended_before_ms } => {
                self.lagging.load(Relaxed) == 0 && recent.appended_ms < appended_before_ms
            }
            Shrink::Nothing => true,
        };
        if let Some(log) = recent.log.as_mut() {
            if nothing || self.viewers.load(Relaxed) == 0 {
                log.release();
            } else {
                log.trim(0);
            }
            log.present_mut().release();
        }
    }

    /// How many of the newest entries come with a state, or are there to begin with.
    pub(crate) fn newest_max(&self) -> u64 {
        let has_ends = self.thread.source().is_some_and(|source| source.has_ends());
        if has_ends { ENTRIES_READ.max(ENTRIES_LOOKED_AT) } else { ENTRIES_READ }
    }

    /// The last end among the newest entries of the stream.
    pub(crate) fn ended(&self, newest: &[Entry]) -> Option<Ended> {
        let (number, end) = self.thread.source()?.last_end(newest)?;
        let behind = (newest.len() - number - 1) as u64;
        Some(Ended { position: newest[number].id, end, behind })
    }

    /// Among so many of the newest entries an end counts.
    pub(crate) fn ends_within(&self) -> usize {
        self.thread.source().map_or(0, |source| source.ends_within())
    }

    /// How long somebody who attaches waits for what is not there.
    pub(crate) fn missing(&self) -> Missing {
        self.thread.source().map(|source| source.missing()).unwrap_or_default()
    }

    /// The position of the head, once it is known.
    pub(crate) fn head(&self) -> Option<StreamId> {
        self.recent.lock().log.as_ref().map(TopicLog::head)
    }
}

/// All topics of the process.
pub(crate) struct Registry {
    topics: Mutex<HashMap<ThreadId, Arc<Topic>>>,
    keys: Keys,
    workers: usize,
    account: Account,
}

impl Registry {
    pub(crate) fn new(keys: Keys, workers: usize, account: Account) -> Self {
        Self { topics: Mutex::default(), keys, workers, account }
    }

    /// The topic of a thread, made where there is none, with one more viewer on `worker`.
    pub(crate) fn join(&self, thread: &ThreadId, worker: usize) -> Arc<Topic> {
        let mut topics = self.topics.lock();
        let topic =
            topics.entry(thread.clone()).or_insert_with(|| Arc::new(self.make(thread))).clone();
        topic.viewers.fetch_add(1, Relaxed);
        topic.on_worker[worker].viewers.fetch_add(1, Relaxed);
        topic
    }

    /// One viewer less. A topic whose log has not begun goes with its last one.
    pub(crate) fn leave(&self, topic: &Topic, worker: usize, now_ms: u64) {
        topic.on_worker[worker].viewers.fetch_sub(1, Relaxed);
        topic.left_ms.store(now_ms, Relaxed);
        if topic.viewers.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        let begun = match topic.recent.lock().log.as_mut() {
            Some(log) => {
                // Nobody is told from now on what its state is.
                log.present_mut().forget();
                true
            }
            None => false,
        };
        if !begun {
            self.retire(topic);
        }
    }

    /// Forgets a topic that nobody watches; false where somebody does.
    pub(crate) fn retire(&self, topic: &Topic) -> bool {
        // Joining takes the same lock, so nobody joins a topic that is being forgotten.
        let mut topics = self.topics.lock();
        let unused = topic.viewers.load(Relaxed) == 0;
        if unused && topics.get(&topic.thread).is_some_and(|held| std::ptr::eq(&**held, topic)) {
            topics.remove(&topic.thread);
        }
        unused
    }

    /// Whether this is the topic of its thread, and not one that was forgotten.
    pub(crate) fn holds(&self, topic: &Arc<Topic>) -> bool {
        self.find(&topic.thread).is_some_and(|held| Arc::ptr_eq(&held, topic))
    }

    /// The topic of a thread, where there is one.
    pub(crate) fn find(&self, thread: &ThreadId) -> Option<Arc<Topic>> {
        self.topics.lock().get(thread).cloned()
    }

    /// All topics that there are now.
    pub(crate) fn all(&self) -> Vec<Arc<Topic>> {
        self.topics.lock().values().cloned().collect()
    }

    /// All topics hold less: what they let go can be read again.
    pub(crate) fn shrink(&self, to: Shrink) {
        self.all().iter().for_each(|topic| topic.shrink(to));
    }

    /// Bytes that all topics hold.
    pub(crate) fn bytes(&self) -> usize {
        self.account.bytes_of(Kind::Chunks)
    }

    /// Number of topics.
    pub(crate) fn len(&self) -> usize {
        self.topics.lock().len()
    }

    fn make(&self, thread: &ThreadId) -> Topic {
        let hash = hash::of(thread);
        Topic {
            thread: thread.clone(),
            key: self.keys.stream(thread).into(),
            owner: AtomicUsize::new((hash % self.workers as u64) as usize),
            size: AtomicU8::new(Size::Expected as u8),
            recent: Mutex::new(Recent::default()),
            turns: Turns::default(),
            seam: Seam::default(),
            readings: Readings::default(),
            desks: Desks::default(),
            viewers: AtomicUsize::new(0),
            lagging: AtomicUsize::new(0),
            left_ms: AtomicU64::new(0),
            on_worker: (0..self.workers).map(|_| OnWorker::default()).collect(),
            _charge: self.account.charge(Kind::Topics, TOPIC_BYTES),
        }
    }
}
