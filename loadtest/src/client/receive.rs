//! What comes from the server: bytes become frames, frames become updates that are verified.

use super::counters::Counters;
use super::fields::StreamId;
use super::frames::{self, Next};
use super::handshake;
use super::sequence::Track;
use super::socket::{Buffer, Phase};
use super::viewers::{End, Viewers};
use crate::clock::now_ns;
use crate::wire::thread_id;
use serde::Deserialize;
use std::borrow::Cow;

/// A frame that is no update of ours.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow, default)]
    update_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    thread_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    stream_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    prev_stream_id: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

impl Viewers {
    /// Reads all that a socket has; up to its end when the server has closed it.
    pub(super) fn read(&mut self, index: usize, closed: bool) {
        loop {
            let socket = &mut self.sockets[index];
            if self.groups[socket.group as usize].is_paused() && socket.phase == Phase::Open {
                return;
            }
            let came = match socket.read(&mut self.buffer) {
                Ok(Some(came)) => came,
                Ok(None) => return,
                Err(error) => return self.lose(index, error.to_string()),
            };
            // The buffer is taken out for as long as its frames are looked at.
            let buffer = std::mem::replace(&mut self.buffer, Buffer::none());
            let bytes = buffer.bytes(came);
            let taken = self.take(index, bytes);
            if let Ok(taken) = taken {
                self.sockets[index].keep(&bytes[taken..]);
            }
            self.buffer = buffer;
            match taken {
                Ok(_) if came.drained && !closed => return,
                Ok(_) => {}
                Err(why) => return self.lose(index, why),
            }
        }
    }

    /// Takes in what came; how many bytes of it are done with.
    fn take(&mut self, index: usize, bytes: &[u8]) -> Result<usize, End> {
        let mut taken = 0;
        if self.sockets[index].phase == Phase::Securing {
            let socket = &self.sockets[index];
            if let Some(session) = socket.established() {
                let counters = &mut self.groups[socket.group as usize].counters;
                counters.resumed += u64::from(session.is_resumed());
                self.ask(index)?;
            }
            return Ok(0);
        }
        if self.sockets[index].phase == Phase::Handshaking {
            let key = self.sockets[index].key(self.seed);
            let Some(length) = handshake::check_answer(bytes, &key)? else { return Ok(0) };
            taken = length;
            self.opened(index)?;
        }
        let now = now_ns();
        let group = self.sockets[index].group as usize;
        loop {
            match frames::next(&bytes[taken..]) {
                Next::Partial => return Ok(taken),
                Next::Bad(what) => {
                    self.groups[group].counters.refused += 1;
                    return Err(format!("the server sent {what}"));
                }
                Next::Frame { opcode, payload, bytes } => {
                    taken += bytes;
                    self.groups[group].counters.bytes += bytes as u64;
                    self.frame(index, opcode, payload, now)?;
                }
            }
        }
    }

    /// The handshake is done.
    fn opened(&mut self, index: usize) -> Result<(), End> {
        let socket = &mut self.sockets[index];
        let group = &mut self.groups[socket.group as usize];
        socket.phase = Phase::Open;
        group.counters.open += u64::from(socket.tracks);
        if group.spec.viewers_per_socket == 1 {
            return Ok(());
        }
        for nth in 0..socket.tracks {
            let id = thread_id(&group.spec.prefix, socket.first_task + nth);
            let since = match self.tracks[(socket.first_track + nth) as usize].since() {
                None => String::new(),
                Some(since) => format!(r#","since":"{since}""#),
            };
            let text = format!(r#"{{"type":"subscribe","thread_id":"{id}"{since}}}"#);
            socket
                .send_frame(frames::TEXT, text.as_bytes(), self.seed)
                .map_err(|error| format!("cannot subscribe: {error}"))?;
        }
        Ok(())
    }

    fn frame(&mut self, index: usize, opcode: u8, payload: &[u8], now: u64) -> Result<(), End> {
        match opcode {
            frames::TEXT => {
                let Some(seen) = self.fields.read(payload) else {
                    self.told(index, payload, now);
                    return Ok(());
                };
                let socket = &self.sockets[index];
                let group = &mut self.groups[socket.group as usize];
                let nth = seen.stamp.task.wrapping_sub(socket.first_task);
                if nth < socket.tracks {
                    let track = &mut self.tracks[(socket.first_track + nth) as usize];
                    track.update(&seen, &mut group.counters);
                } else {
                    group.counters.misrouted += 1;
                }
                group.counters.last_delivery_ns = now;
                group.recent.record(now.saturating_sub(seen.stamp.due_ns) / 1_000);
                Ok(())
            }
            frames::PING => {
                let socket = &mut self.sockets[index];
                self.groups[socket.group as usize].counters.pings += 1;
                let sent = socket.send_frame(frames::PONG, payload, self.seed);
                sent.map_err(|error| format!("cannot answer a ping: {error}"))
            }
            frames::CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                Err(format!("the server closed with {code} {reason}"))
            }
            _ => Ok(()),
        }
    }

    /// Takes in a frame that is no update of ours.
    fn told(&mut self, index: usize, payload: &[u8], now: u64) {
        let socket = &mut self.sockets[index];
        let group = &mut self.groups[socket.group as usize];
        let Ok(told) = serde_json::from_slice::<Told<'_>>(payload) else {
            group.counters.refused += 1;
            return group.note("the server sent a message that is no JSON object");
        };
        if let Some(error) = told.error {
            group.counters.refused += 1;
            group.note(format!("the server said: {error}"));
        }
        let number = told.thread_id.as_deref().and_then(|id| id.strip_prefix(&group.spec.prefix));
        let task = number.and_then(|digits| digits.parse::<u32>().ok());
        let nth = task.map_or(0, |task| task.wrapping_sub(socket.first_task));
        if nth >= socket.tracks {
            group.counters.misrouted += 1;
            return;
        }
        let track = &mut self.tracks[(socket.first_track + nth) as usize];
        let (stream_id, prev) = (position(&told.stream_id), position(&told.prev_stream_id));
        let arrived = match told.update_type.as_deref() {
            Some("initial_state") => {
                track.placed_at(stream_id);
                group.counters.attached += 1;
                group.counters.last_attach_ns = now;
                true
            }
            Some("caught_up") => {
                caught_up(track, stream_id, &mut group.counters);
                group.counters.last_caught_up_ns = now;
                true
            }
            Some("gap") => {
                group.counters.gaps += 1;
                false
            }
            _ => {
                track.chain(stream_id, prev, &mut group.counters);
                false
            }
        };
        if arrived && std::mem::take(&mut socket.in_flight) {
            group.in_flight -= 1;
        }
    }
}

/// `caught_up` names the last entry that the viewer got.
fn caught_up(track: &mut Track, position: Option<StreamId>, counters: &mut Counters) {
    counters.caught_up += 1;
    if let Some(position) = position {
        counters.broken_chains += u64::from(position != track.last());
        track.placed_at(Some(position));
    }
}

fn position(text: &Option<Cow<'_, str>>) -> Option<StreamId> {
    StreamId::read(format!("{}\"", text.as_deref()?).as_bytes())
}
