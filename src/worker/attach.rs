//! Attach: how sockets become viewers, what the desk answers them, and how they leave.

use std::collections::hash_map::Entry;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mio::net::TcpStream;
use mio::{Interest, Token};
use tokio::time::Instant;

use super::{LocalTopic, Many, Pass, Phase, Socket, SocketState, Viewer, Watching, Worker};
use crate::core::encode;
use crate::core::position::{Position, Run};
use crate::core::roster::Roster;
use crate::core::slots::Key;
use crate::id::{StreamId, ThreadId};
use crate::metrics::{add, subtract};
use crate::sys::send::Target;
use crate::worker::desk::{self, Answer, Waiter, Wants};

/// What a new socket is for.
pub(crate) enum Purpose {
    /// `/api/v1/ws/tasks/{thread_id}[?since=…]`; the id as it was given, where it is malformed.
    Task { thread: Result<ThreadId, String>, since: Option<StreamId> },
    /// `/api/v1/ws`
    Tasks,
    /// `/api/v1/ws/echo`
    Echo,
}

/// A lagging viewer's question has no deadline: it waits for Redis as long as it takes.
const NO_DEADLINE_DAYS: u64 = 365;

impl Worker {
    /// Takes a socket over after its handshake, with what came along with the handshake.
    pub(crate) fn adopt(
        &mut self,
        stream: std::net::TcpStream,
        mut early: Vec<u8>,
        purpose: Purpose,
    ) -> io::Result<()> {
        let key = self.sockets.insert(Socket {
            stream: TcpStream::from_std(stream),
            watching: match purpose {
                Purpose::Task { .. } => Watching::Nothing,
                Purpose::Tasks => Watching::Many(Box::default()),
                Purpose::Echo => Watching::Echo,
            },
            outbox: None,
            decoder: None,
            seen_ms: self.now_ms(),
            blocked: false,
            read_paused: false,
            state: SocketState::Open,
        });
        add(&self.metrics().sockets, 1);
        if let Some(socket) = self.sockets.get_mut(key) {
            let token = Token(key.to_bits() as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.sender
                .register(Target { slot: key.index() as u32, socket: socket.stream.as_fd() });
            if let Err(error) = self.poll.registry().register(&mut socket.stream, token, interest) {
                self.drop_socket(key, 1006);
                return Err(error);
            }
        }
        match purpose {
            Purpose::Task { thread: Ok(thread), since } => {
                let viewer = self.subscribe(key, &thread, since);
                if let Some(socket) = self.sockets.get_mut(key) {
                    socket.watching = Watching::One(viewer);
                }
            }
            Purpose::Task { thread: Err(given), .. } => {
                self.send_frames(key, encode::error("Invalid thread id", &given), 1);
                self.close(key, 4004, "Invalid thread id");
            }
            Purpose::Tasks | Purpose::Echo => {}
        }
        if !early.is_empty() {
            self.take_input(key, &mut early);
        }
        Ok(())
    }

    /// One more viewer on a socket. It waits for the desk's first answer.
    pub(super) fn subscribe(
        &mut self,
        socket: Key,
        thread: &ThreadId,
        since: Option<StreamId>,
    ) -> Key {
        let topic = self.shared.topics.join(thread, self.number);
        let local = match self.by_thread.entry(thread.clone()) {
            Entry::Occupied(known) => {
                let key = *known.get();
                if let Some(local) = self.topics.get_mut(key) {
                    // The same thread may have got a new topic after it was forgotten.
                    local.topic = topic.clone();
                }
                key
            }
            Entry::Vacant(vacant) => {
                // What this worker was told before it let the topic go last time is forgotten.
                topic.on_worker[self.number].told.store(false, Relaxed);
                *vacant.insert(self.topics.insert(LocalTopic {
                    topic: topic.clone(),
                    roster: Roster::default(),
                    pass: Pass::None,
                }))
            }
        };
        let viewer = self.viewers.insert(Viewer {
            socket,
            topic: local,
            place: 0,
            phase: Phase::Asking,
            owes_caught_up: since.is_some(),
            pending: false,
            lagging: false,
            position: Position::at(since.unwrap_or_default()),
            epoch: 0,
            received: None,
            page: None,
            then: None,
        });
        if let (Some(local), Some(joined)) =
            (self.topics.get_mut(local), self.viewers.get_mut(viewer))
        {
            joined.place = local.roster.join(viewer) as u32;
        }
        add(&self.metrics().viewers, 1);
        add(&self.metrics().attaches, 1);
        self.ask(viewer, since.map_or(Wants::State, Wants::After), true);
        viewer
    }

    /// Puts a viewer in the queue at its topic's desk.
    pub(super) fn ask(&mut self, key: Key, wants: Wants, attaching: bool) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        viewer.phase = Phase::Asking;
        let patience = if attaching {
            self.shared.config.limits.attach_timeout()
        } else {
            std::time::Duration::from_secs(NO_DEADLINE_DAYS * 86_400)
        };
        let waiter = Waiter {
            worker: self.number,
            viewer: key,
            wants,
            attaching,
            epoch: (!attaching).then_some(viewer.epoch),
            needs_page: false,
            needs_state: false,
            deadline: Instant::now() + patience,
        };
        desk::wait(&self.shared, &local.topic, waiter);
    }

