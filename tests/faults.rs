//! A part of the server panics: what is left goes on, or the process ends. Of a build with the
//! feature `faults`, in which `INJECT_FAULT` says which part panics, and in which of its turns.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::RedisServer;
use futures_util::StreamExt as _;
use taskcast::client::{Client, Event, Follow, Update};
use taskcast::config::Config;
use taskcast::id::ThreadId;
use taskcast::log::Log;
use taskcast::publish::{self, NewTask, ThreadManager};
use tokio_tungstenite::tungstenite::Message;

struct Server {
    redis: RedisServer,
    child: Child,
    address: String,
    /// The lines of its log from then on.
    lines: Receiver<String>,
}

impl Server {
    /// A server with one worker, in which this fault is injected.
    fn start(fault: &str) -> Self {
        let redis = RedisServer::start();
        let mut child = Command::new(env!("CARGO_BIN_EXE_taskcast"))
            .env_clear()
            .env("INJECT_FAULT", fault)
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--redis", &redis.url()])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (told, lines) = channel();
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).try_for_each(|l| told.send(l))
        });
        let listening = lines.iter().find(|line| line.contains("listening")).expect("it starts");
        let (_, address) = listening.split_once("address=").expect("it says where");
        let address = address.split_whitespace().next().unwrap().to_owned();
        Self { redis, child, address, lines }
    }

    fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address)).unwrap()
    }

    fn threads(&self) -> ThreadManager {
        let config = Config { redis: self.redis.url(), ..Config::default() };
        ThreadManager::new(Log::open(&config).unwrap())
    }

    /// The status of a GET, and the whole answer; none where nobody answers.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut socket = TcpStream::connect(&self.address).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
    }

    /// Asks until it is answered with this status.
    fn eventually(&self, path: &str, status: u16) -> String {
        loop {
            if let Some((_, answer)) = self.get(path).filter(|(given, _)| *given == status) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn metric(&self, name: &str) -> String {
        let (_, text) = self.get("/metrics").expect("it answers");
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(&format!("taskcast_{name} "))).unwrap().to_owned()
    }

    /// Waits for its end: the exit code, and what it has said.
    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        (code, self.lines.iter().collect::<Vec<_>>().join("\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The next entries' messages, up to this one.
async fn messages(follow: &mut Follow, last: &str) -> Vec<String> {
    let mut messages = Vec::new();
    while messages.last().is_none_or(|message| message != last) {
        match follow.next().await.expect("it goes on").expect("it is no error") {
            Event::Frame { update: Update::Entry { .. }, json } => {
                let frame: serde_json::Value = serde_json::from_str(&json).unwrap();
                messages.push(frame["message"].as_str().unwrap().to_owned());
            }
            Event::Frame { .. } | Event::Connected => {}
            other => assert!(!matches!(other, Event::Disconnected { .. }), "{other:?}"),
        }
    }
    messages
}

async fn attached(server: &Server, thread: &ThreadId) -> Follow {
    let mut follow = server.client().follow(thread.clone().into());
    loop {
        let event = follow.next().await.expect("it goes on").expect("it is no error");
        if let Event::Frame { update: Update::Initial { .. }, .. } = event {
            return follow;
        }
    }
}

#[tokio::test]
async fn a_tail_that_panics_goes_on_where_it_was() {
    let server = Server::start("tail:12");
    let threads = server.threads();
    let thread = threads.create(NewTask::new("q")).await.unwrap();
    let mut follow = attached(&server, &thread).await;
    let mut published = Vec::new();
    // On until it has happened, and as many again behind it.
    let mut behind = 0;
    while behind < 20 {
        let message = format!("update {}", published.len());
        threads.add_update(&thread, publish::Update::new(message.as_str())).await.unwrap();
        published.push(message);
        behind += usize::from(server.metric("panics_total") != "0");
    }
    assert_eq!(messages(&mut follow, published.last().unwrap()).await, published);
    server.eventually("/healthz", 200);
    server.eventually("/readyz", 200);
    assert_eq!(server.metric("panics_total"), "1");
}

#[tokio::test]
async fn a_tail_that_panics_always_ends_the_process() {
    let server = Server::start("tail:2+");
    let threads = server.threads();
    let thread = threads.create(NewTask::new("q")).await.unwrap();
    let _follow = server.client().follow(thread.into());
    assert!(server.eventually("/healthz", 503).contains("tail"));
    let (code, log) = server.end();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("part_died") && log.contains("cannot be started again"), "{log}");
    assert!(log.contains("panicked") && log.contains("a fault was injected into a tail"), "{log}");
}

#[tokio::test]
async fn a_desk_that_panics_asks_again_for_all_who_wait() {
    let server = Server::start("desk:1");
    let threads = server.threads();
    let thread = threads.create(NewTask::new("q")).await.unwrap();
    let mut follow = attached(&server, &thread).await;
    threads.add_update(&thread, publish::Update::new("live")).await.unwrap();
    assert_eq!(messages(&mut follow, "live").await, ["live"]);
    server.eventually("/healthz", 200);
    assert_eq!(server.metric("panics_total"), "1");
}

#[tokio::test]
async fn a_desk_that_panics_always_sends_those_who_wait_away() {
    let server = Server::start("desk:1+");
    let thread = server.threads().create(NewTask::new("q")).await.unwrap();
    let url = format!("ws://{}/api/v1/ws/tasks/{thread}", server.address);
    let (mut viewer, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let close = loop {
        match viewer.next().await.unwrap().unwrap() {
            Message::Close(close) => break close.unwrap(),
            other => assert!(other.is_ping(), "{other:?}"),
        }
    };
    assert_eq!(u16::from(close.code), 1011);
    server.eventually("/healthz", 200);
}

#[tokio::test]
async fn what_panics_on_the_lane_fails_alone() {
    let server = Server::start("lane:1");
    let thread = server.threads().create(NewTask::new("q")).await.unwrap();
    let path = format!("/api/v1/tasks/{thread}");
    assert_eq!(server.get(&path).unwrap().0, 503);
    assert_eq!(server.get(&path).unwrap().0, 200);
    assert_eq!(server.get("/healthz").unwrap().0, 200);
}

#[tokio::test]
async fn a_worker_that_panics_ends_the_process() {
    let server = Server::start("worker:20");
    let threads = server.threads();
    let thread = threads.create(NewTask::new("q")).await.unwrap();
    let _follow = server.client().follow(thread.clone().into());
    while server.get("/healthz").is_some() {
        // Its viewers keep it turning.
        threads.add_update(&thread, publish::Update::new("m")).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (code, log) = server.end();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("the worker panicked and cannot be started again"), "{log}");
}
