//! All viewers of a client process: carries out commands, moves connections on, takes frames in.

use super::control::{Command, GroupId, GroupReport};
use super::counters::Counters;
use super::fields::{Fields, StreamId};
use super::frames::{self, Next};
use super::group::Group;
use super::handshake;
use super::sequence::Track;
use super::socket::{Phase, READ_BYTES_MIN, Socket};
use crate::clock::now_ns;
use crate::wire::thread_id;
use mio::event::Event;
use mio::{Interest, Registry, Token};
use serde::Deserialize;
use std::borrow::Cow;

/// Connections begun in one turn of the loop, so that those that are open get their turn.
const CONNECTS_PER_TURN: usize = 64;

pub(crate) struct Viewers {
    registry: Registry,
    groups: Vec<Group>,
    sockets: Vec<Socket>,
    tracks: Vec<Track>,
    fields: Fields,
    /// All sockets are read into this one.
    buffer: Vec<u8>,
    seed: u64,
}

/// Why a connection ended.
type End = String;

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
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            groups: Vec::new(),
            sockets: Vec::new(),
            tracks: Vec::new(),
            fields: Fields::new(),
            buffer: vec![0; READ_BYTES_MIN],
            seed: now_ns() ^ u64::from(std::process::id()) << 32,
        }
    }

    pub(crate) fn obey(&mut self, command: Command) {
        match command {
            Command::Connect(spec) => {
                let index = self.groups.len() as u32;
                let group = Group::new(spec, index, &mut self.sockets, &mut self.tracks);
                self.groups.push(group);
            }
            Command::Pause { group } => {
                self.with_group(group, |this, g| this.groups[g].paused = true)
            }
            Command::Unpause { group } => self.with_group(group, Self::unpause),
            Command::Reconnect { group } => self.with_group(group, Self::reconnect),
            Command::Churn { group, per_second, replacements } => {
                self.with_group(group, |this, g| {
                    this.groups[g].start_churn(per_second, replacements, now_ns());
                })
            }
            Command::Drop { group } => self.with_group(group, |this, g| {
                this.groups[g].sockets.clone().for_each(|index| this.leave(index));
            }),
        }
    }

    /// A process may have none of a group's viewers, and then does not know the group.
    fn with_group(&mut self, id: GroupId, act: impl FnOnce(&mut Self, usize)) {
        if let Some(group) = self.groups.iter().position(|group| group.spec.group == id) {
            act(self, group);
        }
    }

    fn unpause(&mut self, group: usize) {
        self.groups[group].paused = false;
        for index in self.groups[group].sockets.clone() {
            self.read(index);
        }
    }

    fn reconnect(&mut self, group: usize) {
        self.groups[group].in_flight_max = u32::MAX;
        for index in self.groups[group].sockets.clone() {
            self.leave(index);
            self.groups[group].connect_soon(index);
        }
    }

    /// Ends a connection because we want to.
    fn leave(&mut self, index: usize) {
        let socket = &mut self.sockets[index];
        let group = &mut self.groups[socket.group as usize];
        if socket.phase == Phase::Open {
            group.counters.open -= u64::from(socket.tracks);
        }
        if std::mem::take(&mut socket.in_flight) {
            group.in_flight -= 1;
        }
        socket.close();
    }

    /// Ends a connection because it broke.
    fn lose(&mut self, index: usize, why: End) {
        let socket = &self.sockets[index];
        let (phase, tracks) = (socket.phase, u64::from(socket.tracks));
        let group = socket.group as usize;
        self.leave(index);
        let group = &mut self.groups[group];
        group.note(why);
        if phase == Phase::Open {
            group.counters.lost += tracks;
        } else {
            group.counters.retries += 1;
            group.connect_later(index, now_ns());
        }
    }

    pub(crate) fn due_ns(&self, now_ns: u64) -> u64 {
        self.groups.iter().map(|group| group.due_ns(now_ns)).min().unwrap_or(u64::MAX)
    }

    /// Begins the connections and replacements that are due.
    pub(crate) fn on_time(&mut self, now_ns: u64) {
        for group in 0..self.groups.len() {
            while let Some(index) = self.groups[group].next_to_replace(now_ns, &self.sockets) {
                self.leave(index);
                let first = self.sockets[index].first_track as usize;
                self.tracks[first] = Track::starting_at(0);
                self.groups[group].connect_soon(index);
            }
            for _ in 0..CONNECTS_PER_TURN {
                let Some(index) = self.groups[group].next_to_connect(now_ns) else { break };
                self.connect(group, index);
            }
        }
    }

    fn connect(&mut self, group: usize, index: usize) {
        let (socket, group) = (&mut self.sockets[index], &mut self.groups[group]);
        group.counters.connects += 1;
        group.in_flight += 1;
        socket.in_flight = true;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let begun = socket
            .dial(group.spec.server)
            .and_then(|stream| self.registry.register(stream, Token(index), interest));
        if let Err(error) = begun {
            self.lose(index, format!("cannot connect: {error}"));
        }
    }

    pub(crate) fn on_event(&mut self, event: &Event) {
        let Token(index) = event.token();
        if event.is_writable()
            && let Err(why) = self.on_writable(index)
        {
            return self.lose(index, why);
        }
        if event.is_readable() || event.is_read_closed() {
            self.read(index);
        }
    }

    fn on_writable(&mut self, index: usize) -> Result<(), End> {
        let socket = &mut self.sockets[index];
        if socket.phase != Phase::Connecting {
            return socket.flush().map_err(|error| format!("cannot send: {error}"));
        }
        if !socket.is_connected().map_err(|error| format!("cannot connect: {error}"))? {
            return Ok(());
        }
        let spec = &self.groups[socket.group as usize].spec;
        let track = &self.tracks[socket.first_track as usize];
        let path = if spec.viewers_per_socket > 1 {
            "/api/v1/ws".to_string()
        } else {
            let since = match track.last() {
                StreamId::ZERO => String::new(),
                last => format!("?since={last}"),
            };
            format!("/api/v1/ws/tasks/{}{since}", thread_id(&spec.prefix, socket.first_task))
        };
        let request = handshake::request(&spec.host, &path, &socket.key(self.seed));
        socket.phase = Phase::Handshaking;
        socket.send(request.as_bytes()).map_err(|error| format!("cannot send: {error}"))
    }

    /// Reads all that a socket has.
    fn read(&mut self, index: usize) {
        loop {
            let socket = &mut self.sockets[index];
            if self.groups[socket.group as usize].paused && socket.phase == Phase::Open {
                return;
            }
            let end = match socket.read(&mut self.buffer) {
                Ok(Some(end)) => end,
                Ok(None) => return,
                Err(error) => return self.lose(index, error.to_string()),
            };
            // The buffer is taken out for as long as its frames are looked at.
            let buffer = std::mem::take(&mut self.buffer);
            let taken = self.take(index, &buffer[..end]);
            if let Ok(taken) = taken {
                self.sockets[index].tail = buffer[taken..end].to_vec();
            }
            let drained = end < buffer.len();
            self.buffer = buffer;
            match taken {
                // A short read has emptied the socket; its end, if it comes, is an event again.
                Ok(_) if drained => return,
                Ok(_) => {}
                Err(why) => return self.lose(index, why),
            }
        }
    }

    /// Takes in what came; how many bytes of it are done with.
    fn take(&mut self, index: usize, bytes: &[u8]) -> Result<usize, End> {
        let mut taken = 0;
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
            let since = match self.tracks[(socket.first_track + nth) as usize].last() {
                StreamId::ZERO => String::new(),
                last => format!(r#","since":"{last}""#),
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
                track.placed_at(stream_id.unwrap_or_default());
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

    pub(crate) fn reports(&mut self) -> impl Iterator<Item = GroupReport> {
        self.groups.iter_mut().filter_map(Group::report)
    }
}

/// `caught_up` names the last entry that the viewer got.
fn caught_up(track: &mut Track, position: Option<StreamId>, counters: &mut Counters) {
    counters.caught_up += 1;
    if let Some(position) = position {
        counters.broken_chains += u64::from(position != track.last());
        track.placed_at(position);
    }
}

fn position(text: &Option<Cow<'_, str>>) -> Option<StreamId> {
    StreamId::read(format!("{}\"", text.as_deref()?).as_bytes())
}
