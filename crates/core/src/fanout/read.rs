//! Read: what viewers send. Pings and `{"type": …}` mean something; everything else is a sign of
//! life and no more (protocol §3, "From viewers").
//!
//! A socket's input has a budget: so many messages a turn, so much subscribing a second, and no more
//! memory than there is. Beyond it the socket is not read for a while; nothing is refused.

use std::io::IoSlice;

use super::admission::NOT_THIS;
use super::message::{self, Given, Request};
use super::owed::{Incomplete, JSON_PONG, Paused};
use super::{Count, Fanout, Io, Sent, Settings, Socket, SocketState, Topic, Watching};
use crate::account::Kind;
use crate::chunk::Rest;
use crate::encode;
use crate::form::ws::{self, Opcode};
use crate::inbound::{Decoder, Inbound, Violation};
use crate::since::Since;
use crate::slots::Key;
use crate::source::NoThread;

/// The longest message of a socket that gets back what it sends, in bytes.
const ECHO_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long a socket over its budget is not read.
const REST_MS: u64 = 100;

/// Answers that are sent at once together, in bytes.
const REPLIES_BYTES_MAX: usize = 16 * 1024;

/// Whether a socket is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appetite {
    /// It is.
    Hungry,
    /// First what was read already is to be looked at: [`Fanout::go_on_reading`].
    Unread,
    /// Not before [`Effect::Read`](super::Effect::Read).
    Sated,
}

/// Answers to Pings that are sent together.
#[derive(Default)]
pub(super) struct Replies {
    bytes: Vec<u8>,
    /// Where each ends, and whether it answers a JSON ping.
    ends: Vec<(usize, bool)>,
}

/// How much subscribing a socket may do: it is used up and comes back with time.
pub(super) struct Budget {
    /// In thousandths.
    left: u64,
    at_ms: u64,
}

impl Budget {
    pub(super) fn full(settings: &Settings, now_ms: u64) -> Self {
        Self { left: u64::from(settings.subscribe_burst) * 1000, at_ms: now_ms }
    }

    fn refill(&mut self, settings: &Settings, now_ms: u64) {
        let back = (now_ms - self.at_ms) * u64::from(settings.subscribe_per_second);
        self.left = (self.left + back).min(u64::from(settings.subscribe_burst) * 1000);
        self.at_ms = now_ms;
    }

    /// Uses up one.
    fn take(&mut self) {
        self.left = self.left.saturating_sub(1000);
    }

    fn is_spent(&self) -> bool {
        self.left < 1000
    }
}

impl<T: Topic> Fanout<T> {
    /// Whether a socket is to be read now.
    pub fn appetite(&self, key: Key) -> Appetite {
        let Some(socket) = self.sockets.get(key) else { return Appetite::Sated };
        match &socket.busy {
            Some(busy) if busy.paused.is_some() => Appetite::Sated,
            Some(busy) if busy.unread.is_some() => Appetite::Unread,
            _ => Appetite::Hungry,
        }
    }

    /// Takes what was read from a socket.
    pub fn received(&mut self, key: Key, input: &mut [u8], io: &mut impl Io<Topic = T>) {
        let now_ms = self.wrapped_now_ms();
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.seen_ms = now_ms;
        self.take_input(key, input, io);
    }

    /// Goes on with what was read before.
    pub fn go_on_reading(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        let Some(busy) = self.busy(key) else { return };
        let Some((mut unread, charge)) = busy.unread.take() else { return };
        self.take_input(key, &mut unread, io);
        drop(charge);
        self.tidy(key);
    }

    /// The other side will send no more.
    pub fn ended(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        match self.sockets.get(key).map(|socket| socket.state) {
            Some(SocketState::Open) => self.drop_socket(key, 1006, io),
            Some(_) => _ = self.end(key, io),
            None => {}
        }
    }

