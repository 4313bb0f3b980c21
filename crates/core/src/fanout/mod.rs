//! The fan-out: everything that happens to the viewers of one worker, as a state machine.
//!
//! It knows no socket, no clock, no lock and no task. It is told what happened (a connection came,
//! bytes were read, a socket takes more again, the desk answered, a topic has news, time went by),
//! sends through [`Io`], and gives back [`Effect`]s. Whatever goes to a socket is *pulled* when the
//! socket is free: what waits is the rest of one frame, and a few bits for each thing that is owed.
//!
//! | file | what it owns |
//! |---|---|
//! | `admission`, `expiry` | whom a socket is of and what it may watch; when that ends |
//! | `leases` | what it may watch because the application says so |
//! | `attach` | how sockets become viewers, and what the desk answers them |
//! | `leave` | how they leave, and what is told to those who cannot have their task |
//! | `flush` | passes: each viewer of a topic gets everything from its position to the head |
//! | `push` | one viewer gets whatever it lacks, or asks for it |
//! | `derived` | what no entry tells is told: of what was withheld from a state, and that a task ended |
//! | `present` | what a task is now, where no entry tells it |
//! | `owed` | what a socket is owed before anything new, and how it goes on |
//! | `read` | what viewers send, within their budgets |
//! | `message` | what a message of a viewer says |
//! | `close` | the closing handshake, and the drain |
//! | `settings` | every bound |
//! | `tick` | what time brings: Pings, silence, stalls |

mod admission;
mod attach;
mod close;
mod derived;
mod expiry;
mod flush;
mod io;
mod leases;
mod leave;
mod message;
mod owed;
mod present;
mod push;
mod read;
mod settings;
mod tick;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

pub use admission::{Admission, Denied, Granted};
pub use attach::{Answer, Malformed, Purpose, Refusal, Wants};
pub use derived::{Batch, Derived};
pub use io::{Count, Effect, Io, Sent, Topic};
pub use leases::Question;
pub use read::Appetite;
pub use settings::Settings;

use crate::account::{Account, Charge};
use crate::id::{StreamId, ThreadId};
use crate::position::{Position, Run};
use crate::present::Version;
use crate::roster::Roster;
use crate::slots::{Key, Slots};
use owed::Busy;
use read::Replies;

/// The viewers of one worker.
///
/// Calls come in any order. After each, the effects are to be taken ([`Fanout::next_effect`]); a
/// key is not used again before its [`Effect::End`] was.
pub struct Fanout<T> {
    settings: Settings,
    account: Account,
    /// How often somebody had waited for room when it was last looked at,
    starved: u64,
    /// and whether there was too little.
    memory_is_spent: bool,
    /// Milliseconds of some clock that only goes forward.
    now_ms: u64,
    sockets: Slots<Socket>,
    viewers: Slots<Viewer>,
    topics: Slots<LocalTopic<T>>,
    by_thread: HashMap<ThreadId, Key>,
    /// Topics with a pass to be made, in the order in which their turns come.
    passes: VecDeque<Key>,
    /// With `flush_interval_ms`: topics whose pass begins at that time.
    delayed: VecDeque<(u64, Key)>,
    /// Sockets that wait for the other side's Close, and until when.
    closing: Vec<(u64, Key)>,
    /// Sockets that took no more, and since when they were looked at.
    stalled: VecDeque<(u64, Key)>,
    /// Sockets that are not read for a while, and until when.
    resting: VecDeque<(u64, Key)>,
    /// Viewers whose position the tail has not reached, and since when.
    ahead: VecDeque<(u64, Key)>,
    expiry: expiry::Expiry,
    leases: leases::Leases,
    clock: tick::Clock,
    drain: Option<close::Drain>,
    effects: VecDeque<Effect<T>>,
    run: Run,
    replies: Replies,
}

/// A topic's viewers on this worker.
struct LocalTopic<T> {
    topic: T,
    roster: Roster,
    pass: Pass,
}

/// Whether viewers are being given what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Nothing is new.
    None,
    /// A pass waits for its turn, or is between two slices.
    Queued,
    /// The same, and something came meanwhile: another pass follows.
    Again,
}

/// A connection.
///
/// What an idle viewer costs, in bytes: this and its slot, a [`Viewer`] and its slot, a place in
/// its topic's roster. A test holds the sum to its bound.
struct Socket {
    watching: Watching,
    /// Whom it is of; none where nobody is asked.
    admitted: Option<Box<admission::Admitted>>,
    /// Only while there is something in it.
    busy: Option<Box<Busy>>,
    /// The last sign of life; wraps after 49 days.
    seen_ms: u32,
    /// The socket takes no more until the kernel says so.
    blocked: bool,
    /// It is among those that took no more.
    stalled: bool,
    state: SocketState,
}

/// What a socket is for.
enum Watching {
    /// Nothing, or nothing any more.
    Nothing,
    /// One task.
    One(Key),
    /// Many tasks.
    Many(Box<Many>),
    /// It gets back what it sends.
    Echo,
}

