//! The kernel's floor: the least that any server must do to bring the same bytes to the same
//! viewers. An epoll loop that gets finished frames and calls `send`, once per message and viewer
//! (or, coalesced, once per viewer for everything new). It knows no Redis and makes no frames. With
//! TLS it encrypts each of them for each viewer, in the buffer from which it is sent.

mod viewer;

use crate::client::handshake;
use crate::failure::{Context, Failure, Result};
use crate::tls;
use crate::wire::text_frame;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::ServerConfig;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use viewer::Viewer;

const VIEWERS: Token = Token(usize::MAX);
const FEEDS: Token = Token(usize::MAX - 1);
const FEED: Token = Token(usize::MAX - 2);
const EVENTS_MAX: usize = 1024;
/// What is taken from the feed before it is sent on.
const FEED_BYTES_MAX: usize = 1024 * 1024;
pub(super) const REQUEST_BYTES_MAX: usize = 4096;

/// A message on the feed is this header, then the frame.
pub(crate) const FEED_HEADER_BYTES: usize = 8;

pub(crate) fn feed_header(task: u32, frame_bytes: usize) -> [u8; FEED_HEADER_BYTES] {
    (u64::from(task) << 32 | frame_bytes as u64).to_be_bytes()
}

/// The frames of one task that some viewer still lacks, back to back.
#[derive(Default)]
struct Task {
    log: Vec<u8>,
    /// Where each message ends in the log.
    ends: Vec<usize>,
    viewers: Vec<usize>,
    /// Viewers whose socket took less than all.
    blocked: usize,
    /// Whether frames were appended that no pass has sent yet, and from where.
    unsent_from: Option<usize>,
}

struct Floor {
    coalesced: bool,
    tls: Option<Arc<ServerConfig>>,
    poll: Poll,
    listener: TcpListener,
    feeds: TcpListener,
    feed: Option<TcpStream>,
    feed_bytes: Vec<u8>,
    viewers: Vec<Viewer>,
    tasks: Vec<Task>,
}

/// Runs until the parent closes the feed. Prints the ports of the viewers and of the feed.
/// With the files of a certificate and its key, it speaks TLS.
pub(crate) fn run(coalesced: bool, files: &[String]) -> Result<()> {
    let tls = match files {
        [] => None,
        [certificate, key] => Some(tls::server_config([certificate, key])?),
        _ => return Err(Failure::new("TLS takes a certificate and its key")),
    };
    let floor = Floor::new(coalesced, tls).while_doing(|| "the floor cannot start".into());
    floor?.serve().while_doing(|| "the floor failed".into())
}

