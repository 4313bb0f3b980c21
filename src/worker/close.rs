//! Close: the closing handshake, and the drain that closes all sockets one after the other.

use std::net::Shutdown;
use std::time::Duration;

use tokio::time::Instant;

use super::{SocketState, Watching, Worker};
use crate::core::form::ws as frame;
use crate::core::slots::Key;

/// A drain closes at least so many sockets a second: a few are not kept waiting for the whole time.
const DRAIN_PER_SECOND_MIN: f64 = 50.0;

/// The part of `drain_seconds` over which closes are spread; the rest is for their answers.
const DRAIN_SPREAD: f64 = 0.7;

/// A drain begins so late, so that what was published just before it still goes out.
const DRAIN_GRACE: Duration = Duration::from_millis(100);

/// How often a drain takes a step.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// Closing everybody, spread over time, so that they do not come back as one herd.
pub(super) struct Drain {
    began: Instant,
    next_step: Instant,
    ends: Instant,
    /// Sockets closed a second.
    rate: f64,
    closed: usize,
    waiting: Vec<Key>,
    spread_ends: Instant,
}

impl Drain {
    pub(crate) fn next_step(&self) -> Instant {
        self.next_step
    }
}

impl Worker {
    /// Begins to close every socket with 1012.
    pub(crate) fn drain(&mut self, limit: Duration) {
        let now = Instant::now();
        let spread = limit.as_secs_f64() * DRAIN_SPREAD;
        let waiting: Vec<Key> = self.sockets.keys().collect();
        self.drain = Some(Drain {
            began: now + DRAIN_GRACE.min(limit),
            next_step: now + DRAIN_GRACE.min(limit),
            ends: now + limit,
            rate: (waiting.len() as f64 / spread.max(0.001)).max(DRAIN_PER_SECOND_MIN),
            closed: 0,
            waiting,
            spread_ends: now + Duration::from_secs_f64(spread),
        });
    }

    pub(super) fn drain_some(&mut self, now: Instant) {
        let Some(mut drain) = self.drain.take() else { return };
        if now >= drain.next_step {
            drain.next_step = now + DRAIN_STEP;
            let due = (now.duration_since(drain.began).as_secs_f64() * drain.rate) as usize + 1;
            let patience_is_over = now >= drain.spread_ends;
            let mut behind = Vec::new();
            while drain.closed < due || patience_is_over {
                let Some(key) = drain.waiting.pop() else { break };
                // Its frames go out first, if that can be had in time.
                if self.lags(key) && !patience_is_over {
                    behind.push(key);
                    continue;
                }
                drain.closed += 1;
                self.close(key, 1012, "the server restarts, reconnect with since");
            }
            drain.waiting.extend(behind);
            // Who connected while the listener was being closed.
            if drain.waiting.is_empty() && self.sockets.len() > self.closing.len() {
                drain.waiting = self
                    .sockets
                    .keys()
                    .filter(|key| {
                        self.sockets.get(*key).is_some_and(|s| s.state == SocketState::Open)
                    })
                    .collect();
            }
            if now >= drain.ends {
                let rest: Vec<Key> = self.sockets.keys().collect();
                rest.into_iter().for_each(|key| self.drop_socket(key, 1006));
            }
        }
        self.drain = Some(drain);
    }

    fn lags(&self, key: Key) -> bool {
        let Some(socket) = self.sockets.get(key) else { return false };
        socket.blocked
            || match &socket.watching {
                Watching::One(viewer) => self.viewers.get(*viewer).is_some_and(|v| v.lagging),
                _ => false,
            }
    }

    /// Sends a Close behind what is in the outbox; the socket ends when the other side answers or
    /// its time is over.
    pub(super) fn close(&mut self, key: Key, code: u16, reason: &str) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.state != SocketState::Open {
            return;
        }
        self.metrics().count_close(code);
        self.begin_close(key, frame::close(code, reason));
    }

    fn begin_close(&mut self, key: Key, close: bytes::Bytes) {
        self.remove_viewers_of(key);
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.state = SocketState::Closing;
        let limits = &self.shared.config.limits;
        // A slow one reads its Close only after what the kernel holds for it already.
        let patience =
            if socket.blocked { limits.viewer_timeout() } else { limits.close_timeout() };
        self.closing.push((Instant::now() + patience, key));
        self.send_frames(key, close, 0);
        if self.flush_outbox(key) {
            self.outbox_is_out(key);
        }
    }

    /// Whatever the other side sends from now on is read and dropped.
    pub(super) fn stop_listening(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.state = SocketState::Deaf;
            socket.decoder = None;
        }
    }

    /// The other side sent its Close.
    pub(super) fn other_side_closes(&mut self, key: Key, code: Option<u16>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        match socket.state {
            SocketState::Open => {
                self.metrics().count_close(code.unwrap_or(1005));
                let answer = match code {
                    Some(code) => frame::close(code, ""),
                    None => frame::whole(frame::Opcode::Close, b""),
                };
                self.begin_close(key, answer);
                self.stop_listening(key);
                if self.flush_outbox(key) {
                    self.end(key);
                }
            }
            // It answers ours: both sides have closed.
            SocketState::Closing => _ = self.end(key),
            SocketState::Deaf => {}
        }
    }

    /// The other side will send no more.
    pub(super) fn ended(&mut self, key: Key) {
        match self.sockets.get(key).map(|socket| socket.state) {
            Some(SocketState::Open) => self.drop_socket(key, 1006),
            Some(_) => _ = self.end(key),
            None => {}
        }
    }

    /// A socket that is closing has sent everything.
    pub(super) fn outbox_is_out(&mut self, key: Key) {
        let Some(socket) = self.sockets.get(key) else { return };
        // Only our direction: closing both would reset the connection if the other side has sent
        // something, and could take our Close away from it. An error means that it is gone.
        _ = socket.stream.shutdown(Shutdown::Write);
    }

    /// Ends the sockets whose other side has not answered our Close in time.
    pub(super) fn close_overdue(&mut self, now: Instant) {
        let mut closing = std::mem::take(&mut self.closing);
        closing.retain(|(deadline, key)| {
            if *deadline <= now {
                self.end(*key);
            }
            self.sockets.get(*key).is_some()
        });
        self.closing = closing;
    }
}