    /// The desk's answer.
    pub(super) fn answered(&mut self, key: Key, answer: Answer) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        let socket = viewer.socket;
        viewer.phase = Phase::Following;
        match answer {
            Answer::NotFound => self.refuse(key, 4004, "Thread not found"),
            Answer::Refused => self.refuse(key, 1011, "Redis refuses, see the server's log"),
            Answer::Unavailable => self.refuse(key, 1013, "Redis is out of reach, try again later"),
            Answer::State { frames, position, epoch } => {
                viewer.position = Position::at(position);
                viewer.epoch = epoch;
                viewer.owes_caught_up = false;
                self.send_frames(socket, frames, 1);
                self.push(key);
            }
            Answer::After { chunks, then, epoch } => {
                viewer.epoch = epoch;
                let after = viewer.position.id;
                match Run::of_page(chunks, after) {
                    Some(page) => {
                        viewer.position = Position::at_place(after, page.place());
                        viewer.page = Some(Box::new(page));
                        viewer.then = then;
                    }
                    None => viewer.position = Position::at(then.unwrap_or(after)),
                }
                self.push(key);
            }
        }
    }

    /// Tells a viewer why it cannot have its task. A socket with one task is closed; on one with
    /// many the others go on.
    fn refuse(&mut self, key: Key, code: u16, why: &str) {
        let Some(viewer) = self.viewers.get(key) else { return };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        let socket = viewer.socket;
        let thread = local.topic.thread.clone();
        let many =
            matches!(self.sockets.get(socket), Some(Socket { watching: Watching::Many(_), .. }));
        if many || code == 4004 {
            self.send_frames(socket, encode::error(why, thread.as_str()), 1);
        }
        if many {
            self.unsubscribe(socket, &thread);
        } else {
            self.close(socket, code, why);
        }
    }

    /// Ends one of the viewers of a socket with many. Whether there was one.
    pub(super) fn unsubscribe(&mut self, socket: Key, thread: &ThreadId) -> bool {
        let Some(many) = self.many(socket) else { return false };
        let Some(viewer) = many.viewers.remove(thread) else { return false };
        many.pending.retain(|pending| *pending != viewer);
        self.remove_viewer(viewer);
        true
    }

    pub(super) fn many(&mut self, socket: Key) -> Option<&mut Many> {
        match &mut self.sockets.get_mut(socket)?.watching {
            Watching::Many(many) => Some(many),
            _ => None,
        }
    }

    /// Ends a viewer. Its topic goes with the last one.
    pub(super) fn remove_viewer(&mut self, key: Key) {
        self.set_lagging(key, false);
        let Some(viewer) = self.viewers.remove(key) else { return };
        subtract(&self.metrics().viewers, 1);
        let Some(local) = self.topics.get_mut(viewer.topic) else { return };
        let viewers = &mut self.viewers;
        local.roster.leave(viewer.place as usize, |moved, place| {
            if let Some(moved) = viewers.get_mut(moved) {
                moved.place = place as u32;
            }
        });
        let topic = Arc::clone(&local.topic);
        if local.roster.is_empty() {
            self.by_thread.remove(&topic.thread);
            self.topics.remove(viewer.topic);
        }
        self.shared.topics.leave(&topic, self.number, self.shared.now_ms());
    }

    /// Ends a socket at once, with all its viewers.
    pub(super) fn drop_socket(&mut self, key: Key, code: u16) {
        self.remove_viewers_of(key);
        if self.end(key) {
            self.metrics().count_close(code);
        }
    }

    /// Closes a socket without viewers. Whether there was one.
    pub(super) fn end(&mut self, key: Key) -> bool {
        let Some(mut socket) = self.sockets.remove(key) else { return false };
        subtract(&self.metrics().sockets, 1);
        self.sender.forget(key.index() as u32);
        // An error leaves nothing to be done: the socket is closed with the value.
        _ = self.poll.registry().deregister(&mut socket.stream);
        true
    }

    pub(super) fn remove_viewers_of(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        match std::mem::replace(&mut socket.watching, Watching::Nothing) {
            Watching::One(viewer) => self.remove_viewer(viewer),
            Watching::Many(many) => {
                many.viewers.into_values().for_each(|viewer| self.remove_viewer(viewer));
            }
            Watching::Nothing | Watching::Echo => {}
        }
    }
}