impl Floor {
    fn new(coalesced: bool, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (mut listener, mut feeds) = (listen(any)?, TcpListener::bind(any)?);
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, VIEWERS, Interest::READABLE)?;
        poll.registry().register(&mut feeds, FEEDS, Interest::READABLE)?;
        println!("{} {}", listener.local_addr()?.port(), feeds.local_addr()?.port());
        Ok(Self {
            coalesced,
            tls,
            poll,
            listener,
            feeds,
            feed: None,
            feed_bytes: Vec::new(),
            viewers: Vec::new(),
            tasks: Vec::new(),
        })
    }

    fn serve(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        // The feed is edge-triggered too: whether it may hold more than was taken.
        let mut more = false;
        loop {
            let timeout = more.then_some(std::time::Duration::ZERO);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token() {
                    VIEWERS => self.accept()?,
                    FEEDS => self.accept_feed()?,
                    FEED => more = true,
                    Token(index) => {
                        if event.is_writable() {
                            self.unblock(index);
                        }
                        if event.is_readable() {
                            self.read(index);
                        }
                    }
                }
            }
            if more {
                match self.read_feed()? {
                    Some(rest) => more = rest,
                    None => return Ok(()),
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let token = Token(self.viewers.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, token, interest)?;
            self.viewers.push(Viewer::new(stream, self.tls.clone())?);
        }
    }

    fn accept_feed(&mut self) -> io::Result<()> {
        if let Ok((mut stream, _)) = self.feeds.accept() {
            self.poll.registry().register(&mut stream, FEED, Interest::READABLE)?;
            self.feed = Some(stream);
        }
        Ok(())
    }

    /// Reads a viewer's handshake; later only its end is of interest.
    fn read(&mut self, index: usize) {
        let viewer = &mut self.viewers[index];
        match viewer.read() {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => return self.part(index),
        }
        if viewer.task.is_some() || viewer.request.len() > REQUEST_BYTES_MAX {
            viewer.request = Vec::new();
            return;
        }
        let Some((task, answer)) = answer(&viewer.request) else { return };
        viewer.request = Vec::new();
        viewer.task = Some(task);
        viewer.send(&answer);
        self.task(task).viewers.push(index);
    }

    fn part(&mut self, index: usize) {
        let viewer = &mut self.viewers[index];
        let _ = self.poll.registry().deregister(&mut viewer.stream);
        let _ = viewer.stream.shutdown(std::net::Shutdown::Both);
        let was_blocked = viewer.blocked_at.take().is_some();
        if let Some(task) = viewer.task.and_then(|task| self.tasks.get_mut(task)) {
            task.viewers.retain(|other| *other != index);
            task.blocked -= usize::from(was_blocked);
        }
    }

    fn task(&mut self, task: usize) -> &mut Task {
        if self.tasks.len() <= task {
            self.tasks.resize_with(task + 1, Task::default);
        }
        &mut self.tasks[task]
    }

    /// Takes what the feed has and sends it on: whether there may be more, `None` at its end.
    fn read_feed(&mut self) -> io::Result<Option<bool>> {
        let Some(feed) = &mut self.feed else { return Ok(Some(false)) };
        let mut more = true;
        let mut kept = self.feed_bytes.len();
        self.feed_bytes.resize(kept + FEED_BYTES_MAX, 0);
        while more && kept < FEED_BYTES_MAX {
            match feed.read(&mut self.feed_bytes[kept..]) {
                Ok(0) => return Ok(None),
                Ok(n) => kept += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => more = false,
                Err(error) => return Err(error),
            }
        }
        self.feed_bytes.truncate(kept);
        self.send_on();
        Ok(Some(more))
    }

    fn send_on(&mut self) {
        let bytes = std::mem::take(&mut self.feed_bytes);
        let mut rest = &bytes[..];
        let mut touched = Vec::new();
        while let Some((header, after)) = rest.split_first_chunk::<FEED_HEADER_BYTES>() {
            let header = u64::from_be_bytes(*header);
            let (task, length) = ((header >> 32) as usize, header as u32 as usize);
            let Some(frame) = after.get(..length) else { break };
            rest = &after[length..];
            if self.task(task).append(frame) {
                touched.push(task);
            }
            if !self.coalesced {
                self.pass(task);
                touched.clear();
            }
        }
        for task in touched {
            self.pass(task);
        }
        self.feed_bytes = rest.to_vec();
    }

    /// One `send` of what is unsent to every viewer that is not behind.
    fn pass(&mut self, task: usize) {
        let Task { log, viewers, blocked, unsent_from, .. } = &mut self.tasks[task];
        let Some(start) = unsent_from.take() else { return };
        for index in viewers.iter() {
            let viewer = &mut self.viewers[*index];
            if viewer.blocked_at.is_some() {
                continue;
            }
            let sent = viewer.send(&log[start..]);
            if start + sent < log.len() {
                viewer.blocked_at = Some(start + sent);
                *blocked += 1;
            }
        }
    }

    /// Sends a viewer that was behind what it lacks, in the floor's manner.
    fn unblock(&mut self, index: usize) {
        let viewer = &mut self.viewers[index];
        if !viewer.flush() {
            return;
        }
        let (Some(mut at), Some(task)) = (viewer.blocked_at, viewer.task) else { return };
        let task = &mut self.tasks[task];
        while at < task.log.len() {
            let end = match self.coalesced {
                true => task.log.len(),
                false => task.ends[task.ends.partition_point(|end| *end <= at)],
            };
            let sent = viewer.send(&task.log[at..end]);
            at += sent;
            if at < end {
                viewer.blocked_at = Some(at);
                return;
            }
        }
        viewer.blocked_at = None;
        task.blocked -= 1;
    }
}

impl Task {
    /// Appends a frame: whether it is the first one that no pass has sent yet.
    fn append(&mut self, frame: &[u8]) -> bool {
        let first = self.unsent_from.is_none();
        if first && self.blocked == 0 {
            self.log.clear();
            self.ends.clear();
        }
        self.unsent_from.get_or_insert(self.log.len());
        self.log.extend_from_slice(frame);
        self.ends.push(self.log.len());
        first
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Socket, Type};
    const BACKLOG: i32 = 4096;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// The answer to a whole request, and the task that it asks for.
fn answer(request: &[u8]) -> Option<(usize, Vec<u8>)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut parsed = httparse::Request::new(&mut headers);
    if !parsed.parse(request).ok()?.is_complete() {
        return None;
    }
    let key = parsed.headers.iter().find(|h| h.name.eq_ignore_ascii_case("Sec-WebSocket-Key"))?;
    let accept = handshake::accept(std::str::from_utf8(key.value).ok()?);
    let id = parsed.path?.rsplit('/').next()?;
    let task = id.rsplit('-').next()?.parse().ok()?;
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    let state =
        format!(r#"{{"update_type":"initial_state","thread_id":"{id}","stream_id":"0-0"}}"#);
    answer.extend(text_frame(state.as_bytes()));
    Some((task, answer))
}
