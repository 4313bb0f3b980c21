//! The heartbeat: a Ping to each viewer in its turn, and the end of those that are gone.
//!
//! The slot map is the wheel: in tick *n* of an interval of *m* ticks, it is the turn of every slot
//! whose number is *n* modulo *m*. So the Pings are spread over the interval, and a viewer costs
//! nothing more for it.

use std::os::fd::AsFd;
use std::time::Duration;

use tokio::time::Instant;

use super::{SocketState, Worker};
use crate::core::form::ws as frame;
use crate::metrics::add;
use crate::sys::send::send;

/// Ticks per interval, where it is long enough.
const TICKS_MAX: u32 = 120;

/// The shortest tick.
const TICK_MIN: Duration = Duration::from_millis(10);

/// Whose turn it is.
pub(super) struct Heartbeat {
    tick: Duration,
    ticks: usize,
    timeout_ms: u32,
    /// How many ticks after its Ping a viewer is looked at.
    check_after: usize,
    turn: usize,
    next: Instant,
}

impl Heartbeat {
    pub(crate) fn new(interval: Duration, timeout: Duration) -> Self {
        let tick = (interval / TICKS_MAX).max(TICK_MIN);
        let ticks = (interval.as_micros() / tick.as_micros()).max(1) as usize;
        // The timeout is longer than the interval: it ends so long after one of the Pings.
        let rest = timeout.as_micros() % interval.as_micros().max(1);
        let check_after = (rest / tick.as_micros()) as usize + 1;
        Self {
            tick,
            ticks,
            timeout_ms: timeout.as_millis() as u32,
            check_after: check_after % ticks,
            turn: 0,
            next: Instant::now() + tick,
        }
    }

    pub(crate) fn next_tick(&self) -> Instant {
        self.next
    }
}

impl Worker {
    /// Does what the ticks up to now ask for.
    pub(super) fn beat(&mut self, now: Instant) {
        for _ in 0..self.heartbeat.ticks {
            if self.heartbeat.next > now {
                return;
            }
            self.heartbeat.next += self.heartbeat.tick;
            let Heartbeat { ticks, turn, check_after, .. } = self.heartbeat;
            self.heartbeat.turn = (turn + 1) % ticks;
            self.drop_silent((turn + ticks - check_after) % ticks);
            self.ping(turn);
        }
        // This thread was away for a whole interval: go on from now.
        self.heartbeat.next = now + self.heartbeat.tick;
    }

    fn ping(&mut self, turn: usize) {
        for index in (turn..self.sockets.capacity()).step_by(self.heartbeat.ticks) {
            let Some(key) = self.sockets.key_at(index) else { continue };
            let Some(socket) = self.sockets.get(key) else { continue };
            // Who has not read what it was sent would not read a Ping either.
            if socket.state != SocketState::Open || socket.blocked || socket.outbox.is_some() {
                continue;
            }
            add(&self.metrics().pings_sent, 1);
            match send(socket.stream.as_fd(), &[std::io::IoSlice::new(&frame::PING)]) {
                Ok(sent) if sent == frame::PING.len() => {}
                Ok(sent) => {
                    self.send_frames(key, bytes::Bytes::from_static(&frame::PING[sent..]), 0);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => self.drop_socket(key, 1006),
            }
        }
    }

    /// A viewer that could have answered and has not for the whole timeout is gone. One whose
    /// socket is full is slow, not gone: the kernel finds out whether its host still answers.
    fn drop_silent(&mut self, turn: usize) {
        let now_ms = self.now_ms();
        for index in (turn..self.sockets.capacity()).step_by(self.heartbeat.ticks) {
            let Some(key) = self.sockets.key_at(index) else { continue };
            let Some(socket) = self.sockets.get(key) else { continue };
            let silent_ms = now_ms.wrapping_sub(socket.seen_ms);
            let answers = !socket.blocked && !socket.read_paused;
            if socket.state == SocketState::Open
                && answers
                && silent_ms >= self.heartbeat.timeout_ms
            {
                add(&self.metrics().timeouts, 1);
                self.drop_socket(key, 1006);
            }
        }
    }
}
