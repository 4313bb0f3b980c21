//! How sockets become viewers, and what the desk answers them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;
use std::sync::Arc;

use super::read::Budget;
use super::{
    Admission, Batch, Count, Derived, Effect, Fanout, Io, LocalTopic, Many, Page, Pass, Phase,
    Socket, SocketState, Topic, Viewer, Watching,
};
use crate::account::Kind;
use crate::chunk::Chunk;
use crate::encode;
use crate::gap::GapReason;
use crate::id::{StreamId, ThreadId};
use crate::position::{Position, Run};
use crate::present::Version;
use crate::roster::Roster;
use crate::since::Since;
use crate::slots::Key;

/// What a subscription takes: its viewer, its places in maps and queues, its question.
pub(super) const SUBSCRIPTION_BYTES: usize = 512;

/// What a new socket is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// One task, from a position on if there is one.
    Task {
        /// The task.
        thread: Result<ThreadId, Malformed>,
        /// The position.
        since: Option<Since>,
    },
    /// Many tasks.
    Tasks,
    /// It gets back what it sends.
    Echo,
}

/// A task's id that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// As it was given.
    pub id: String,
    /// The name of its source, where that is not the agent's.
    pub source: Option<String>,
}

/// What a viewer wants of the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// An `initial_state`.
    State,
    /// Whatever is retained.
    Retained,
    /// What comes after a position.
    After(StreamId),
    /// A `gap`, and an `initial_state` behind it.
    Gap {
        /// The position that cannot be honoured.
        requested: StreamId,
        /// Why.
        reason: GapReason,
    },
}

/// What a viewer gets of the desk.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A state, perhaps behind a gap: one unit, behind which the viewer stands.
    State {
        /// The frames.
        chunk: Arc<Chunk>,
        /// Behind them it stands here, if not just at their position.
        then: Option<Position>,
        /// The epoch that its position is of.
        epoch: u32,
        /// Who else was given it, where something was withheld.
        batch: Option<Batch>,
        /// The state's version.
        version: Version,
    },
    /// The viewer's position is honest, and these chunks come after it.
    After {
        /// The first one holds the position.
        chunks: Vec<Arc<Chunk>>,
        /// Behind the chunks it stands here, and where that is the end of the topic's log, nothing is
        /// behind it; none where the topic's log, or the next page, goes on.
        then: Option<Position>,
        /// The epoch that its position is of.
        epoch: u32,
        /// Who is still to be told something by and by: it may have been withheld from this viewer
        /// on a connection before.
        batch: Option<Batch>,
        /// What it is told once it has everything: that its task ended before its position.
        derived: Option<Arc<Derived>>,
    },
    /// Its task is not there yet. The desk answers once it is, or when that took too long.
    NotYet,
    /// It cannot have its task.
    Refused(Refusal),
}

/// Why a viewer cannot have its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such thread.
    NotFound,
    /// Redis refuses, for a reason that does not pass by itself.
    Refused,
    /// Redis was out of reach for too long.
    Unavailable,
}

impl Refusal {
    /// Close code and text.
    pub(super) fn told(self) -> (u16, &'static str) {
        match self {
            Self::NotFound => (4004, "Thread not found"),
            Self::Refused => (1011, "Redis refuses, see the server's log"),
            Self::Unavailable => (1013, "Redis is out of reach, try again later"),
        }
    }
}

impl<T: Topic> Fanout<T> {
    /// A socket came. What it is for is begun by [`Fanout::begin`], once it can be sent to.
    pub fn connect(&mut self, io: &mut impl Io<Topic = T>) -> Key {
        io.count(Count::Socket, 1);
        self.sockets.insert(Socket {
            watching: Watching::Nothing,
            admitted: None,
            busy: None,
            seen_ms: self.wrapped_now_ms(),
            blocked: false,
            stalled: false,
            state: SocketState::Open,
        })
    }

    /// What a socket is for, and whom it is of.
    pub fn begin(
        &mut self,
        key: Key,
        purpose: Purpose,
        admission: Admission,
        io: &mut impl Io<Topic = T>,
    ) {
        self.admit(key, purpose, admission, io);
    }

