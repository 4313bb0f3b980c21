//! What a socket is owed before anything new, and how it goes on when it takes more.

use std::io::IoSlice;

use super::{Count, Effect, Fanout, Io, Sent, SocketState, Topic, Watching};
use crate::account::Charge;
use crate::chunk::Rest;
use crate::form::ws::{self, Opcode};
use crate::inbound::Decoder;
use crate::slots::Key;

/// The answer to `{"type":"ping"}`.
pub(super) const JSON_PONG: &[u8] = b"\x81\x0f{\"type\":\"pong\"}";

/// What only a socket with something unfinished has.
#[derive(Default)]
pub(super) struct Busy {
    /// What is left of the frame that the socket took in part.
    pub(super) rest: Option<Rest>,
    pub(super) owed: Owed,
    /// What was read and not looked at yet, with what is charged for it.
    pub(super) unread: Option<(Vec<u8>, Charge)>,
    /// Only while a message is incomplete.
    pub(super) decoder: Option<Incomplete>,
    /// It is not read until something ends that.
    pub(super) paused: Option<Paused>,
    /// When the socket took a byte last; wraps.
    pub(super) took_ms: u32,
}

/// A message that is not complete.
#[derive(Debug)]
pub(super) struct Incomplete {
    pub(super) decoder: Box<Decoder>,
    pub(super) charge: Charge,
    /// When it began; wraps.
    pub(super) since_ms: u32,
}

/// What ends a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paused {
    /// The socket is free.
    UntilFree,
    /// Time.
    Resting,
}

/// What is owed to a socket that is full: of each kind the newest.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The payload of the newest Ping that was not answered.
    pub(super) pong: Option<Box<[u8]>>,
    pub(super) json_pong: bool,
    /// The newest thing to be told of its pass.
    pub(super) pass: Option<Box<[u8]>>,
    /// What is wrong with subscriptions: as many as there are, of which most have one. Nothing more is read meanwhile.
    pub(super) error: Option<Box<[u8]>>,
    /// Our Close. Nothing else is owed beside it.
    pub(super) close: Option<Box<[u8]>>,
}

impl Owed {
    fn is_nothing(&self) -> bool {
        let nothing = self.pong.is_none() && self.pass.is_none() && self.error.is_none();
        nothing && !self.json_pong && self.close.is_none()
    }

    /// The next frame.
    fn take(&mut self) -> Option<Box<[u8]>> {
        if let Some(payload) = self.pong.take() {
            return Some(ws::whole(Opcode::Pong, &payload).to_vec().into());
        }
        if std::mem::take(&mut self.json_pong) {
            return Some(JSON_PONG.into());
        }
        self.pass.take().or_else(|| self.error.take()).or_else(|| self.close.take())
    }
}

impl Busy {
    fn is_over(&self) -> bool {
        self.rest.is_none()
            && self.owed.is_nothing()
            && self.unread.is_none()
            && self.decoder.is_none()
            && self.paused.is_none()
    }
}

impl<T: Topic> Fanout<T> {
    /// What is unfinished about a socket.
    pub(super) fn busy(&mut self, key: Key) -> Option<&mut Busy> {
        Some(self.sockets.get_mut(key)?.busy.get_or_insert_default())
    }

    /// Where nothing is unfinished any more, nothing is kept.
    pub(super) fn tidy(&mut self, key: Key) {
        if let Some(socket) = self.sockets.get_mut(key)
            && !socket.blocked
        {
            socket.busy.take_if(|busy| busy.is_over());
        }
    }

    /// Sends a frame to a socket that is free. What it does not take of it is its rest.
    pub(super) fn put(&mut self, key: Key, frame: &[u8], io: &mut impl Io<Topic = T>) {
        io.count(Count::Sends, 1);
        let sent = match io.send(key, &[IoSlice::new(frame)]) {
            Sent::Bytes(sent) => sent,
            Sent::Full => 0,
            Sent::Gone => return self.drop_socket(key, 1006, io),
        };
        io.count(Count::BytesSent, sent as u64);
        io.count(Count::FramesSent, 1);
        if sent < frame.len() {
            let rest = Rest::of(&self.account, &frame[sent..]);
            self.block(key, Some(rest), sent > 0, io);
        }
    }

    /// The socket takes no more: its viewers lag until it is writable.
    pub(super) fn block(
        &mut self,
        key: Key,
        rest: Option<Rest>,
        took: bool,
        io: &mut impl Io<Topic = T>,
    ) {
        let now_ms = self.wrapped_now_ms();
        let Some(socket) = self.sockets.get_mut(key) else { return };
        let newly = !std::mem::replace(&mut socket.blocked, true);
        let listed = std::mem::replace(&mut socket.stalled, true);
        let watching = match socket.watching {
            Watching::One(viewer) => Some(viewer),
            _ => None,
        };
        let busy = socket.busy.get_or_insert_default();
        if rest.is_some() {
            busy.rest = rest;
        }
        if took || newly {
            busy.took_ms = now_ms;
        }
        if newly {
            io.count(Count::SendsBlocked, 1);
        }
        if !listed {
            self.stalled.push_back((self.now_ms, key));
        }
        if let Some(viewer) = watching {
            self.set_lagging(viewer, true, io);
        }
    }

    /// The kernel says that the socket takes more.
    pub fn writable(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if !std::mem::take(&mut socket.blocked) {
            return;
        }
        self.go_on(key, io);
    }

    /// Sends what the socket is owed, then each of its viewers has its turn.
    pub(super) fn go_on(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        if !self.send_owed(key, io) {
            return;
        }
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.state != SocketState::Open {
            // Only our direction: the other side's Close may be on its way.
            self.effects.push_back(Effect::Shut(key));
            return self.tidy(key);
        }
        if let Some(busy) = &mut socket.busy
            && busy.paused == Some(Paused::UntilFree)
        {
            busy.paused = None;
            self.effects.push_back(Effect::Read(key));
        }
        self.tidy(key);
        self.push_all_of(key, io);
    }

    /// Sends the rest of a frame and what else is owed. Whether nothing is left of it.
    pub(super) fn send_owed(&mut self, key: Key, io: &mut impl Io<Topic = T>) -> bool {
        loop {
            let now_ms = self.wrapped_now_ms();
            let Some(socket) = self.sockets.get_mut(key) else { return false };
            if socket.blocked {
                return false;
            }
            let Some(busy) = &mut socket.busy else { return true };
            let Some(rest) = &mut busy.rest else {
                let Some(frame) = busy.owed.take() else { return true };
                self.put(key, &frame, io);
                continue;
            };
            let slice = rest.slice();
            let offered = slice.len();
            io.count(Count::Sends, 1);
            let sent = match io.send(key, &[slice]) {
                Sent::Bytes(sent) => sent,
                Sent::Full => 0,
                Sent::Gone => {
                    self.drop_socket(key, 1006, io);
                    return false;
                }
            };
            io.count(Count::BytesSent, sent as u64);
            if sent > 0 {
                busy.took_ms = now_ms;
            }
            if !rest.advance(sent) {
                busy.rest = None;
            }
            if sent < offered {
                self.block(key, None, sent > 0, io);
            }
        }
    }
}
