//! What time brings: a Ping to each viewer in its turn, the end of those that are gone, and a look
//! at those that take nothing.
//!
//! The slot map is the wheel: in tick *n* of an interval of *m* ticks, it is the turn of every slot
//! whose number is *n* modulo *m*. So the Pings are spread over the interval, and a viewer costs
//! nothing more for it. Silence is looked for in the same way, each second.

use std::io::IoSlice;

use super::owed::Incomplete;
use super::{
    Count, Fanout, Io, Phase, Sent, Settings, Socket, SocketState, Topic, Viewer, Watching, pop_if,
};
use crate::chunk::Rest;
use crate::form::ws;
use crate::slots::Key;

/// The longest tick: so late may anything be.
const TICK_MS_MAX: u64 = 250;

/// The shortest tick.
const TICK_MS_MIN: u64 = 10;

/// Ticks of a Ping's interval, where it is long enough.
const TICKS_MIN: u64 = 120;

/// How often each viewer is looked at for silence, at least.
const SILENCE_MS: u64 = 1_000;

/// A socket that took nothing for so long gives back the part of the log that was read for it, and
/// a viewer that waits for the tail asks whether its position is still an honest one.
const STALLED_MS: u64 = 1_000;

/// The same for a socket with many tasks.
const MANY_STALLED_MS: u64 = 10_000;

/// When which slots have their turn.
pub(super) struct Clock {
    tick_ms: u64,
    next_ms: u64,
    turn: usize,
    /// Ticks of a Ping's interval,
    ping_ticks: usize,
    /// and of a look for silence.
    silence_ticks: usize,
}

impl Clock {
    pub(super) fn new(settings: &Settings, now_ms: u64) -> Self {
        let interval_ms = settings.ping_interval_ms;
        let tick_ms = (interval_ms / TICKS_MIN).clamp(TICK_MS_MIN, TICK_MS_MAX);
        let silence_ms = SILENCE_MS.min(settings.viewer_timeout_ms / 8);
        Self {
            tick_ms,
            next_ms: now_ms + tick_ms,
            turn: 0,
            ping_ticks: (interval_ms / tick_ms).max(1) as usize,
            silence_ticks: (silence_ms / tick_ms).max(1) as usize,
        }
    }
}

impl<T: Topic> Fanout<T> {
    /// When something has to be done at the latest, in milliseconds of the clock.
    pub fn next_deadline_ms(&self) -> u64 {
        let mut next_ms = self.clock.next_ms;
        if let Some((due_ms, _)) = self.delayed.front() {
            next_ms = next_ms.min(*due_ms);
        }
        if let Some((due_ms, _)) = self.resting.front() {
            next_ms = next_ms.min(*due_ms);
        }
        if let Some(drain) = &self.drain {
            next_ms = next_ms.min(drain.next_step_ms);
        }
        if let Some(due_ms) = self.passes_due_ms() {
            next_ms = next_ms.min(due_ms);
        }
        next_ms
    }

    /// Does what is due.
    pub fn tick(&mut self, io: &mut impl Io<Topic = T>) {
        let now_ms = self.now_ms;
        self.look_at_passes(io);
        while let Some((_, key)) = pop_if(&mut self.delayed, |(due_ms, _)| *due_ms <= now_ms) {
            self.passes.push_back(key);
        }
        while let Some((_, key)) = pop_if(&mut self.resting, |(due_ms, _)| *due_ms <= now_ms) {
            self.rested(key);
        }
        if self.clock.next_ms <= now_ms {
            let starved = self.account.starved();
            let somebody_waits = starved != std::mem::replace(&mut self.starved, starved);
            self.memory_is_spent = self.account.is_full_of_input() || somebody_waits;
            self.beat(io);
            self.close_overdue(io);
            self.look_at_stalled(io);
            self.ask_again_for_those_ahead();
        }
        self.drain_some(io);
    }

    fn beat(&mut self, io: &mut impl Io<Topic = T>) {
        for _ in 0..self.clock.ping_ticks {
            if self.clock.next_ms > self.now_ms {
                return;
            }
            let Clock { tick_ms, turn, ping_ticks, silence_ticks, .. } = self.clock;
            self.clock.next_ms += tick_ms;
            self.clock.turn = (turn + 1) % (ping_ticks * silence_ticks);
            self.drop_silent(turn % silence_ticks, io);
            self.ping(turn % ping_ticks, io);
        }
        // This thread was away for a whole interval: go on from now.
        self.clock.next_ms = self.now_ms + self.clock.tick_ms;
    }

    fn ping(&mut self, turn: usize, io: &mut impl Io<Topic = T>) {
        for index in (turn..self.sockets.capacity()).step_by(self.clock.ping_ticks) {
            let Some(key) = self.sockets.key_at(index) else { continue };
            let Some(socket) = self.sockets.get(key) else { continue };
            // Who has not read what it was sent would not read a Ping either.
            if socket.state != SocketState::Open || !socket.is_free() {
                continue;
            }
            io.count(Count::PingsSent, 1);
            match io.send(key, &[IoSlice::new(&ws::PING)]) {
                Sent::Bytes(sent) if sent < ws::PING.len() => {
                    let rest = Rest::of(&self.account, &ws::PING[sent..]);
                    self.block(key, Some(rest), true, io);
                }
                Sent::Bytes(_) => {}
                Sent::Full => self.block(key, None, false, io),
                Sent::Gone => self.drop_socket(key, 1006, io),
            }
        }
    }

