//! How sockets become viewers, what the desk answers them, and how they leave.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::read::Budget;
use super::{
    Count, Effect, Fanout, Io, LocalTopic, Many, Page, Pass, Phase, Socket, SocketState, Topic,
    Viewer, Watching,
};
use crate::account::Kind;
use crate::chunk::Chunk;
use crate::encode;
use crate::gap::GapReason;
use crate::id::{StreamId, ThreadId};
use crate::position::{Position, Run};
use crate::roster::Roster;
use crate::slots::Key;

/// What a subscription takes: its viewer, its places in maps and queues, its question.
const SUBSCRIPTION_BYTES: usize = 512;

/// What a new socket is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// One task, from a position on if there is one; the id as it was given, where it is malformed.
    Task {
        /// The task.
        thread: Result<ThreadId, String>,
        /// The position.
        since: Option<StreamId>,
    },
    /// Many tasks.
    Tasks,
    /// It gets back what it sends.
    Echo,
}

/// What a viewer wants of the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wants {
    /// An `initial_state`.
    State,
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
        /// The epoch that its position is of.
        epoch: u32,
    },
    /// The viewer's position is honest, and these chunks come after it.
    After {
        /// The first one holds the position.
        chunks: Vec<Arc<Chunk>>,
        /// Behind the chunks it stands here; none where the topic's log, or the next page, goes on.
        then: Option<StreamId>,
        /// The epoch that its position is of.
        epoch: u32,
    },
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
    fn told(self) -> (u16, &'static str) {
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
            busy: None,
            seen_ms: self.wrapped_now_ms(),
            blocked: false,
            stalled: false,
            state: SocketState::Open,
        })
    }

    /// What a socket is for.
    pub fn begin(&mut self, key: Key, purpose: Purpose, io: &mut impl Io<Topic = T>) {
        let watching = match purpose {
            Purpose::Task { thread: Ok(thread), since } => {
                let topic = io.join(&thread);
                Watching::One(self.subscribe(key, topic, since, io))
            }
            Purpose::Task { thread: Err(given), .. } => {
                self.put(key, &encode::error("Invalid thread id", &given), io);
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
        since: Option<StreamId>,
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
        since: Option<StreamId>,
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
            position: Position::at(since.unwrap_or_default()),
            epoch: 0,
            received: None,
            page: None,
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
        let wants = if viewer.attaching && !viewer.owes_caught_up {
            Wants::State
        } else {
            Wants::After(viewer.position.id)
        };
        // Who asked for everything that is retained and has nothing yet may be given any stream.
        let has_nothing = viewer.owes_caught_up && viewer.position.id == StreamId::ZERO;
        self.effects.push_back(Effect::Ask {
            topic: local.topic.clone(),
            viewer: key,
            wants,
            attaching: viewer.attaching,
            epoch: (!viewer.attaching && !has_nothing).then_some(viewer.epoch),
        });
    }

    /// The desk's answer. For one the socket may have no room: of those, one waits with it, and the
    /// viewers of the others ask again when the socket is free.
    pub fn answered(&mut self, key: Key, answer: Answer, io: &mut impl Io<Topic = T>) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        if viewer.phase != Phase::Asking {
            return;
        }
        let socket_key = viewer.socket;
        let Some(socket) = self.sockets.get_mut(socket_key) else { return };
        viewer.phase = Phase::Following;
        let free = socket.is_free();
        let room = free || socket.many().is_some_and(|many| many.answered.is_none());
        let page = match answer {
            Answer::Refused(refusal) => {
                viewer.phase = Phase::Refused(refusal);
                None
            }
            Answer::State { chunk, epoch } => {
                // Without its state it has to ask for it again.
                viewer.phase =
                    if viewer.attaching && !room { Phase::Waiting } else { viewer.phase };
                Some(Page { run: Run::of_state(chunk), then: None, state: Some(epoch) })
            }
            Answer::After { chunks, then, epoch } => {
                viewer.epoch = epoch;
                viewer.attaching = false;
                let after = viewer.position.id;
                let run = Run::of_page(chunks, after);
                if run.is_none() {
                    viewer.position = Position::at(then.unwrap_or(after));
                }
                run.map(|run| Page { run, then, state: None })
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
            many.asking = many.asking.saturating_sub(1);
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

    /// A topic cannot be read any more, for a reason that does not pass by itself: its viewers are
    /// told so.
    pub fn failed(&mut self, topic: &T, io: &mut impl Io<Topic = T>) {
        let Some(&key) = self.by_thread.get(topic.thread()) else { return };
        let Some(local) = self.topics.get(key).filter(|local| local.topic.is(topic)) else {
            return;
        };
        for viewer in local.roster.keys().to_vec() {
            self.no_longer_asking(viewer);
            if let Some(viewer) = self.viewers.get_mut(viewer) {
                viewer.phase = Phase::Refused(Refusal::Refused);
                viewer.page = None;
            }
            self.push(viewer, io);
        }
    }

    /// Tells a viewer why it cannot have its task. A socket with one task is closed; on one with
    /// many the others go on.
    pub(super) fn tell_refusal(&mut self, key: Key, refusal: Refusal, io: &mut impl Io<Topic = T>) {
        let Some(viewer) = self.viewers.get(key) else { return };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        let (code, why) = refusal.told();
        let socket = viewer.socket;
        let thread = local.topic.thread().clone();
        let many =
            matches!(self.sockets.get(socket), Some(Socket { watching: Watching::Many(_), .. }));
        if many || refusal == Refusal::NotFound {
            self.put(socket, &encode::error(why, thread.as_str()), io);
        }
        if many {
            self.unsubscribe(socket, &thread, io);
        } else {
            self.close(socket, code, why, io);
        }
    }

    /// Ends one of the viewers of a socket with many.
    pub(super) fn unsubscribe(
        &mut self,
        socket: Key,
        thread: &ThreadId,
        io: &mut impl Io<Topic = T>,
    ) {
        let Some(many) = self.sockets.get_mut(socket).and_then(Socket::many) else { return };
        let Some(viewer) = many.viewers.remove(thread) else { return };
        many.charge.set(many.viewers.len() * SUBSCRIPTION_BYTES);
        if self.viewers.get(viewer).is_some_and(|viewer| viewer.pending) {
            many.pending.retain(|pending| *pending != viewer);
            many.waiting.retain(|waiting| *waiting != viewer);
        }
        self.remove_viewer(viewer, io);
        // It may have kept others from asking.
        self.go_on_many(socket, io);
    }

    /// Where a viewer waits for an answer, it waits no more.
    fn no_longer_asking(&mut self, key: Key) {
        let Some(viewer) = self.viewers.get(key) else { return };
        if viewer.phase != Phase::Asking {
            return;
        }
        if let Some(many) = self.sockets.get_mut(viewer.socket).and_then(Socket::many) {
            many.asking = many.asking.saturating_sub(1);
        }
        if let Some(local) = self.topics.get(viewer.topic) {
            self.effects.push_back(Effect::Withdraw {
                topic: local.topic.clone(),
                viewer: key,
                attaching: viewer.attaching,
            });
        }
    }

    /// Ends a viewer. Its topic goes with the last one.
    fn remove_viewer(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        self.set_lagging(key, false, io);
        self.no_longer_asking(key);
        let Some(viewer) = self.viewers.remove(key) else { return };
        io.count(Count::ViewerGone, 1);
        let Some(local) = self.topics.get_mut(viewer.topic) else { return };
        let viewers = &mut self.viewers;
        local.roster.leave(viewer.place as usize, |moved, place| {
            if let Some(moved) = viewers.get_mut(moved) {
                moved.place = place as u32;
            }
        });
        let topic = local.topic.clone();
        if local.roster.is_empty() {
            self.by_thread.remove(topic.thread());
            self.topics.remove(viewer.topic);
        }
        self.effects.push_back(Effect::Leave(topic));
    }

    /// Ends a socket at once, with all its viewers.
    pub fn drop_socket(&mut self, key: Key, code: u16, io: &mut impl Io<Topic = T>) {
        self.remove_viewers_of(key, io);
        if self.end(key, io) {
            io.count_close(code);
        }
    }

    /// Closes a socket without viewers. Whether there was one.
    pub(super) fn end(&mut self, key: Key, io: &mut impl Io<Topic = T>) -> bool {
        let there = self.sockets.remove(key).is_some();
        if there {
            io.count(Count::SocketGone, 1);
            self.effects.push_back(Effect::End(key));
        }
        there
    }

    pub(super) fn remove_viewers_of(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        match std::mem::replace(&mut socket.watching, Watching::Nothing) {
            Watching::One(viewer) => self.remove_viewer(viewer, io),
            Watching::Many(many) => {
                many.viewers.into_values().for_each(|viewer| self.remove_viewer(viewer, io));
            }
            Watching::Nothing | Watching::Echo => {}
        }
    }
}
