//! A worker without sockets, clock or locks: the core driven exactly as `src/worker/flush.rs` and
//! `src/worker/attach.rs` drive it, with small limits, so that their edges are met often.

use std::collections::VecDeque;

use bytes::Bytes;
use taskcast::core::form::ws as frame;
use taskcast::core::form::ws::Opcode;
use taskcast::core::position::{Outbox, Position, Run};
use taskcast::core::roster::Roster;
use taskcast::core::slots::{Key, Slots};
use taskcast::core::topic::TopicLog;
use taskcast::id::StreamId;

use crate::client::Client;
use crate::desk::Answer;
use crate::stream::Stream;

const VIEWERS_PER_SLICE: usize = 3;
const SLICES_PER_SEND_MAX: usize = 3;

pub(crate) struct Topic {
    pub(crate) log: TopicLog,
    pub(crate) roster: Roster,
    pass: Option<Again>,
}

/// Whether another pass follows the one that is under way.
type Again = bool;

pub(crate) struct Socket {
    pub(crate) client: Client,
    pub(crate) viewers: Vec<Key>,
    pending: VecDeque<Key>,
    outbox: Option<Box<Outbox>>,
    pub(crate) blocked: bool,
}

pub(crate) struct Viewer {
    pub(crate) socket: Key,
    pub(crate) topic: usize,
    place: usize,
    asking: bool,
    owes_caught_up: bool,
    pending: bool,
    position: Position,
    page: Option<Box<Run>>,
    then: Option<StreamId>,
}

/// What a viewer asks the desk for: a state, or what comes after a position.
pub(crate) type Wants = Option<StreamId>;

#[derive(Default)]
pub(crate) struct Worker {
    pub(crate) streams: Vec<Stream>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) sockets: Slots<Socket>,
    pub(crate) viewers: Slots<Viewer>,
    pub(crate) asks: VecDeque<(Key, Wants)>,
    /// Those whose position the tail has not reached.
    ahead: VecDeque<Key>,
    run: Run,
}

impl Worker {
    pub(crate) fn add_stream(&mut self) {
        let stream = Stream::new(self.streams.len());
        let log = TopicLog::new(stream.last);
        self.topics.push(Topic { log, roster: Roster::default(), pass: None });
        self.streams.push(stream);
    }

    pub(crate) fn connect(&mut self, room: usize, whole_frames: bool) -> Key {
        self.sockets.insert(Socket {
            client: Client::new(room, whole_frames),
            viewers: Vec::new(),
            pending: VecDeque::new(),
            outbox: None,
            blocked: false,
        })
    }

    pub(crate) fn subscribe(&mut self, key: Key, topic: usize, since: Option<StreamId>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if !socket.client.subscribe(topic, since) {
            return;
        }
        let viewer = self.viewers.insert(Viewer {
            socket: key,
            topic,
            place: 0,
            asking: true,
            owes_caught_up: since.is_some(),
            pending: false,
            position: Position::at(since.unwrap_or_default()),
            page: None,
            then: None,
        });
        socket.viewers.push(viewer);
        self.viewers.get_mut(viewer).unwrap().place = self.topics[topic].roster.join(viewer);
        self.asks.push_back((viewer, since));
    }

    pub(crate) fn remove_viewer(&mut self, key: Key) {
        let Some(viewer) = self.viewers.remove(key) else { return };
        let viewers = &mut self.viewers;
        self.topics[viewer.topic].roster.leave(viewer.place, |moved, place| {
            viewers.get_mut(moved).unwrap().place = place;
        });
        if let Some(socket) = self.sockets.get_mut(viewer.socket) {
            socket.viewers.retain(|viewer| *viewer != key);
            socket.pending.retain(|viewer| *viewer != key);
        }
    }

    pub(crate) fn drop_socket(&mut self, key: Key) {
        let viewers = self.sockets.get(key).map(|socket| socket.viewers.clone());
        viewers.into_iter().flatten().for_each(|viewer| self.remove_viewer(viewer));
        self.sockets.remove(key);
    }

