//! A worker: one thread with its viewers, its topics and the tail of the streams that it owns.
//!
//! Everything that happens to viewers happens in [`Worker`], on the worker's own thread; no lock is
//! taken for it and nothing in it waits. The tasks around it are listed in [`thread`].

mod attach;
mod close;
pub(crate) mod desk;
mod flush;
mod heartbeat;
mod lag;
pub(crate) mod lane;
mod outbox;
mod read;
pub(crate) mod shared;
mod tail;
pub(crate) mod thread;
pub(crate) mod topic;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::core::inbound::Decoder;
use crate::core::position::{Outbox, Position, Run};
use crate::core::roster::Roster;
use crate::core::slots::{Key, Slots};
use crate::id::ThreadId;
use crate::metrics::WorkerMetrics;
use crate::sys::send::Sender;
pub(crate) use attach::Purpose;
use shared::{Message, Shared};
use topic::Topic;

/// Bytes that are read from a socket at a time, into a buffer that all sockets share.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Socket events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// The viewers of one thread.
///
/// What an idle viewer costs, in bytes: a [`Socket`] and its slot, a [`Viewer`] and its slot, a
/// place in its topic's roster. A test holds the sum to its bound.
pub(crate) struct Worker {
    number: usize,
    shared: Arc<Shared>,
    poll: Poll,
    events: Option<Events>,
    sockets: Slots<Socket>,
    viewers: Slots<Viewer>,
    topics: Slots<LocalTopic>,
    by_thread: HashMap<ThreadId, Key>,
    /// Topics with a pass to be made, in the order in which their turns come.
    passes: VecDeque<Key>,
    /// With `flush_interval_ms`: topics whose pass begins at that time.
    delayed: VecDeque<(Instant, Key)>,
    /// Sockets that have more to read than was read at a time.
    unread: VecDeque<Key>,
    /// Sockets that wait for the other side's Close, and until when.
    closing: Vec<(Instant, Key)>,
    /// Sockets that took no more, and when; those that still do not give their page back.
    stalled: VecDeque<(Instant, Key)>,
    /// Viewers whose position the tail has not reached, and when they asked.
    ahead: VecDeque<(Instant, Key)>,
    heartbeat: heartbeat::Heartbeat,
    lag: lag::LagWatch,
    drain: Option<close::Drain>,
    sender: Sender,
    run: Run,
    buffer: Box<[u8]>,
    started: Instant,
}

/// A topic's viewers on this worker.
struct LocalTopic {
    topic: Arc<Topic>,
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

/// A WebSocket connection.
struct Socket {
    stream: TcpStream,
    watching: Watching,
    outbox: Option<Box<Outbox>>,
    /// Only while a message is incomplete.
    decoder: Option<Box<Decoder>>,
    /// The last sign of life, in milliseconds of the worker's clock; wraps after 49 days.
    seen_ms: u32,
    /// The socket takes no more until the kernel says so.
    blocked: bool,
    /// It was not read to the end, because its outbox is full.
    read_paused: bool,
    state: SocketState,
}

/// What a socket is for.
enum Watching {
    /// Nothing, or nothing any more.
    Nothing,
    /// One task: `/api/v1/ws/tasks/{thread_id}`.
    One(Key),
    /// Many tasks: `/api/v1/ws`.
    Many(Box<Many>),
    /// `/api/v1/ws/echo`.
    Echo,
}

/// The tasks of one socket.
#[derive(Default)]
struct Many {
    viewers: HashMap<ThreadId, Key>,
    /// Those with something to send, in the order of their turns.
    pending: VecDeque<Key>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketState {
    Open,
    /// Our Close is sent or in the outbox; the other side's has not come.
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
    /// It resumed and has not been told yet that it has everything.
    owes_caught_up: bool,
    /// It is among its socket's pending viewers.
    pending: bool,
    /// It is counted as lagging.
    lagging: bool,
    position: Position,
    /// The epoch of its topic that the position is of.
    epoch: u32,
    /// How many of the topic's units it has, of those appended since it first had everything;
    /// until then none is counted, as who resumes is behind by nature.
    received: Option<u64>,
    /// A part of the log that was read for it.
    page: Option<Box<Run>>,
    /// Where it stands once that part is sent, if not where the part ends.
    then: Option<crate::id::StreamId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It waits for an answer of the desk.
    Asking,
    /// It follows its topic.
    Following,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        let limits = &shared.config.limits;
        Ok(Self {
            number,
            poll: Poll::new()?,
            events: Some(Events::with_capacity(EVENTS_MAX)),
            sockets: Slots::default(),
            viewers: Slots::default(),
            topics: Slots::default(),
            by_thread: HashMap::new(),
            passes: VecDeque::new(),
            delayed: VecDeque::new(),
            unread: VecDeque::new(),
            closing: Vec::new(),
            stalled: VecDeque::new(),
            ahead: VecDeque::new(),
            heartbeat: heartbeat::Heartbeat::new(limits.ping_interval(), limits.viewer_timeout()),
            lag: lag::LagWatch::new(),
            drain: None,
            sender: Sender::new(shared.config.io_uring)?,
            run: Run::default(),
            buffer: vec![0; READ_BUFFER_BYTES].into(),
            started: Instant::now(),
            shared,
        })
    }

