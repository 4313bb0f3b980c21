//! All viewers of a client process: carries out commands, begins and ends connections.

use super::control::{Command, GroupId, GroupReport};
use super::fields::Fields;
use super::frames;
use super::group::Group;
use super::handshake;
use super::sequence::Track;
use super::socket::{Buffer, Phase, Socket};
use crate::clock::now_ns;
use crate::tls::Session;
use crate::wire::thread_id;
use mio::event::Event;
use mio::{Interest, Registry, Token};
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections begun in one turn of the loop, so that those that are open get their turn.
const CONNECTS_PER_TURN: usize = 64;

pub(crate) struct Viewers {
    registry: Registry,
    pub(super) groups: Vec<Group>,
    pub(super) sockets: Vec<Socket>,
    pub(super) tracks: Vec<Track>,
    pub(super) fields: Fields,
    pub(super) buffer: Buffer,
    /// What the sessions with each server share; what could not be made of it is told where one
    /// would begin.
    configs: BTreeMap<SocketAddr, Result<Arc<ClientConfig>, String>>,
    pub(super) seed: u64,
}

/// Why a connection ended.
pub(super) type End = String;

impl Viewers {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            groups: Vec::new(),
            sockets: Vec::new(),
            tracks: Vec::new(),
            fields: Fields::new(),
            buffer: Buffer::new(),
            configs: BTreeMap::new(),
            seed: now_ns() ^ u64::from(std::process::id()) << 32,
        }
    }

    pub(crate) fn obey(&mut self, command: Command) {
        match command {
            Command::Connect(spec) => {
                if let Some(trust) = &spec.tls {
                    self.configs.entry(spec.server).or_insert_with(|| trust.config());
                }
                let index = self.groups.len() as u32;
                let group = Group::new(spec, index, &mut self.sockets, &mut self.tracks);
                self.groups.push(group);
            }
            Command::Pause { group } => {
                self.with_group(group, |this, g| this.groups[g].pause(now_ns()));
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
        self.groups[group].unpause();
        for index in self.groups[group].sockets.clone() {
            self.read(index, true);
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
    pub(super) fn lose(&mut self, index: usize, why: End) {
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
            if self.groups[group].must_show_life(now_ns) {
                self.show_life(group);
            }
            for _ in 0..CONNECTS_PER_TURN {
                let Some(index) = self.groups[group].next_to_connect(now_ns) else { break };
                self.connect(group, index);
            }
        }
    }

    /// Viewers who do not read do not answer pings either, and would be dropped for that. So they
    /// send a pong unasked, which RFC 6455 allows.
    fn show_life(&mut self, group: usize) {
        for index in self.groups[group].sockets.clone() {
            if self.sockets[index].phase == Phase::Open
                && let Err(error) = self.sockets[index].send_frame(frames::PONG, b"", self.seed)
            {
                self.lose(index, format!("cannot show a sign of life: {error}"));
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
            self.read(index, event.is_read_closed());
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
        let (Some(trust), Some(config)) = (&spec.tls, self.configs.get(&spec.server)) else {
            return self.ask(index);
        };
        let session = Session::of_viewer(config.clone()?, trust.name()?);
        session
            .and_then(|session| socket.begin(session))
            .map_err(|error| format!("cannot begin TLS: {error}"))
    }

    /// Asks for the WebSocket.
    pub(super) fn ask(&mut self, index: usize) -> Result<(), End> {
        let socket = &mut self.sockets[index];
        let spec = &self.groups[socket.group as usize].spec;
        let track = &self.tracks[socket.first_track as usize];
        let path = if spec.viewers_per_socket > 1 {
            "/api/v1/ws".to_string()
        } else {
            let since = match track.since() {
                None => String::new(),
                Some(since) => format!("?since={since}"),
            };
            format!("/api/v1/ws/tasks/{}{since}", thread_id(&spec.prefix, socket.first_task))
        };
        let key = socket.key(self.seed);
        let request = handshake::request(&spec.host, &path, &key, spec.token.as_deref());
        socket.phase = Phase::Handshaking;
        socket.send(request.as_bytes()).map_err(|error| format!("cannot send: {error}"))
    }

    pub(crate) fn reports(&mut self) -> impl Iterator<Item = GroupReport> {
        self.groups.iter_mut().filter_map(Group::report)
    }
}