    /// A viewer that could have answered and has not for the whole timeout is gone. One whose
    /// socket is full is slow, not gone: the kernel finds out whether its host still answers. And
    /// where something it sent has not been looked at, that is a sign of life.
    fn drop_silent(&mut self, turn: usize, io: &mut impl Io<Topic = T>) {
        let now_ms = self.wrapped_now_ms();
        for index in (turn..self.sockets.capacity()).step_by(self.clock.silence_ticks) {
            let Some(key) = self.sockets.key_at(index) else { continue };
            let Some(socket) = self.sockets.get(key) else { continue };
            let incomplete = socket.busy.as_ref().and_then(|busy| busy.decoder.as_ref());
            if let Some(Incomplete { since_ms, .. }) = incomplete {
                let open_ms = now_ms.wrapping_sub(*since_ms);
                self.close_if_stalled(key, open_ms.into(), io);
            }
            let Some(socket) = self.sockets.get(key) else { continue };
            let silent_ms = u64::from(now_ms.wrapping_sub(socket.seen_ms));
            if silent_ms < self.settings.viewer_timeout_ms || socket.state != SocketState::Open {
                continue;
            }
            let unread = socket
                .busy
                .as_ref()
                .is_some_and(|busy| busy.paused.is_some() || busy.unread.is_some());
            if !socket.blocked && !unread {
                io.count(Count::Timeouts, 1);
                self.drop_socket(key, 1006, io);
            }
        }
    }

    /// Takes back what was read for sockets that have taken nothing for a while: their positions
    /// stay, and the log has the rest. Where memory is tight, that is taken back at once; where it is
    /// spent, who takes nothing for long has to go.
    fn look_at_stalled(&mut self, io: &mut impl Io<Topic = T>) {
        let now_ms = self.now_ms;
        let tight = self.account.is_tight();
        for _ in 0..self.stalled.len() {
            let due = |(since_ms, _): &(u64, Key)| tight || now_ms - *since_ms >= STALLED_MS;
            let Some((_, key)) = pop_if(&mut self.stalled, due) else { return };
            let Some(socket) = self.sockets.get_mut(key) else { continue };
            if !socket.blocked {
                socket.stalled = false;
                continue;
            }
            let still_ms = still_ms(socket, self.now_ms);
            if tight || still_ms >= socket.page_patience_ms() {
                self.release_pages(key);
            }
            self.close_if_stalled(key, still_ms, io);
            // What is read for it from now on is looked at again.
            self.stalled.push_back((now_ms, key));
        }
    }

    /// Where memory is spent, who takes nothing for long has to go.
    pub(super) fn close_if_stalled(
        &mut self,
        key: Key,
        still_ms: u64,
        io: &mut impl Io<Topic = T>,
    ) {
        let open = self.sockets.get(key).is_some_and(|it| it.state == SocketState::Open);
        if open && self.memory_is_spent && still_ms >= self.settings.stall_timeout_ms {
            self.close_stalled(key, io);
        }
    }

    fn release_pages(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let viewer = match &mut socket.watching {
            Watching::One(viewer) => Some(*viewer),
            // At most one has begun with what was read for it, and one waits to begin.
            Watching::Many(many) => {
                many.answered = None;
                for viewer in &many.pending {
                    self.viewers.get_mut(*viewer).map(Viewer::release_page);
                }
                None
            }
            Watching::Nothing | Watching::Echo => None,
        };
        if let Some(viewer) = viewer.and_then(|viewer| self.viewers.get_mut(viewer)) {
            viewer.release_page();
        }
    }

    /// A viewer that waits for the tail to reach its position asks after a while whether that
    /// position is still an honest one.
    fn ask_again_for_those_ahead(&mut self) {
        let now_ms = self.now_ms;
        let due = |(since_ms, _): &(u64, Key)| now_ms - *since_ms >= STALLED_MS;
        while let Some((_, key)) = pop_if(&mut self.ahead, due) {
            let Some(viewer) = self.viewers.get_mut(key) else { continue };
            viewer.ahead = false;
            if viewer.phase == Phase::Following && viewer.position.place().is_none() {
                self.ask(key);
            }
        }
    }
}

impl Viewer {
    /// Gives back what was read for it.
    fn release_page(&mut self) {
        if self.page.take_if(|page| !page.lasts).is_some() {
            self.position.forget_place();
            // Without its state it has to ask for it again.
            self.phase = if self.attaching { Phase::Waiting } else { self.phase };
        }
    }
}

impl Socket {
    /// How long what was read for its viewers waits. One with many keeps it longer: while it waits,
    /// the others may fill the socket again.
    fn page_patience_ms(&self) -> u64 {
        if matches!(self.watching, Watching::Many(_)) { MANY_STALLED_MS } else { STALLED_MS }
    }
}

/// How long a socket that is full has taken nothing.
fn still_ms(socket: &Socket, now_ms: u64) -> u64 {
    let took_ms = socket.busy.as_ref().map_or(0, |busy| busy.took_ms);
    u64::from((now_ms as u32).wrapping_sub(took_ms))
}
