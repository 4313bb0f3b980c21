//! Flush: gives each viewer of a topic everything from its position to the head, in one send.
//!
//! A pass over a topic goes in slices, in turn with other topics; what is appended meanwhile is
//! included for those whose turn has not come. A socket that takes no more is left where it is
//! until the kernel says that it is writable; then its viewers go on from their positions.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::{Pass, Phase, SocketState, Viewer, Worker, with_log};
use crate::clock;
use crate::core::encode;
use crate::core::position::{Position, Run};
use crate::core::slots::Key;
use crate::metrics::{WorkerMetrics, add};
use crate::sys::send::{Target, send};
use crate::worker::desk::Wants;
use crate::worker::topic::Topic;

/// Viewers that one slice of a pass visits: so many sends may delay another topic.
const VIEWERS_PER_SLICE: usize = 256;

/// Slices before the sockets are looked at again.
const SLICES_PER_TURN: usize = 4;

/// Buffers in one send; what is beyond goes with the next one.
pub(super) const SLICES_PER_SEND_MAX: usize = 64;

impl Worker {
    /// A topic's log has grown.
    pub(super) fn topic_has_news(&mut self, topic: &Arc<Topic>) {
        let Some(&key) = self.by_thread.get(&topic.thread) else { return };
        let Some(local) = self.topics.get_mut(key) else { return };
        if !Arc::ptr_eq(&local.topic, topic) {
            return;
        }
        match local.pass {
            Pass::None => {
                local.pass = Pass::Queued;
                local.roster.begin_pass();
                let interval = self.shared.config.flush_interval();
                if interval.is_zero() {
                    self.passes.push_back(key);
                } else {
                    self.delayed.push_back((Instant::now() + interval, key));
                }
            }
            Pass::Queued | Pass::Again => local.pass = Pass::Again,
        }
    }

    pub(super) fn flush_some(&mut self) {
        for _ in 0..SLICES_PER_TURN {
            let Some(key) = self.passes.pop_front() else { return };
            if self.flush_slice(key) {
                self.passes.push_back(key);
            }
        }
    }

    /// One slice of a topic's pass. Whether there is more to do.
    fn flush_slice(&mut self, key: Key) -> bool {
        let Some(local) = self.topics.get_mut(key) else { return false };
        let topic = local.topic.clone();
        // From here on news is told again: it came after what this slice sees.
        topic.on_worker[self.number].told.store(false, Relaxed);
        match local.roster.next_slice(VIEWERS_PER_SLICE) {
            &[alone] => self.push(alone),
            visited => {
                let visited = visited.to_vec();
                self.flush_together(&topic, visited);
            }
        }
        let Some(local) = self.topics.get_mut(key) else { return false };
        if !local.roster.pass_is_over() {
            return true;
        }
        let again = local.pass == Pass::Again;
        local.pass = if again { Pass::Queued } else { Pass::None };
        if again {
            local.roster.begin_pass();
        }
        again
    }

    /// Gives viewers what they lack, as many as possible in one batch.
    fn flush_together(&mut self, topic: &Topic, visited: Vec<Key>) {
        let mut ready = Vec::with_capacity(visited.len());
        for viewer in visited {
            match self.place_to_send_from(viewer) {
                Some((position, socket)) => ready.push((viewer, socket, position)),
                None => self.push(viewer),
            }
        }
        // Nearly all stand at the same place: one group, one look at the log.
        while let Some(&(_, _, position)) = ready.first() {
            let (group, others) = ready.into_iter().partition(|(_, _, at)| *at == position);
            ready = others;
            self.send_group(topic, position, group);
        }
    }

    /// Where a viewer stands, if all it needs is a send from there.
    fn place_to_send_from(&self, key: Key) -> Option<(Position, Key)> {
        let viewer = self.viewers.get(key)?;
        if viewer.phase != Phase::Following || viewer.page.is_some() || viewer.owes_caught_up {
            return None;
        }
        viewer.position.place()?;
        let socket = self.sockets.get(viewer.socket)?;
        (socket.state == SocketState::Open && !socket.blocked && socket.outbox.is_none())
            .then_some((viewer.position, viewer.socket))
    }

    /// Sends to viewers that stand at the same place.
    fn send_group(&mut self, topic: &Topic, at: Position, group: Vec<(Key, Key, Position)>) {
        let mut run = std::mem::take(&mut self.run);
        if with_log(topic, |log| run.gather(log, at)) != Some(true) {
            self.run = run;
            group.into_iter().for_each(|(viewer, ..)| self.push(viewer));
            return;
        }
        if run.is_empty() {
            self.run = run;
            return;
        }
        let slices = run.slices(SLICES_PER_SEND_MAX);
        let (viewers, sockets): (Vec<Key>, Vec<_>) = group
            .iter()
            .filter_map(|(viewer, socket, _)| {
                let fd = self.sockets.get(*socket)?.stream.as_fd();
                Some((*viewer, Target { slot: socket.index() as u32, socket: fd }))
            })
            .unzip();
        let mut results = Vec::with_capacity(sockets.len());
        self.sender.send_each(&sockets, &slices, &mut results);
        observe_ages(self.metrics(), &run, viewers.len());
        let mut unfinished = Vec::new();
        for (viewer, result) in viewers.into_iter().zip(results) {
            if !self.sent(viewer, &run, result) {
                unfinished.push(viewer);
            }
        }
        self.run = run;
        // They go on, or wait for their socket in the order in which they came.
        unfinished.into_iter().for_each(|viewer| self.push(viewer));
    }