    /// Begins what a socket is for.
    pub(super) fn start(&mut self, key: Key, purpose: Purpose, io: &mut impl Io<Topic = T>) {
        let watching = match purpose {
            Purpose::Task { thread: Ok(thread), since } => {
                let topic = io.join(&thread);
                Watching::One(self.subscribe(key, topic, since, io))
            }
            Purpose::Task { thread: Err(given), .. } => {
                let Malformed { id, source } = given;
                let frame = encode::error("Invalid thread id", &id, source.as_deref());
                self.put(key, &frame, io);
                return self.close(key, 4004, "Invalid thread id", io);
            }
            Purpose::Tasks => Watching::Many(Box::new(Many {
                viewers: HashMap::new(),
                pending: VecDeque::new(),
                waiting: VecDeque::new(),
                asking: 0,
                asking_max: self.settings.socket_questions_max,
                answered: None,
                budget: Budget::full(&self.settings, self.now_ms),
                charge: self.account.charge(Kind::Subscriptions, 0),
            })),
            Purpose::Echo => Watching::Echo,
        };
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.watching = watching;
        }
        if let Some(Socket { watching: Watching::One(viewer), .. }) = self.sockets.get(key) {
            self.push(*viewer, io);
        }
    }

    /// One more task of a socket with many, which has none of this thread yet.
    pub(super) fn subscribe_one_of_many(
        &mut self,
        key: Key,
        thread: ThreadId,
        since: Option<Since>,
        io: &mut impl Io<Topic = T>,
    ) {
        let topic = io.join(&thread);
        let viewer = self.subscribe(key, topic, since, io);
        if let Some(many) = self.sockets.get_mut(key).and_then(Socket::many) {
            many.viewers.insert(thread, viewer);
            many.charge.set(many.viewers.len() * SUBSCRIPTION_BYTES);
        }
        self.push(viewer, io);
    }

    /// One more viewer on a socket, which has a question.
    fn subscribe(
        &mut self,
        socket: Key,
        topic: T,
        since: Option<Since>,
        io: &mut impl Io<Topic = T>,
    ) -> Key {
        let local = match self.by_thread.entry(topic.thread().clone()) {
            Entry::Occupied(known) => {
                let key = *known.get();
                if let Some(local) = self.topics.get_mut(key) {
                    // The same thread may have got a new topic after it was forgotten.
                    local.topic = topic;
                }
                key
            }
            Entry::Vacant(vacant) => {
                // What was told before the topic was let go here last time is forgotten.
                topic.listen();
                let (roster, pass) = (Roster::default(), Pass::None);
                *vacant.insert(self.topics.insert(LocalTopic { topic, roster, pass }))
            }
        };
        let viewer = self.viewers.insert(Viewer {
            socket,
            topic: local,
            place: 0,
            phase: Phase::Waiting,
            attaching: true,
            owes_caught_up: since.is_some(),
            pending: false,
            lagging: false,
            ahead: false,
            retained: since == Some(Since::Retained),
            position: Position::at(since.map(Since::position).unwrap_or_default()),
            epoch: 0,
            received: None,
            page: None,
            batch: None,
            derived: None,
            version: 0,
            since: since.map(|since| Box::new(since.position())),
        });
        if let (Some(local), Some(joined)) =
            (self.topics.get_mut(local), self.viewers.get_mut(viewer))
        {
            joined.place = local.roster.join(viewer) as u32;
        }
        io.count(Count::Viewer, 1);
        viewer
    }

    /// A viewer asks the desk, or waits until fewer questions of its socket are under way.
    pub(super) fn ask(&mut self, key: Key) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        viewer.phase = Phase::Waiting;
        if let Some(many) = self.sockets.get_mut(viewer.socket).and_then(Socket::many) {
            if many.asking >= many.asking_max {
                if !std::mem::replace(&mut viewer.pending, true) {
                    many.waiting.push_back(key);
                }
                return;
            }
            many.asking += 1;
        }
        viewer.phase = Phase::Asking;
        // Who comes with a position and has nothing yet may be given any stream.
        let has_nothing = viewer.owes_caught_up && viewer.position.id == StreamId::ZERO;
        let wants = if viewer.attaching && !viewer.owes_caught_up {
            Wants::State
        } else if viewer.retained && has_nothing {
            Wants::Retained
        } else {
            Wants::After(viewer.position.id)
        };
        self.effects.push_back(Effect::Ask {
            topic: local.topic.clone(),
            viewer: key,
            wants,
            attaching: viewer.attaching,
            epoch: (!viewer.attaching && !has_nothing).then_some(viewer.epoch),
            received: viewer.received.map(NonZeroU64::get),
        });
    }

    /// The desk's answer. For one the socket may have no room: of those, one waits with it, and the
    /// viewers of the others ask again when the socket is free.
    pub fn answered(&mut self, key: Key, answer: Answer, io: &mut impl Io<Topic = T>) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        let asked = viewer.phase == Phase::Asking;
        if !asked && viewer.phase != Phase::Parked {
            return;
        }
        let socket_key = viewer.socket;
        let Some(socket) = self.sockets.get_mut(socket_key) else { return };
        if matches!(answer, Answer::NotYet) {
            viewer.phase = Phase::Parked;
            if let Some(many) = socket.many().filter(|_| asked) {
                many.asking = many.asking.saturating_sub(1);
            }
            return self.go_on_many(socket_key, io);
        }
        viewer.phase = Phase::Following;
        let free = socket.is_free();
        let room = free || socket.many().is_some_and(|many| many.answered.is_none());
        let page = match answer {
            // Done above.
            Answer::NotYet => None,
            Answer::Refused(refusal) => {
                viewer.phase = Phase::Refused(refusal);
                None
            }
            Answer::State { chunk, then, epoch, batch, version } => {
                // Without its state it has to ask for it again.
                viewer.phase =
                    if viewer.attaching && !room { Phase::Waiting } else { viewer.phase };
                (viewer.batch, viewer.derived) = (batch, None);
                let run = Run::of_state(chunk);
                Some(Page { run, then, state: Some((epoch, version)), lasts: false })
            }
            Answer::After { chunks, then, epoch, batch, derived } => {
                if std::mem::take(&mut viewer.attaching) {
                    (viewer.batch, viewer.derived) = (batch, derived);
                }
                viewer.epoch = epoch;
                let after = viewer.position.id;
                let run = Run::of_page(chunks, after);
                if run.is_none() {
                    viewer.position = then.unwrap_or(Position::at(after));
                }
                run.map(|run| Page { run, then, state: None, lasts: false })
            }
        };
        let let_go = page.is_some() && !room;
        let page = page.filter(|_| room);
        let waits = page.is_some() && !free;
        if let Some(page) = page {
            viewer.position = Position::at_place(viewer.position.id, page.run.place());
            viewer.page = Some(Box::new(page));
        }
        if let Some(many) = socket.many() {
            many.asking = many.asking.saturating_sub(u16::from(asked));
            let more = (many.asking_max * 2).min(self.settings.socket_questions_max);
            many.asking_max = if let_go { 1 } else { more };
            if waits {
                many.answered = Some(key);
                viewer.pending = true;
                many.pending.push_front(key);
            }
        }
        self.push(key, io);
        self.go_on_many(socket_key, io);
    }
}
