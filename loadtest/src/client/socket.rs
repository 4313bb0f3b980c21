//! One connection of one viewer (or of several that share it): dialling, handshake, bytes.

use super::control::Connect;
use super::{frames, handshake};
use crate::tls::Session;
use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Loopback addresses that connections come from. Each one is good for some 28,000 ports.
const SOURCE_ADDRESSES: u32 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Down,
    Connecting,
    /// The handshake of TLS,
    Securing,
    /// and that of the WebSocket.
    Handshaking,
    Open,
}

/// A fixed small record; `tail` and `out` hold nothing most of the time.
pub(crate) struct Socket {
    pub(crate) stream: Option<TcpStream>,
    pub(crate) phase: Phase,
    /// Begun, and not attached yet.
    pub(crate) in_flight: bool,
    pub(crate) group: u32,
    /// The viewers on this socket and the tasks that they watch.
    pub(crate) first_viewer: u32,
    pub(crate) first_track: u32,
    pub(crate) tracks: u32,
    pub(crate) first_task: u32,
    attempt: u32,
    /// The beginning of a frame whose rest has not come yet.
    tail: Vec<u8>,
    /// What the kernel did not take yet.
    out: Vec<u8>,
    secure: Option<Box<Secure>>,
}

/// What TLS adds to a socket.
struct Secure {
    session: Session,
    /// The beginning of a record whose rest has not come yet.
    tail: Vec<u8>,
}

/// All sockets of a process are read into this one.
pub(crate) struct Buffer {
    /// What came,
    came: Vec<u8>,
    /// and what it says, where it was encrypted.
    says: Vec<u8>,
}

/// What a read brought: so many bytes in the buffer, with the tail that was kept before them.
#[derive(Clone, Copy)]
pub(crate) struct Came {
    end: usize,
    is_secure: bool,
    /// Whether the socket is empty now; what comes later is an event again.
    pub(crate) drained: bool,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self { came: vec![0; READ_BYTES_MIN], says: Vec::new() }
    }

    /// Nothing, for as long as another one is used.
    pub(crate) fn none() -> Self {
        Self { came: Vec::new(), says: Vec::new() }
    }

    pub(crate) fn bytes(&self, came: Came) -> &[u8] {
        if came.is_secure { &self.says } else { &self.came[..came.end] }
    }
}

impl Socket {
    pub(crate) fn new(spec: &Connect, group: u32, viewers_before: u32, first_track: u32) -> Self {
        let first_viewer = spec.first_viewer + viewers_before;
        Self {
            stream: None,
            phase: Phase::Down,
            in_flight: false,
            group,
            first_viewer,
            first_track,
            tracks: spec.viewers_per_socket.min(spec.viewers - viewers_before),
            first_task: spec.first_task + first_viewer / spec.viewers_per_task,
            attempt: 0,
            tail: Vec::new(),
            out: Vec::new(),
            secure: None,
        }
    }

    /// Starts to connect; the caller registers the stream.
    pub(crate) fn dial(&mut self, server: SocketAddr) -> io::Result<&mut TcpStream> {
        let socket =
            RawSocket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if matches!(server.ip(), IpAddr::V4(ip) if ip.is_loopback()) {
            let host = 2 + (self.first_viewer % SOURCE_ADDRESSES) as u8;
            let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0));
            // Ports that closed connections still hold may be taken again.
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
        }
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        self.attempt += 1;
        self.phase = Phase::Connecting;
        Ok(self.stream.insert(TcpStream::from_std(socket.into())))
    }

    /// Whether the connection is up; an error when it failed.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let Some(stream) = &self.stream else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A key that differs per viewer, attempt and run, and need not be stored.
    pub(crate) fn key(&self, seed: u64) -> String {
        let base = seed ^ (u64::from(self.group) << 40);
        let own = u64::from(self.first_viewer) << 32 | u64::from(self.attempt);
        handshake::key(scramble(base ^ own), scramble(base.wrapping_add(own).rotate_left(17)))
    }

    pub(crate) fn send_frame(&mut self, opcode: u8, payload: &[u8], seed: u64) -> io::Result<()> {
        let mask = (scramble(seed ^ u64::from(self.first_viewer)) as u32).to_be_bytes();
        self.send(&frames::masked(opcode, payload, mask))
    }

    /// Begins the handshake of a session.
    pub(crate) fn begin(&mut self, session: Session) -> io::Result<()> {
        let secure = self.secure.insert(Box::new(Secure { session, tail: Vec::new() }));
        secure.session.take(&mut [], &mut Vec::new(), &mut self.out)?;
        self.phase = Phase::Securing;
        self.flush()
    }

    /// The session, once its handshake is done.
    pub(crate) fn established(&self) -> Option<&Session> {
        let session = &self.secure.as_ref()?.session;
        session.is_established().then_some(session)
    }

    /// Sends, and keeps what the kernel does not take.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.secure {
            None => self.out.extend_from_slice(bytes),
            Some(secure) => secure.session.encrypt(bytes, &mut self.out)?,
        }
        self.flush()
    }

    /// Sends what was kept.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut sent = 0;
        while sent < self.out.len() {
            match stream.write(&self.out[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.out.drain(..sent);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.out = Vec::new();
        Ok(())
    }

    /// Reads behind the kept tail: what lies in `buffer` now, `None` when nothing came.
    pub(crate) fn read(&mut self, Buffer { came, says }: &mut Buffer) -> io::Result<Option<Came>> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        let Some(secure) = &mut self.secure else {
            let Some(end) = read_behind(stream, &mut self.tail, came)? else { return Ok(None) };
            return Ok(Some(Came { end, is_secure: false, drained: end < came.len() }));
        };
        let Some(end) = read_behind(stream, &mut secure.tail, came)? else { return Ok(None) };
        says.clear();
        says.append(&mut self.tail);
        self.tail = Vec::new();
        let taken = secure.session.take(&mut came[..end], says, &mut self.out)?;
        secure.tail = came[taken..end].to_vec();
        if !self.out.is_empty() {
            self.flush()?;
        }
        Ok(Some(Came { end: says.len(), is_secure: true, drained: end < came.len() }))
    }

    /// Keeps what was not taken of what came.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        self.tail = rest.to_vec();
    }

    pub(crate) fn close(&mut self) {
        self.stream = None;
        self.phase = Phase::Down;
        self.tail = Vec::new();
        self.out = Vec::new();
        self.secure = None;
    }
}

/// Reads behind the kept tail, which lies in the buffer then: the end of it all.
fn read_behind(
    stream: &mut TcpStream,
    tail: &mut Vec<u8>,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<usize>> {
    let kept = tail.len();
    if buffer.len() < kept + READ_BYTES_MIN {
        buffer.resize(2 * kept + READ_BYTES_MIN, 0);
    }
    match stream.read(&mut buffer[kept..]) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up")),
        Ok(n) => {
            buffer[..kept].copy_from_slice(tail);
            *tail = Vec::new();
            Ok(Some(kept + n))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Free space in the buffer before a read: large, so that what gathered comes in one call.
const READ_BYTES_MIN: usize = 256 * 1024;

const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// Turns a number into one that looks random (the finaliser of splitmix64).
fn scramble(word: u64) -> u64 {
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}