/// The tasks of one socket.
struct Many {
    viewers: HashMap<ThreadId, Key>,
    /// Those with something to be sent, in the order of their turns.
    pending: VecDeque<Key>,
    /// Those with a question, in the order of their turns.
    waiting: VecDeque<Key>,
    /// How many questions are under way,
    asking: u16,
    /// and how many may be: one where answers came that the socket had no room for.
    asking_max: u16,
    /// The viewer whose answer waits for the socket; there is one at a time.
    answered: Option<Key>,
    budget: read::Budget,
    charge: Charge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketState {
    Open,
    /// Our Close is sent or owed; the other side's has not come.
    Closing,
    /// Both sides have closed, or the other side cannot be understood: nothing it sends counts.
    Deaf,
}

/// A position in a topic's log, and the socket that it is for.
struct Viewer {
    socket: Key,
    topic: Key,
    /// Its place in the topic's roster.
    place: u32,
    phase: Phase,
    /// The desk has not said yet that there is such a thread, or it has not got its state yet.
    attaching: bool,
    /// It resumed and has not been told yet that it has everything.
    owes_caught_up: bool,
    /// As long as it has nothing, it is given whatever is retained.
    retained: bool,
    /// It is among its socket's pending or waiting viewers.
    pending: bool,
    /// It is counted as lagging.
    lagging: bool,
    /// It is among those whose position the tail has not reached.
    ahead: bool,
    position: Position,
    /// The epoch of its topic that the position is of.
    epoch: u32,
    /// How many of the topic's units it has, of those appended since it first had everything;
    /// until then none is counted, as who resumes is behind by nature.
    received: Option<NonZeroU64>,
    /// A state, or a part of the log, that was read for it.
    page: Option<Box<Page>>,
    /// Something was withheld from it, and whom else from.
    batch: Option<Batch>,
    /// What of that, or of an end, it is to be told once it has everything.
    derived: Option<Arc<Derived>>,
    /// The version of the state that it was given last; 0: none on this connection,
    version: Version,
    /// and then from where on it has what entries told.
    since: Option<Box<StreamId>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for its turn to ask the desk.
    Waiting,
    /// It waits for an answer of the desk,
    Asking,
    /// which may be long in coming: it keeps no other task of its socket from asking.
    Parked,
    /// It follows its topic.
    Following,
    /// It cannot have its task, and has not been told yet.
    Refused(Refusal),
}

/// What was read for a viewer.
struct Page {
    run: Run,
    /// Where it stands behind the page, if not where the page ends.
    then: Option<Position>,
    /// It is a state, of this epoch and version: with it the viewer begins anew.
    state: Option<(u32, Version)>,
    /// It cannot be read again.
    lasts: bool,
}

impl<T: Topic> Fanout<T> {
    /// Without viewers, at some time.
    pub fn new(settings: Settings, account: Account, now_ms: u64) -> Self {
        Self {
            clock: tick::Clock::new(&settings, now_ms),
            settings,
            leases: leases::Leases::new(&account),
            starved: account.starved(),
            memory_is_spent: false,
            account,
            now_ms,
            sockets: Slots::default(),
            viewers: Slots::default(),
            topics: Slots::default(),
            by_thread: HashMap::new(),
            passes: VecDeque::new(),
            delayed: VecDeque::new(),
            closing: Vec::new(),
            stalled: VecDeque::new(),
            resting: VecDeque::new(),
            ahead: VecDeque::new(),
            expiry: expiry::Expiry::default(),
            drain: None,
            effects: VecDeque::new(),
            run: Run::default(),
            replies: Replies::default(),
        }
    }

    /// Time has gone by. What is due is done by [`Fanout::tick`].
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// What is to be done next.
    pub fn next_effect(&mut self) -> Option<Effect<T>> {
        self.effects.pop_front()
    }

    /// Number of open sockets.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Number of viewers.
    pub fn viewers(&self) -> usize {
        self.viewers.len()
    }

    /// The topics that have viewers here.
    pub fn topics(&self) -> impl Iterator<Item = &T> {
        self.topics.keys().filter_map(|key| Some(&self.topics.get(key)?.topic))
    }

    /// How far the last of those who lag is behind, in milliseconds of its topic's entries.
    pub fn lag_ms_max(&self) -> u64 {
        let lag_ms = |key| {
            let viewer = self.viewers.get(key).filter(|viewer| viewer.lagging)?;
            let head = self.topics.get(viewer.topic)?.topic.with_log(|log| log.head())?;
            // Who has nothing yet has no time to be measured from.
            (viewer.position.id.ms > 0).then(|| head.ms.saturating_sub(viewer.position.id.ms))
        };
        self.viewers.keys().filter_map(lag_ms).max().unwrap_or(0)
    }

    fn wrapped_now_ms(&self) -> u32 {
        self.now_ms as u32
    }

    /// A lagging viewer is counted once, here and at its topic.
    fn set_lagging(&mut self, key: Key, lagging: bool, io: &mut impl Io<Topic = T>) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        if viewer.lagging == lagging {
            return;
        }
        viewer.lagging = lagging;
        if let Some(local) = self.topics.get(viewer.topic) {
            local.topic.count_lagging(lagging);
            io.count(if lagging { Count::Lagging } else { Count::NotLagging }, 1);
        }
    }
}

impl Socket {
    /// Whether it takes something new: a frame may begin.
    fn is_free(&self) -> bool {
        !self.blocked && self.busy.as_ref().is_none_or(|busy| busy.rest.is_none())
    }

    fn many(&mut self) -> Option<&mut Many> {
        match &mut self.watching {
            Watching::Many(many) => Some(many),
            _ => None,
        }
    }
}

/// Takes the first one out where it is so.
fn pop_if<V>(queue: &mut VecDeque<V>, is_so: impl FnOnce(&V) -> bool) -> Option<V> {
    if is_so(queue.front()?) { queue.pop_front() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_viewer_costs_at_most_its_sum() {
        let slot = size_of::<Key>();
        let sum = size_of::<Socket>() + slot + size_of::<Viewer>() + slot + size_of::<Key>();
        assert!(sum <= 200, "{sum} bytes");
    }
}