    pub(crate) fn topic_has_news(&mut self, topic: usize) {
        let topic = &mut self.topics[topic];
        match &mut topic.pass {
            Some(again) => *again = true,
            None => {
                topic.pass = Some(false);
                topic.roster.begin_pass();
            }
        }
    }

    /// One slice of a pass. Whether there was one.
    pub(crate) fn flush_slice(&mut self, number: usize) -> bool {
        if self.topics[number].pass.is_none() {
            return false;
        }
        let visited = self.topics[number].roster.next_slice(VIEWERS_PER_SLICE).to_vec();
        let mut ready = Vec::new();
        for viewer in visited {
            match self.place_to_send_from(viewer) {
                Some(position) => ready.push((viewer, position)),
                None => self.push(viewer),
            }
        }
        while let Some(&(_, position)) = ready.first() {
            let (group, others) = ready.into_iter().partition(|(_, at)| *at == position);
            ready = others;
            self.send_group(number, position, group);
        }
        let topic = &mut self.topics[number];
        if topic.roster.pass_is_over() {
            topic.pass = topic.pass.filter(|again| *again).map(|_| false);
            topic.roster.begin_pass();
        }
        true
    }

    fn place_to_send_from(&self, key: Key) -> Option<Position> {
        let viewer = self.viewers.get(key)?;
        if viewer.asking || viewer.page.is_some() || viewer.owes_caught_up {
            return None;
        }
        let socket = self.sockets.get(viewer.socket)?;
        viewer.position.place()?;
        (!socket.blocked && socket.outbox.is_none()).then_some(viewer.position)
    }

    fn send_group(&mut self, topic: usize, at: Position, group: Vec<(Key, Position)>) {
        let mut run = std::mem::take(&mut self.run);
        let held = run.gather(&self.topics[topic].log, at);
        let mut unfinished = Vec::new();
        if !held {
            unfinished.extend(group.into_iter().map(|(viewer, _)| viewer));
        } else if !run.is_empty() {
            for (viewer, _) in group {
                if !self.send(viewer, &run) {
                    unfinished.push(viewer);
                }
            }
        }
        self.run = run;
        unfinished.into_iter().for_each(|viewer| self.push(viewer));
    }

    /// Sends a run to a viewer that stands at its start. False where it lacks something still.
    fn send(&mut self, key: Key, run: &Run) -> bool {
        let viewer = self.viewers.get_mut(key).unwrap();
        let socket = self.sockets.get_mut(viewer.socket).unwrap();
        let sent = socket.client.send(&run.slices(SLICES_PER_SEND_MAX)).unwrap_or(0);
        socket.client.check(&self.streams);
        let before = viewer.position;
        let advanced = run.advance(&mut viewer.position, sent, &mut socket.outbox);
        let reached = viewer.position.id;
        let passed = run.positions().position(|id| id == reached && before != viewer.position);
        assert_eq!(advanced.units, passed.map_or(0, |at| at + 1));
        if advanced.complete {
            return true;
        }
        let more_than_one_send =
            sent > 0 && run.exceeds(SLICES_PER_SEND_MAX) && socket.outbox.is_none();
        socket.blocked = !more_than_one_send;
        false
    }

    pub(crate) fn push(&mut self, key: Key) {
        loop {
            let Some(viewer) = self.viewers.get_mut(key) else { return };
            if viewer.asking {
                return;
            }
            let socket = self.sockets.get_mut(viewer.socket).unwrap();
            if socket.blocked || socket.outbox.is_some() {
                if !std::mem::replace(&mut viewer.pending, true) {
                    socket.pending.push_back(key);
                }
                return;
            }
            let again = match viewer.page.take() {
                Some(page) => self.push_page(key, page),
                None => self.push_topic(key),
            };
            if !again {
                return;
            }
        }
    }

    fn push_page(&mut self, key: Key, mut page: Box<Run>) -> bool {
        let viewer = self.viewers.get_mut(key).unwrap();
        if let Some(place) = viewer.position.place() {
            page.skip_to(place);
        }
        if page.is_empty() {
            viewer.position = Position::at(viewer.then.take().unwrap_or(page.head()));
            return true;
        }
        self.send(key, &page);
        self.viewers.get_mut(key).unwrap().page = Some(page);
        true
    }