    fn take_input(&mut self, key: Key, mut input: &mut [u8], io: &mut impl Io<Topic = T>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.state == SocketState::Deaf {
            return;
        }
        let echo = matches!(socket.watching, Watching::Echo);
        let bytes_max = if echo { ECHO_MESSAGE_BYTES_MAX } else { self.settings.message_bytes_max };
        let held = socket.busy.as_mut().and_then(|busy| busy.decoder.take());
        let (mut decoder, began) = match held {
            Some(Incomplete { decoder, charge, since_ms }) => (*decoder, Some((charge, since_ms))),
            None => (Decoder::default(), None),
        };
        let mut messages_left = self.settings.messages_per_turn;
        let result = loop {
            if messages_left == 0 || self.pause_if_needed(key) {
                self.keep_unread(key, input);
                break Ok(());
            }
            match decoder.next(&mut input, bytes_max) {
                Ok(Some(inbound)) => self.react(key, inbound, io),
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation),
            }
            messages_left -= 1;
        };
        self.send_replies(key, io);
        if let Err(Violation { code, reason }) = result {
            self.close(key, code, reason, io);
            return self.stop_listening(key);
        }
        if !decoder.is_idle() {
            let bytes = decoder.bytes();
            let begins = || (self.account.charge(Kind::Input, 0), self.wrapped_now_ms());
            let (mut charge, since_ms) = began.unwrap_or_else(begins);
            charge.set(bytes);
            if let Some(busy) = self.busy(key) {
                let decoder = Box::new(decoder);
                busy.decoder = Some(Incomplete { decoder, charge, since_ms });
            }
            if self.account.is_full_of_input() {
                self.rest(key);
            }
        }
        self.tidy(key);
    }

    /// Whether nothing more of what a socket sent is to be looked at for now; it is paused then.
    fn pause_if_needed(&mut self, key: Key) -> bool {
        if self.is_checking(key) {
            self.rest(key);
            return true;
        }
        let (now_ms, full) = (self.now_ms, self.account.is_full());
        let Some(socket) = self.sockets.get_mut(key) else { return false };
        if socket.state != SocketState::Open {
            return false;
        }
        let free = socket.is_free();
        let owes_error = socket.busy.as_ref().is_some_and(|busy| busy.owed.error.is_some());
        let must_rest = match &mut socket.watching {
            Watching::Many(many) => {
                many.budget.refill(&self.settings, now_ms);
                full || many.budget.is_spent()
            }
            _ => false,
        };
        if owes_error || (matches!(socket.watching, Watching::Echo) && !free) {
            socket.busy.get_or_insert_default().paused = Some(Paused::UntilFree);
            return true;
        }
        if must_rest {
            self.rest(key);
        }
        must_rest
    }

    /// A socket is not read for a while.
    fn rest(&mut self, key: Key) {
        let until_ms = self.now_ms + REST_MS;
        if let Some(busy) = self.busy(key)
            && busy.paused.is_none()
        {
            busy.paused = Some(Paused::Resting);
            self.resting.push_back((until_ms, key));
        }
    }

    /// A socket has rested. Where there is no memory for what it sends, it rests on.
    pub(super) fn rested(&mut self, key: Key) {
        let waits = self.account.is_full_of_input();
        let Some(busy) = self.busy(key) else { return };
        if busy.paused.take_if(|paused| *paused == Paused::Resting).is_none() {
            return;
        }
        if waits && busy.decoder.is_some() {
            return self.rest(key);
        }
        self.effects.push_back(super::Effect::Read(key));
        self.tidy(key);
    }

    fn keep_unread(&mut self, key: Key, input: &[u8]) {
        if input.is_empty() {
            return;
        }
        let charge = self.account.charge(Kind::Input, input.len());
        if let Some(busy) = self.busy(key) {
            busy.unread = Some((input.to_vec(), charge));
        }
    }

    fn react(&mut self, key: Key, inbound: Inbound<'_>, io: &mut impl Io<Topic = T>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if let Inbound::Close(code) = inbound {
            self.send_replies(key, io);
            return self.other_side_closes(key, code, io);
        }
        // Behind our own Close nothing is answered.
        if socket.state != SocketState::Open {
            return;
        }
        let many = matches!(socket.watching, Watching::Many(_));
        let echo = matches!(socket.watching, Watching::Echo);
        match inbound {
            Inbound::Ping(payload) => self.reply(key, payload, io),
            Inbound::Text(text) if echo => {
                self.send_replies(key, io);
                self.put(key, &ws::whole(Opcode::Text, text.as_bytes()), io);
            }
            Inbound::Binary(bytes) if echo => {
                self.send_replies(key, io);
                self.put(key, &ws::whole(Opcode::Binary, bytes), io);
            }
            Inbound::Text(text) => match message::of(text) {
                Some(Request::Ping) => self.reply_json(key, io),
                Some(Request::Auth { token }) => {
                    self.send_replies(key, io);
                    self.take_token(key, &token, io);
                }
                Some(Request::Subscribe { task, since }) if many => {
                    self.subscribe_by_message(key, &task, since, io);
                }
                Some(Request::Unsubscribe { task }) if many => {
                    if let Ok(thread) = task.thread(&self.settings.sources) {
                        self.unsubscribe(key, &thread, io);
                    }
                }
                _ => {}
            },
            Inbound::Binary(_) | Inbound::Pong | Inbound::Close(_) => {}
        }
    }

    fn subscribe_by_message(
        &mut self,
        key: Key,
        given: &Given<'_>,
        since: Option<Result<Since, ()>>,
        io: &mut impl Io<Topic = T>,
    ) {
        let subscriptions_max = self.settings.socket_subscriptions_max;
        let given_thread = given.thread(&self.settings.sources);
        let may = given_thread.as_ref().is_ok_and(|thread| self.may_watch(key, thread));
        let asks = self.may_ask(key);
        let Some(many) = self.sockets.get_mut(key).and_then(Socket::many) else { return };
        many.budget.take();
        let error = match (given_thread, since) {
            (Err(NoThread::UnknownSource), _) => "Unknown source",
            (Err(NoThread::InvalidId), _) => "Invalid thread id",
            (_, Some(Err(()))) => "Invalid since",
            (Ok(thread), _) if many.viewers.contains_key(&thread) => "Already subscribed",
            (Ok(_), _) if !may && !asks => NOT_THIS,
            _ if many.viewers.len() >= subscriptions_max => "Too many subscriptions",
            (Ok(thread), since) => {
                let since = since.and_then(Result::ok);
                return match may {
                    true => self.subscribe_one_of_many(key, thread, since, io),
                    false => self.ask_to_begin(key, thread, Some(since)),
                };
            }
        };
        if error == NOT_THIS {
            self.tell_of_refusal(key, Some(&given.id), NOT_THIS);
        }
        self.send_replies(key, io);
        self.put_error(key, &encode::error(error, &given.id, given.other_source()), io);
    }

    /// Says what is wrong; where the socket is full, later, and nothing more is read meanwhile.
    pub(super) fn put_error(&mut self, key: Key, frames: &[u8], io: &mut impl Io<Topic = T>) {
        if self.sockets.get(key).is_some_and(Socket::is_free) {
            self.put(key, frames, io);
        } else if let Some(busy) = self.busy(key) {
            // Where several tasks end while the socket is full, each is told.
            let before = busy.owed.error.take().unwrap_or_default();
            busy.owed.error = Some([&before, frames].concat().into());
        }
    }

    /// Answers a Ping; where the socket is full, the newest one later.
    fn reply(&mut self, key: Key, payload: &[u8], io: &mut impl Io<Topic = T>) {
        if self.sockets.get(key).is_some_and(Socket::is_free) {
            let frame = ws::whole(Opcode::Pong, payload);
            self.add_reply(key, &frame, false, io);
        } else if let Some(busy) = self.busy(key) {
            busy.owed.pong = Some(payload.into());
        }
    }

    fn reply_json(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        if self.sockets.get(key).is_some_and(Socket::is_free) {
            self.add_reply(key, JSON_PONG, true, io);
        } else if let Some(busy) = self.busy(key) {
            busy.owed.json_pong = true;
        }
    }

    fn add_reply(&mut self, key: Key, frame: &[u8], json: bool, io: &mut impl Io<Topic = T>) {
        self.replies.bytes.extend_from_slice(frame);
        self.replies.ends.push((self.replies.bytes.len(), json));
        if self.replies.bytes.len() >= REPLIES_BYTES_MAX {
            self.send_replies(key, io);
        }
    }

    /// Sends the answers to Pings. Of those that the socket does not take, it is owed the newest.
    fn send_replies(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        if self.replies.bytes.is_empty() {
            return;
        }
        let mut replies = std::mem::take(&mut self.replies);
        io.count(Count::Sends, 1);
        let sent = match io.send(key, &[IoSlice::new(&replies.bytes)]) {
            Sent::Bytes(sent) => sent,
            Sent::Full => 0,
            Sent::Gone => return self.drop_socket(key, 1006, io),
        };
        io.count(Count::BytesSent, sent as u64);
        let whole = replies.ends.iter().filter(|(end, _)| *end <= sent).count();
        io.count(Count::FramesSent, whole as u64);
        if sent < replies.bytes.len() {
            self.collapse_replies(key, &replies, sent, io);
        }
        // The room is used again.
        replies.bytes.clear();
        replies.ends.clear();
        self.replies = replies;
    }

    /// What is left of answers that were sent in part: the rest of one, and of the others the
    /// newest.
    fn collapse_replies(
        &mut self,
        key: Key,
        Replies { bytes, ends }: &Replies,
        sent: usize,
        io: &mut impl Io<Topic = T>,
    ) {
        let whole = ends.partition_point(|(end, _)| *end <= sent);
        let begin = |number: usize| number.checked_sub(1).map_or(0, |before| ends[before].0);
        let mut unsent = whole;
        let rest = (sent > begin(whole)).then(|| {
            unsent += 1;
            Rest::of(&self.account, &bytes[sent..ends[whole].0])
        });
        self.block(key, rest, sent > 0, io);
        let Some(busy) = self.busy(key) else { return };
        for number in unsent..ends.len() {
            let (end, json) = ends[number];
            if json {
                busy.owed.json_pong = true;
            } else {
                // Its payload is behind a header of two bytes.
                busy.owed.pong = Some(bytes[begin(number) + 2..end].into());
            }
        }
    }
}