    /// The kernel's queue of socket events, to wait for.
    pub(crate) fn poll(&self) -> &Poll {
        &self.poll
    }

    /// How it sends to many sockets.
    pub(crate) fn sends_by(&self) -> &'static str {
        self.sender.name()
    }

    /// Does what there is to do, up to a slice of each kind of work. Whether there is more.
    pub(crate) fn turn(&mut self) -> bool {
        self.take_messages();
        self.take_time();
        self.read_some();
        self.flush_some();
        !self.passes.is_empty() || !self.unread.is_empty()
    }

    /// When something has to be done at the latest.
    pub(crate) fn next_deadline(&self) -> Instant {
        let mut next = self.heartbeat.next_tick();
        if let Some((due, _)) = self.delayed.front() {
            next = next.min(*due);
        }
        if let Some(drain) = &self.drain {
            next = next.min(drain.next_step());
        }
        next
    }

    /// Number of open sockets.
    pub(crate) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn metrics(&self) -> &WorkerMetrics {
        &self.shared.metrics.workers[self.number]
    }

    fn now_ms(&self) -> u32 {
        self.started.elapsed().as_millis() as u32
    }

    /// Takes what the kernel tells of the sockets.
    pub(crate) fn take_events(&mut self) {
        let Some(mut events) = self.events.take() else { return };
        loop {
            if let Err(error) = self.poll.poll(&mut events, Some(Duration::ZERO)) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                tracing::error!(worker = self.number, %error, "poll_failed");
                break;
            }
            let mut number = 0;
            for event in &events {
                number += 1;
                let key = Key::from_bits(event.token().0 as u64);
                if event.is_writable() {
                    self.writable(key);
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(key);
                }
            }
            if number < EVENTS_MAX {
                break;
            }
        }
        self.events = Some(events);
    }

    fn take_messages(&mut self) {
        for message in self.shared.clone().inboxes[self.number].take() {
            match message {
                Message::New(topic) => self.topic_has_news(&topic),
                Message::Answer(viewer, answer) => self.answered(viewer, answer),
            }
        }
    }

    fn take_time(&mut self) {
        let now = Instant::now();
        while let Some((due, _)) = self.delayed.front()
            && *due <= now
        {
            if let Some((_, key)) = self.delayed.pop_front() {
                self.passes.push_back(key);
            }
        }
        if self.heartbeat.next_tick() <= now {
            self.beat(now);
            self.close_overdue(now);
            self.release_stalled(now);
            self.measure_lag(now);
            self.ask_again_for_those_ahead(now);
        }
        self.drain_some(now);
    }

    /// A lagging viewer is counted once, here and at its topic.
    fn set_lagging(&mut self, key: Key, lagging: bool) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        if viewer.lagging == lagging {
            return;
        }
        viewer.lagging = lagging;
        let Some(local) = self.topics.get(viewer.topic) else { return };
        let metrics = &self.shared.metrics.workers[self.number];
        if lagging {
            local.topic.lagging.fetch_add(1, Relaxed);
            crate::metrics::add(&metrics.lagging, 1);
        } else {
            local.topic.lagging.fetch_sub(1, Relaxed);
            crate::metrics::subtract(&metrics.lagging, 1);
        }
    }
}

/// The log of a topic, for a moment.
fn with_log<T>(topic: &Topic, look: impl FnOnce(&crate::core::topic::TopicLog) -> T) -> Option<T> {
    let recent: &Mutex<topic::Recent> = &topic.recent;
    recent.lock().log.as_ref().map(look)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::slots;

    #[test]
    fn an_idle_viewer_costs_at_most_its_sum() {
        let slot = size_of::<slots::Key>();
        let sum = size_of::<Socket>() + slot + size_of::<Viewer>() + slot + size_of::<Key>();
        assert!(sum <= 256, "{sum} bytes");
    }
}
