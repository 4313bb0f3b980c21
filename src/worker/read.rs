//! Read: what viewers send. Two kinds of message mean something, Pings and `{"type": …}`;
//! everything else is a sign of life and no more (protocol §3, "From viewers").

use std::io::{self, Read};

use crate::core::form::ws::Opcode;
use bytes::Bytes;
use simd_json::prelude::*;

use super::{SocketState, Watching, Worker};
use crate::core::encode;
use crate::core::form::ws as frame;
use crate::core::inbound::{Decoder, Inbound, Violation};
use crate::core::slots::Key;
use crate::id::{StreamId, ThreadId};

/// Reads of one socket before the others' turn comes.
const READS_PER_TURN: usize = 4;

/// The longest message on the echo endpoint, in bytes.
const ECHO_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What has to be done about a message.
enum Reaction {
    Send(Bytes),
    Subscribe { thread: String, since: Option<Result<StreamId, String>> },
    Unsubscribe { thread: String },
    Close(Option<u16>),
}

impl Worker {
    /// Reads the sockets that were not read to the end.
    pub(super) fn read_some(&mut self) {
        for _ in 0..self.unread.len() {
            if let Some(key) = self.unread.pop_front() {
                self.read(key);
            }
        }
    }

    /// Reads what a socket has, up to its turn's end.
    pub(super) fn read(&mut self, key: Key) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for turn in 0.. {
            let Some(socket) = self.sockets.get_mut(key) else { break };
            let full = socket.outbox.as_ref().map_or(0, |outbox| outbox.bytes())
                > self.shared.config.limits.outbox_bytes_max;
            if full && socket.state == SocketState::Open {
                // Who does not take the answers gets no more of them.
                socket.read_paused = true;
                break;
            }
            if turn == READS_PER_TURN {
                self.unread.push_back(key);
                break;
            }
            match socket.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended(key);
                    break;
                }
                Ok(read) => {
                    socket.seen_ms = self.started.elapsed().as_millis() as u32;
                    self.take_input(key, &mut buffer[..read]);
                    // Less than there was room for: the kernel will tell of more.
                    if read < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.drop_socket(key, 1006);
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    /// Decodes bytes of a viewer and reacts to what they say.
    pub(super) fn take_input(&mut self, key: Key, input: &mut [u8]) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if socket.state == SocketState::Deaf {
            return;
        }
        let echo = matches!(socket.watching, Watching::Echo);
        let many = matches!(socket.watching, Watching::Many(_));
        let bytes_max =
            if echo { ECHO_MESSAGE_BYTES_MAX } else { self.shared.config.limits.message_bytes_max };
        let mut decoder = socket.decoder.take().unwrap_or_default();
        let mut reactions = Vec::new();
        let result = decoder.feed(input, bytes_max, |inbound| {
            reactions.extend(if echo { echoed(inbound) } else { reaction(inbound, many) });
        });
        keep_if_needed(&mut socket.decoder, decoder);
        for reaction in reactions {
            self.react(key, reaction);
        }
        if let Err(Violation { code, reason }) = result {
            self.close(key, code, reason);
            self.stop_listening(key);
        }
    }

    fn react(&mut self, key: Key, reaction: Reaction) {
        match reaction {
            Reaction::Send(frame) => self.send_frames(key, frame, 1),
            Reaction::Close(code) => self.other_side_closes(key, code),
            Reaction::Subscribe { thread, since } => self.subscribe_one_of_many(key, thread, since),
            Reaction::Unsubscribe { thread } => {
                if let Ok(thread) = thread.parse() {
                    self.unsubscribe(key, &thread);
                }
            }
        }
    }

    fn subscribe_one_of_many(
        &mut self,
        key: Key,
        thread: String,
        since: Option<Result<StreamId, String>>,
    ) {
        let subscriptions_max = self.shared.config.limits.socket_subscriptions_max;
        if self.sockets.get(key).is_none_or(|socket| socket.state != SocketState::Open) {
            return;
        }
        let Some(many) = self.many(key) else { return };
        let parsed = thread.parse::<ThreadId>();
        let error = match (&parsed, since) {
            (Err(_), _) => "Invalid thread id",
            (_, Some(Err(_))) => "Invalid since",
            (Ok(parsed), _) if many.viewers.contains_key(parsed) => "Already subscribed",
            _ if many.viewers.len() >= subscriptions_max => "Too many subscriptions",
            (Ok(parsed), since) => {
                let viewer = self.subscribe(key, parsed, since.and_then(Result::ok));
                if let Some(many) = self.many(key) {
                    many.viewers.insert(parsed.clone(), viewer);
                }
                return;
            }
        };
        self.send_frames(key, encode::error(error, &thread), 1);
    }
}

/// A decoder between two messages is not kept: an idle viewer has none.
fn keep_if_needed(place: &mut Option<Box<Decoder>>, decoder: Box<Decoder>) {
    *place = (!decoder.is_idle()).then_some(decoder);
}

fn echoed(inbound: Inbound<'_>) -> Option<Reaction> {
    Some(match inbound {
        Inbound::Text(text) => Reaction::Send(frame::whole(Opcode::Text, text.as_bytes())),
        Inbound::Binary(bytes) => Reaction::Send(frame::whole(Opcode::Binary, bytes)),
        other => return reaction(other, false),
    })
}

fn reaction(inbound: Inbound<'_>, many: bool) -> Option<Reaction> {
    match inbound {
        Inbound::Text(text) => message(text, many),
        Inbound::Ping(payload) => Some(Reaction::Send(frame::whole(Opcode::Pong, payload))),
        Inbound::Close(code) => Some(Reaction::Close(code)),
        Inbound::Binary(_) | Inbound::Pong => None,
    }
}

/// A message of a viewer, if it is one of those that mean something.
fn message(text: &str, many: bool) -> Option<Reaction> {
    // Nearly all that is sent is short; what is no object need not be parsed.
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut text = text.as_bytes().to_vec();
    let message = simd_json::to_borrowed_value(&mut text).ok()?;
    let thread = || message.get_str("thread_id").unwrap_or_default().to_owned();
    match message.get_str("type")? {
        "ping" => Some(Reaction::Send(Bytes::from_static(b"\x81\x0f{\"type\":\"pong\"}"))),
        "subscribe" if many => {
            let since = message.get("since").filter(|since| !since.is_null()).map(|since| {
                let text = since.as_str().unwrap_or("not a string");
                text.parse().map_err(|_| text.to_owned())
            });
            Some(Reaction::Subscribe { thread: thread(), since })
        }
        "unsubscribe" if many => Some(Reaction::Unsubscribe { thread: thread() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pong_is_a_whole_frame() {
        let Some(Reaction::Send(pong)) = message("{\"type\":\"ping\"}", false) else {
            panic!("no pong");
        };
        assert_eq!(pong, frame::whole(Opcode::Text, b"{\"type\":\"pong\"}"));
    }

    #[test]
    fn what_is_no_message_of_ours_means_nothing() {
        for text in
            ["", "ping", "[]", "{}", "{\"type\":1}", "{\"type\":\"pang\"}", "{", "null", "1"]
        {
            assert!(message(text, true).is_none(), "{text}");
        }
        assert!(message("{\"type\":\"subscribe\",\"thread_id\":\"a\"}", false).is_none());
    }
}
