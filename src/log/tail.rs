//! The tail's part of the seam: hints of what changed, questions, and what was read.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::id::{StreamId, ThreadId};
use crate::log::{Entry, StreamFacts};

/// How the hints come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HintMode {
    /// Redis tells (`CLIENT TRACKING`).
    Tracking,
    /// We ask (`XREAD BLOCK`).
    Block,
}

impl HintMode {
    /// The name in logs, metrics and `stream-info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tracking => "tracking",
            Self::Block => "block",
        }
    }
}

/// Why the hints do not come by tracking, although that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTracking {
    /// Redis, or what stands before it, does not know it or does not allow it.
    Unsupported,
    /// It was answered by something else, which may pass.
    ForNow,
}

/// What Redis tracks for its clients, as far as it says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrackingTable {
    /// Keys that are tracked.
    pub keys: Option<u64>,
    /// `tracking-table-max-keys`; 0 is no limit.
    pub keys_max: Option<u64>,
}

/// What is known to have changed since it was last asked for, as somebody else found out.
#[derive(Clone, Default)]
pub struct Hints(Arc<HintsInner>);

#[derive(Default)]
struct HintsInner {
    /// Bounded by the number of watched streams.
    keys: Mutex<HashSet<Bytes>>,
    lost: AtomicBool,
    notify: Notify,
}

impl Hints {
    /// Waits until there is something, and takes it. May be dropped: hints stay until they are
    /// taken.
    pub async fn next(&self, into: &mut Vec<Bytes>) -> Hinted {
        loop {
            let notified = self.0.notify.notified();
            if self.0.lost.swap(false, Relaxed) {
                return Hinted::ConnectionLost;
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

    /// The connection that the hints came from is gone.
    pub(crate) fn lose(&self) {
        self.0.lost.store(true, Relaxed);
        self.0.notify.notify_one();
    }
}

/// What a hint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hinted {
    /// These streams changed, at least.
    Keys,
    /// Redis was flushed, or lost track: any stream may have changed.
    Everything,
    /// The connection is gone: connect again, and then look at every stream.
    ConnectionLost,
}

/// The keys that say when what a task is now may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateKeys {
    /// Of the status: of a string,
    pub status: Bytes,
    /// or of the hash that has it in this field.
    pub field: Option<Bytes>,
    /// Of the thread's tasks, where it can have any.
    pub tasks: Option<Bytes>,
}

/// What they held, as far as it is needed to see a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct StateSeen {
    /// The status; none where there is none.
    pub status: Option<Bytes>,
    /// The newest of the tasks.
    pub newest: Option<Bytes>,
}

/// What is asked of one stream.
#[derive(Debug, Clone)]
pub struct Question {
    /// The task.
    pub thread: ThreadId,
    /// The key of its stream.
    pub key: Bytes,
    /// The position behind which it is read.
    pub after: StreamId,
    /// Ask for all of its facts, and not for its length alone, which costs less.
    pub asks_facts: bool,
    /// With its facts large entries came last time: ask for the facts without them.
    pub large_facts: bool,
}

/// What a stream told of itself, beside its entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// Its length, right after the entries were read: something may have come in between.
    Length(u64),
    /// Its facts, read in one step with the entries.
    Facts(StreamFacts),
}

/// What is new in one stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// Entries from the position that was asked for on; there may be none.
    Entries {
        /// The entries, in the stream's order.
        entries: Vec<Entry>,
        /// What it told of itself.
        told: Told,
        /// There may be more behind them.
        more: bool,
        /// Large entries came with the facts.
        large_facts: bool,
    },
    /// There is something else than a stream under the key.
    WrongType,
    /// One of the entries that come next is larger than this tail takes.
    TooLarge,
    /// The log refuses to read this stream, and says why.
    Refused(String),
    /// The answer broke off in it before there was anything new: read with others, it would do so
    /// again.
    BrokenOff,
    /// It was not read, because of another stream of the same read.
    NotRead,
}

/// Why a read of several streams brought nothing of any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadError {
    /// The connection broke while the answer was on its way: it may be larger than Redis sends.
    CutOff(String),
    /// The log cannot be used now.
    Unavailable(String),
    /// The log refuses such reads, whichever the stream.
    Refused(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::CutOff(why) | Self::Unavailable(why) | Self::Refused(why)) = self;
        f.write_str(why)
    }
}
