//! Close: the closing handshake, and the drain that closes all sockets one after the other.

use super::owed::Owed;
use super::{Count, Effect, Fanout, Io, Socket, SocketState, Topic, Watching};
use crate::form::ws::{self, Opcode};
use crate::slots::Key;

/// A drain closes at least so many sockets a second: a few are not kept waiting for the whole time.
const DRAIN_PER_SECOND_MIN: f64 = 50.0;

/// The part of `drain_seconds` over which closes are spread; the rest is for their answers.
const DRAIN_SPREAD: f64 = 0.7;

/// A drain begins so late, so that what was published just before it still goes out.
const DRAIN_GRACE_MS: u64 = 100;

/// How often a drain takes a step.
const DRAIN_STEP_MS: u64 = 10;

/// Closing everybody, spread over time, so that they do not come back as one herd.
pub(super) struct Drain {
    began_ms: u64,
    pub(super) next_step_ms: u64,
    spread_ends_ms: u64,
    ends_ms: u64,
    /// Sockets closed a second.
    rate: f64,
    closed: usize,
    waiting: Vec<Key>,
}

impl<T: Topic> Fanout<T> {
    /// Begins to close every socket with 1012, within a time.
    pub fn drain(&mut self, limit_ms: u64) {
        let spread_ms = (limit_ms as f64 * DRAIN_SPREAD) as u64;
        let waiting: Vec<Key> = self.sockets.keys().collect();
        let begins_ms = self.now_ms + DRAIN_GRACE_MS.min(limit_ms);
        let spread_s = (spread_ms as f64 / 1000.0).max(0.001);
        self.drain = Some(Drain {
            began_ms: begins_ms,
            next_step_ms: begins_ms,
            spread_ends_ms: self.now_ms + spread_ms,
            ends_ms: self.now_ms + limit_ms,
            rate: (waiting.len() as f64 / spread_s).max(DRAIN_PER_SECOND_MIN),
            closed: 0,
            waiting,
        });
    }

    pub(super) fn drain_some(&mut self, io: &mut impl Io<Topic = T>) {
        let Some(mut drain) = self.drain.take() else { return };
        let now_ms = self.now_ms;
        if now_ms >= drain.next_step_ms {
            drain.next_step_ms = now_ms + DRAIN_STEP_MS;
            let lasted_s = (now_ms - drain.began_ms) as f64 / 1000.0;
            let due = (lasted_s * drain.rate) as usize + 1;
            let patience_is_over = now_ms >= drain.spread_ends_ms;
            let mut behind = Vec::new();
            while drain.closed < due || patience_is_over {
                let Some(key) = drain.waiting.pop() else { break };
                // Its frames go out first, if that can be had in time.
                if self.lags(key) && !patience_is_over {
                    behind.push(key);
                    continue;
                }
                drain.closed += 1;
                self.close(key, 1012, "the server restarts, reconnect with since", io);
            }
            drain.waiting.extend(behind);
            // Who connected while the listener was being closed.
            if drain.waiting.is_empty() && self.sockets.len() > self.closing.len() {
                let open = |key: &Key| {
                    self.sockets.get(*key).is_some_and(|it| it.state == SocketState::Open)
                };
                drain.waiting = self.sockets.keys().filter(open).collect();
            }
            if now_ms >= drain.ends_ms {
                let rest: Vec<Key> = self.sockets.keys().collect();
                rest.into_iter().for_each(|key| self.drop_socket(key, 1006, io));
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

    /// Sends a Close behind the frame that is being sent; the socket ends when the other side
    /// answers or its time is over.
    pub fn close(&mut self, key: Key, code: u16, reason: &str, io: &mut impl Io<Topic = T>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.state != SocketState::Open {
            return;
        }
        io.count_close(code);
        // A slow one reads its Close only after what the kernel holds for it already.
        let patience_ms = if socket.blocked {
            self.settings.viewer_timeout_ms
        } else {
            self.settings.close_timeout_ms
        };
        self.begin_close(key, &ws::close(code, reason), patience_ms, io);
    }

    /// The same, for one that takes nothing and whose memory is wanted.
    pub(super) fn close_stalled(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        io.count_close(1013);
        io.count(Count::Stalled, 1);
        let close = ws::close(1013, "memory is spent and nothing was read, come back later");
        self.begin_close(key, &close, self.settings.close_timeout_ms, io);
    }

    fn begin_close(
        &mut self,
        key: Key,
        close: &[u8],
        patience_ms: u64,
        io: &mut impl Io<Topic = T>,
    ) {
        self.remove_viewers_of(key, io);
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.state = SocketState::Closing;
        let busy = socket.busy.get_or_insert_default();
        busy.owed = Owed { close: Some(close.into()), ..Owed::default() };
        // What it sends is read from here on only to find its Close.
        if busy.paused.take().is_some() || busy.unread.is_some() {
            self.effects.push_back(Effect::Read(key));
        }
        self.closing.push((self.now_ms + patience_ms, key));
        self.go_on(key, io);
    }

    /// Whatever the other side sends from now on is read and dropped.
    pub(super) fn stop_listening(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key) {
            socket.state = SocketState::Deaf;
            if let Some(busy) = &mut socket.busy {
                busy.decoder = None;
                busy.unread = None;
                busy.paused = None;
            }
        }
        self.tidy(key);
    }

    /// The other side sent its Close.
    pub(super) fn other_side_closes(
        &mut self,
        key: Key,
        code: Option<u16>,
        io: &mut impl Io<Topic = T>,
    ) {
        match self.sockets.get(key).map(|socket| socket.state) {
            Some(SocketState::Open) => {
                io.count_close(code.unwrap_or(1005));
                let answer = match code {
                    Some(code) => ws::close(code, ""),
                    None => ws::whole(Opcode::Close, b""),
                };
                self.begin_close(key, &answer, self.settings.close_timeout_ms, io);
                self.stop_listening(key);
                if self.owes_nothing(key) {
                    self.end(key, io);
                }
            }
            // It answers ours: both sides have closed.
            Some(SocketState::Closing) => _ = self.end(key, io),
            Some(SocketState::Deaf) | None => {}
        }
    }

    fn owes_nothing(&self, key: Key) -> bool {
        self.sockets.get(key).is_some_and(|socket| {
            Socket::is_free(socket)
                && socket.busy.as_ref().is_none_or(|busy| busy.owed.close.is_none())
        })
    }

    /// Ends the sockets whose other side has not answered our Close in time.
    pub(super) fn close_overdue(&mut self, io: &mut impl Io<Topic = T>) {
        let mut closing = std::mem::take(&mut self.closing);
        closing.retain(|(deadline_ms, key)| {
            if *deadline_ms <= self.now_ms {
                self.end(*key, io);
            }
            self.sockets.get(*key).is_some()
        });
        self.closing = closing;
    }
}
