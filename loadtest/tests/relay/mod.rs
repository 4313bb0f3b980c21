//! A small server of viewers' streams that does one thing wrong on purpose, and a Redis for it.

#![allow(dead_code, reason = "each test uses a part of it")]

use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{Commands, Connection};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

/// What the relay does with the fifth update of a connection.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    None,
    Leaves,
    Repeats,
    SwapsWithNext,
    Misnames,
    HangsUp,
    /// Hangs up, and tells those who come back that the next update is gone.
    Forgets,
}

pub(crate) struct Redis {
    pub(crate) process: Child,
    pub(crate) url: String,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let port = free_port().to_string();
        let process = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { process, url: format!("redis://127.0.0.1:{port}") };
        let deadline = Instant::now() + Duration::from_secs(20);
        while redis.connect().is_err() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    pub(crate) fn connect(&self) -> redis::RedisResult<Connection> {
        redis::Client::open(self.url.as_str())?.get_connection()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.local_addr().expect("an address").port()
}

/// Relays each viewer's stream in a thread of its own.
pub(crate) fn start_relay(redis: &Redis, fault: Fault) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let url = redis.url.clone();
    std::thread::spawn(move || serve(&listener, &url, fault, Duration::ZERO));
    port
}

/// The same, until Redis goes away, with so much CPU for each update of a viewer.
pub(crate) fn serve(listener: &TcpListener, redis: &str, fault: Fault, busy: Duration) {
    let client = redis::Client::open(redis).expect("a URL");
    for stream in listener.incoming().flatten() {
        let Ok(redis) = client.get_connection() else { return };
        std::thread::spawn(move || relay(stream, redis, fault, busy));
    }
}

/// Whether it was asked if it is ready, and was told so.
fn is_probe(mut stream: &TcpStream) -> bool {
    let mut start = [0; 11];
    let read = stream.peek(&mut start).unwrap_or(0);
    let is_probe = start[..read].starts_with(b"GET /readyz");
    is_probe && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_ok()
}

/// Ends by itself when the viewer or Redis goes away.
fn relay(stream: TcpStream, mut redis: Connection, fault: Fault, busy: Duration) -> Option<()> {
    if is_probe(&stream) {
        return None;
    }
    let mut uri = None;
    #[allow(clippy::result_large_err)]
    let note_uri = |request: &Request, response: Response| {
        uri = Some(request.uri().clone());
        Ok(response)
    };
    let mut viewer = tungstenite::accept_hdr(stream, note_uri).ok()?;
    let uri = uri?;
    let key = format!("sre:stream:task:{}", uri.path().rsplit('/').next()?);
    let since = uri.query().and_then(|query| query.strip_prefix("since="));
    let mut last = since.unwrap_or("0-0").to_string();
    if since.is_some() && fault == Fault::Forgets {
        last = forget(&mut viewer, &mut redis, &key, &last)?;
    } else if since.is_none() {
        viewer.send(Message::text(state_at(&last))).ok()?;
    }
    let mut frames: Vec<String> = Vec::new();
    loop {
        let options = StreamReadOptions::default().block(200).count(100);
        let reply: Option<StreamReadReply> =
            redis.xread_options(&[&key], &[&last], &options).ok()?;
        for entry in reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids) {
            let stamp: String = entry.get("metadata")?;
            frames.push(format!(
                r#"{{"metadata":{stamp},"stream_id":"{}","prev_stream_id":"{last}"}}"#,
                entry.id
            ));
            last = entry.id;
            let until = Instant::now() + busy;
            while Instant::now() < until {}
            if !send(&mut viewer, &frames, fault)? {
                return None;
            }
        }
    }
}

fn state_at(position: &str) -> String {
    format!(r#"{{"update_type":"initial_state","stream_id":"{position}","updates":[]}}"#)
}

/// Goes on after the entry that a viewer should have got next, and says so.
fn forget(
    viewer: &mut WebSocket<TcpStream>,
    redis: &mut Connection,
    key: &str,
    since: &str,
) -> Option<String> {
    let options = StreamReadOptions::default().block(2000).count(1);
    let reply: Option<StreamReadReply> = redis.xread_options(&[key], &[since], &options).ok()?;
    let forgotten = reply?.keys.pop()?.ids.pop()?.id;
    let gap = r#"{"update_type":"gap","reason":"trimmed"}"#;
    viewer.send(Message::text(gap)).ok()?;
    viewer.send(Message::text(state_at(&forgotten))).ok()?;
    Some(forgotten)
}

/// Sends the newest of the frames, or what the fault makes of it; false to hang up.
fn send(viewer: &mut WebSocket<TcpStream>, frames: &[String], fault: Fault) -> Option<bool> {
    let newest = frames.len() - 1;
    let mut texts = vec![frames[newest].clone()];
    match (fault, newest) {
        (Fault::Leaves, 4) | (Fault::SwapsWithNext, 4) => texts.clear(),
        (Fault::SwapsWithNext, 5) => texts.push(frames[4].clone()),
        (Fault::Repeats, 4) => texts.push(frames[4].clone()),
        (Fault::Misnames, 4) => {
            texts = vec![frames[4].replace("\"prev_stream_id\":\"1", "\"prev_stream_id\":\"2")];
        }
        (Fault::HangsUp | Fault::Forgets, 4) => return Some(false),
        _ => {}
    }
    for text in texts {
        viewer.send(Message::text(text)).ok()?;
    }
    Some(true)
}