    /// Moves a viewer by what its socket took of a run. False where it should be pushed again.
    fn sent(&mut self, key: Key, run: &Run, result: io::Result<usize>) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return true };
        let socket_key = viewer.socket;
        let Some(socket) = self.sockets.get_mut(socket_key) else { return true };
        let metrics = &self.shared.metrics.workers[self.number];
        add(&metrics.sends, 1);
        let sent = match result {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.drop_socket(socket_key, 1006);
                return true;
            }
        };
        add(&metrics.bytes_sent, sent as u64);
        let advanced = run.advance(&mut viewer.position, sent, &mut socket.outbox);
        add(&metrics.frames_sent, advanced.units as u64);
        if let Some(received) = &mut viewer.received {
            *received += advanced.units as u64;
        }
        if advanced.complete {
            viewer.has_all_of(run);
            return true;
        }
        // Where there was more than one send can hold, the socket may well take the rest.
        let cut_by_us = run.exceeds(SLICES_PER_SEND_MAX) && socket.outbox.is_none() && sent > 0;
        if !cut_by_us {
            self.block(socket_key);
        }
        false
    }

    /// Gives a viewer whatever it lacks, or asks the desk for it.
    pub(super) fn push(&mut self, key: Key) {
        loop {
            let Some(viewer) = self.viewers.get_mut(key) else { return };
            let Some(socket) = self.sockets.get(viewer.socket) else { return };
            if viewer.phase == Phase::Asking || socket.state != SocketState::Open {
                return;
            }
            if socket.blocked || socket.outbox.is_some() {
                return self.wait_for_socket(key);
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

    /// Sends from the part of the log that was read for this viewer. Whether to go on.
    fn push_page(&mut self, key: Key, mut page: Box<Run>) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        if let Some(place) = viewer.position.place() {
            page.skip_to(place);
        }
        if page.is_empty() {
            viewer.position = Position::at(viewer.then.take().unwrap_or(page.head()));
            return true;
        }
        let Some(socket) = self.sockets.get(viewer.socket) else { return false };
        let result = send(socket.stream.as_fd(), &page.slices(SLICES_PER_SEND_MAX));
        self.sent(key, &page, result);
        if let Some(viewer) = self.viewers.get_mut(key) {
            viewer.page = Some(page);
            return true;
        }
        false
    }

    /// Sends from the topic's log. Whether to go on.
    fn push_topic(&mut self, key: Key) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        let Some(local) = self.topics.get(viewer.topic) else { return false };
        let topic = local.topic.clone();
        let mut run = std::mem::take(&mut self.run);
        let gathered = with_log(&topic, |log| {
            // Another stream may have the same ids: look them up in the viewer's own only.
            let known = viewer.position.place().is_some() || viewer.epoch == log.epoch();
            if !known {
                return Gathered::Gone;
            }
            if !viewer.position.locate(log) {
                return if log.head() < viewer.position.id {
                    Gathered::Ahead
                } else {
                    Gathered::Gone
                };
            }
            if run.gather(log, viewer.position) { Gathered::Held } else { Gathered::Gone }
        });
        let more = match gathered {
            Some(Gathered::Held) if run.is_empty() => {
                viewer.has_all_of(&run);
                self.is_caught_up(key);
                false
            }
            Some(Gathered::Held) => {
                let stream = self.sockets.get(viewer.socket).map(|socket| socket.stream.as_fd());
                let result = stream.map(|fd| send(fd, &run.slices(SLICES_PER_SEND_MAX)));
                if let Some(result) = result {
                    observe_ages(self.metrics(), &run, 1);
                    self.sent(key, &run, result);
                }
                true
            }
            Some(Gathered::Ahead) => {
                self.ahead.push_back((Instant::now(), key));
                false
            }
            Some(Gathered::Gone) | None => {
                let after = viewer.position.id;
                viewer.position.forget_place();
                self.set_lagging(key, true);
                self.ask(key, Wants::After(after), false);
                false
            }
        };
        self.run = run;
        more
    }

    /// A viewer has everything.
    fn is_caught_up(&mut self, key: Key) {
        self.set_lagging(key, false);
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        if !std::mem::take(&mut viewer.owes_caught_up) {
            return;
        }
        let (socket, position) = (viewer.socket, viewer.position.id);
        if let Some(local) = self.topics.get(viewer.topic) {
            let frame = encode::caught_up(&local.topic.thread, position);
            self.send_frames(socket, frame, 1);
        }
    }
}

impl Viewer {
    /// It was sent a run of its topic to the end.
    fn has_all_of(&mut self, run: &Run) {
        if let Some((received, epoch)) = run.reaches() {
            self.received = Some(received);
            self.epoch = epoch;
        }
    }
}

enum Gathered {
    /// The topic holds everything from the viewer's position on.
    Held,
    /// It does not hold it any more.
    Gone,
    /// The tail has not come to the viewer's position yet.
    Ahead,
}

fn observe_ages(metrics: &WorkerMetrics, run: &Run, viewers: usize) {
    let now_ms = clock::now_ms();
    for position in run.positions() {
        metrics.observe_age(now_ms.saturating_sub(position.ms), viewers as u64);
    }
}
