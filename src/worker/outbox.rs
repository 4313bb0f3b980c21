//! What a socket is owed before anything new, and how its viewers go on when it takes more.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::Instant;

use super::flush::SLICES_PER_SEND_MAX;
use super::{Phase, Socket, SocketState, Watching, Worker, with_log};
use crate::core::slots::Key;
use crate::metrics::add;
use crate::sys::send::send;
use crate::worker::desk::Wants;

/// A socket that took nothing for so long gives back the part of the log that was read for it.
const STALLED_AFTER: Duration = Duration::from_secs(1);

impl Worker {
    /// Sends frames that are for one socket only, in order behind what it is owed.
    pub(super) fn send_frames(&mut self, key: Key, frames: bytes::Bytes, number: u64) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.state == SocketState::Deaf {
            return;
        }
        socket.outbox.get_or_insert_default().push(frames);
        add(&self.metrics().frames_sent, number);
        self.flush_outbox(key);
    }

    /// Sends what is in the outbox. Whether it is empty now.
    pub(super) fn flush_outbox(&mut self, key: Key) -> bool {
        loop {
            let Some(socket) = self.sockets.get_mut(key) else { return false };
            let Some(outbox) = &mut socket.outbox else { return true };
            if outbox.is_empty() {
                socket.outbox = None;
                return true;
            }
            if socket.blocked {
                return false;
            }
            let slices = outbox.slices(SLICES_PER_SEND_MAX);
            let metrics = &self.shared.metrics.workers[self.number];
            add(&metrics.sends, 1);
            match send(socket.stream.as_fd(), &slices) {
                Ok(sent) => {
                    add(&metrics.bytes_sent, sent as u64);
                    let whole = sent == slices.iter().map(|slice| slice.len()).sum::<usize>();
                    outbox.advance(sent);
                    if !whole {
                        self.block(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.block(key),
                Err(_) => {
                    self.drop_socket(key, 1006);
                    return false;
                }
            }
        }
    }

    /// The socket takes no more: its viewers lag until it is writable.
    pub(super) fn block(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if !socket.blocked {
            socket.blocked = true;
            add(&self.shared.metrics.workers[self.number].sends_blocked, 1);
            self.stalled.push_back((Instant::now(), key));
        }
        if let Watching::One(viewer) = socket.watching {
            self.set_lagging(viewer, true);
        }
    }

    /// A viewer has to wait until its socket takes more.
    pub(super) fn wait_for_socket(&mut self, key: Key) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        if let Some(Socket { watching: Watching::Many(many), .. }) =
            self.sockets.get_mut(viewer.socket)
            && !std::mem::replace(&mut viewer.pending, true)
        {
            many.pending.push_back(key);
        }
        self.set_lagging(key, true);
        self.close_if_too_late(key);
    }

    /// With `viewer_lag_max_entries`, a viewer that lags by more is closed.
    fn close_if_too_late(&mut self, key: Key) {
        let lag_max = self.shared.config.limits.viewer_lag_max_entries;
        let Some(viewer) = self.viewers.get(key).filter(|_| lag_max > 0) else { return };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        let appended = with_log(&local.topic, |log| log.appended());
        let lag = appended.zip(viewer.received).map(|(all, has)| all.saturating_sub(has));
        if lag.is_some_and(|lag| lag > lag_max) {
            let thread_id = &local.topic.thread;
            tracing::info!(%thread_id, lag_entries = lag, "lagging_viewer_closed");
            self.close(viewer.socket, 1008, "the viewer lags too far behind");
        }
    }

    /// The kernel says that the socket takes more.
    pub(super) fn writable(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if !std::mem::take(&mut socket.blocked) {
            return;
        }
        self.go_on(key);
    }

    /// Sends what the socket is owed: the outbox, then each viewer's part.
    pub(super) fn go_on(&mut self, key: Key) {
        if !self.flush_outbox(key) {
            return;
        }
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.state != SocketState::Open {
            return self.outbox_is_out(key);
        }
        if std::mem::take(&mut socket.read_paused) {
            self.unread.push_back(key);
        }
        match &mut socket.watching {
            Watching::One(viewer) => {
                let viewer = *viewer;
                self.push(viewer);
            }
            Watching::Many(_) => self.go_on_many(key),
            Watching::Nothing | Watching::Echo => {}
        }
    }

    /// Each viewer that waits for the socket, in turn, until the socket takes no more.
    fn go_on_many(&mut self, key: Key) {
        loop {
            let Some(Socket {
                watching: Watching::Many(many), blocked: false, outbox: None, ..
            }) = self.sockets.get_mut(key)
            else {
                return;
            };
            let Some(viewer) = many.pending.pop_front() else { return };
            if let Some(viewer) = self.viewers.get_mut(viewer) {
                viewer.pending = false;
            }
            self.push(viewer);
        }
    }

    /// Takes back what was read for sockets that have taken nothing for a while: their positions
    /// stay, and the log has the rest.
    pub(super) fn release_stalled(&mut self, now: Instant) {
        while let Some((since, key)) = self.stalled.front().copied()
            && now.duration_since(since) >= STALLED_AFTER
        {
            self.stalled.pop_front();
            let Some(socket) = self.sockets.get(key) else { continue };
            if !socket.blocked {
                continue;
            }
            // What is read for it from now on is looked at again.
            self.stalled.push_back((now, key));
            let viewers: Vec<Key> = match &socket.watching {
                Watching::One(viewer) => vec![*viewer],
                Watching::Many(many) => many.pending.iter().copied().collect(),
                Watching::Nothing | Watching::Echo => Vec::new(),
            };
            for viewer in viewers {
                if let Some(viewer) = self.viewers.get_mut(viewer)
                    && viewer.page.take().is_some()
                {
                    viewer.then = None;
                    viewer.position.forget_place();
                }
            }
        }
    }

    /// A viewer that waits for the tail to reach its position asks after a while whether that
    /// position is still an honest one.
    pub(super) fn ask_again_for_those_ahead(&mut self, now: Instant) {
        while let Some((since, key)) = self.ahead.front().copied()
            && now.duration_since(since) >= STALLED_AFTER
        {
            self.ahead.pop_front();
            let Some(viewer) = self.viewers.get(key) else { continue };
            if viewer.phase == Phase::Following && viewer.position.place().is_none() {
                self.ask(key, Wants::After(viewer.position.id), false);
            }
        }
    }
}