    fn push_topic(&mut self, key: Key) -> bool {
        let viewer = self.viewers.get_mut(key).unwrap();
        let log = &self.topics[viewer.topic].log;
        let located = viewer.position.locate(log);
        if !located && log.head() < viewer.position.id {
            self.ahead.push_back(key);
            return false;
        }
        let mut run = std::mem::take(&mut self.run);
        let more = if !located || !run.gather(log, viewer.position) {
            viewer.position.forget_place();
            viewer.asking = true;
            self.asks.push_back((key, Some(viewer.position.id)));
            false
        } else if run.is_empty() {
            if std::mem::take(&mut viewer.owes_caught_up) {
                let stream = &self.streams[viewer.topic];
                let frame = stream.caught_up_frame(viewer.position.id);
                let socket = viewer.socket;
                self.send_frames(socket, frame);
            }
            false
        } else {
            self.send(key, &run);
            true
        };
        self.run = run;
        more
    }

    /// The answer of the desk.
    pub(crate) fn answered(&mut self, key: Key, answer: Answer) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        viewer.asking = false;
        match answer {
            Answer::State { frames, position } => {
                viewer.position = Position::at(position);
                viewer.owes_caught_up = false;
                let socket = viewer.socket;
                self.send_frames(socket, frames);
            }
            Answer::After { chunks, then } => {
                let after = viewer.position.id;
                match Run::of_page(chunks, after) {
                    Some(page) => {
                        viewer.position = Position::at_place(after, page.place());
                        viewer.page = Some(Box::new(page));
                        viewer.then = then;
                    }
                    None => viewer.position = Position::at(then.unwrap_or(after)),
                }
            }
        }
        self.push(key);
    }

    pub(crate) fn pong(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let payload = socket.client.pongs_sent.to_be_bytes();
        socket.client.pongs_sent += 1;
        self.send_frames(key, frame::whole(Opcode::Pong, &payload));
    }

    fn send_frames(&mut self, key: Key, frames: Bytes) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.outbox.get_or_insert_default().push(frames);
        self.flush_outbox(key);
    }

    fn flush_outbox(&mut self, key: Key) -> bool {
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        while let Some(outbox) = &mut socket.outbox {
            if outbox.is_empty() {
                assert_eq!(outbox.bytes(), 0);
                socket.outbox = None;
                break;
            }
            if socket.blocked {
                return false;
            }
            let slices = outbox.slices(SLICES_PER_SEND_MAX);
            let offered: usize = slices.iter().map(|slice| slice.len()).sum();
            let sent = socket.client.send(&slices).unwrap_or(0);
            outbox.advance(sent);
            socket.blocked = sent < offered;
        }
        socket.client.check(&self.streams);
        true
    }

    /// The kernel has room again: the outbox first, then each viewer that waits, in turn.
    pub(crate) fn writable(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if !std::mem::take(&mut socket.blocked) || !self.flush_outbox(key) {
            return;
        }
        while let Some(Socket { blocked: false, outbox: None, pending, .. }) =
            self.sockets.get_mut(key)
            && let Some(viewer) = pending.pop_front()
        {
            if let Some(viewer) = self.viewers.get_mut(viewer) {
                viewer.pending = false;
            }
            self.push(viewer);
        }
    }

    /// Takes back what was read for a socket that takes nothing.
    pub(crate) fn release_stalled(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        if !socket.blocked {
            return;
        }
        for viewer in &socket.pending {
            let viewer = self.viewers.get_mut(*viewer).unwrap();
            if viewer.page.take().is_some() {
                viewer.then = None;
                viewer.position.forget_place();
            }
        }
    }

    /// Those ahead of the tail ask whether their positions are honest ones.
    pub(crate) fn ask_for_those_ahead(&mut self) {
        for key in std::mem::take(&mut self.ahead) {
            let Some(viewer) = self.viewers.get_mut(key) else { continue };
            if !viewer.asking && viewer.position.place().is_none() {
                viewer.asking = true;
                self.asks.push_back((key, Some(viewer.position.id)));
            }
        }
    }
}
