//! The client against a scripted server, which is another implementation of WebSocket.

// The exceptions for tests do not reach their helpers.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use taskcast_client::{
    Client, ClientError, Event, Follow, Outcome, Since, Standing, Task, Timing, Update,
};
use taskcast_core::id::StreamId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// Only so that a test that fails does not hang.
const DEADLINE: Duration = Duration::from_secs(20);

/// Quick to reconnect, slow to give up.
const TIMING: Timing = Timing {
    connect_within: Duration::from_secs(10),
    ping_after: Duration::from_secs(20),
    dead_after: Duration::from_secs(60),
    retry_min: Duration::from_millis(5),
    retry_max: Duration::from_millis(20),
};

struct Server {
    listener: TcpListener,
    url: String,
}

/// A viewer as the server sees it.
struct Viewer {
    path: String,
    socket: WebSocketStream<TcpStream>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    fn client(&self) -> Client {
        Client::new(&self.url).unwrap().with_timing(TIMING)
    }

    fn follow(&self) -> Follow {
        self.client().follow("t1".parse().unwrap())
    }

    fn follow_since(&self, since: &str) -> Follow {
        self.client().follow_since("t1".parse().unwrap(), since.parse::<Since>().unwrap())
    }

    async fn accept(&self) -> Viewer {
        let (socket, _) = timeout(DEADLINE, self.listener.accept()).await.unwrap().unwrap();
        let mut path = String::new();
        #[allow(clippy::result_large_err)] // The type is tungstenite's.
        let note = |request: &Request, response: Response| {
            path = request.uri().to_string();
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(socket, note).await.unwrap();
        Viewer { path, socket }
    }
}

impl Viewer {
    async fn send(&mut self, json: &str) {
        self.socket.send(Message::text(json)).await.unwrap();
    }

    async fn send_entry(&mut self, prev: &str, id: &str) {
        self.send(&entry(prev, id)).await;
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame { code: CloseCode::from(code), reason: "scripted".into() };
        self.socket.close(Some(frame)).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        timeout(DEADLINE, self.socket.next()).await.unwrap().unwrap().unwrap()
    }
}

fn entry(prev: &str, id: &str) -> String {
    format!(r#"{{"update_type":"thread_update","stream_id":"{id}","prev_stream_id":"{prev}"}}"#)
}

fn initial(id: &str) -> String {
    format!(r#"{{"update_type":"initial_state","thread_id":"t1","stream_id":"{id}"}}"#)
}

async fn event(follow: &mut Follow) -> Event {
    timeout(DEADLINE, follow.next()).await.unwrap().unwrap().unwrap()
}

/// The next frame; connections may come and go before it.
async fn update(follow: &mut Follow) -> Update {
    loop {
        if let Event::Frame { update, .. } = event(follow).await {
            return update;
        }
    }
}

async fn entry_id(follow: &mut Follow) -> String {
    match update(follow).await {
        Update::Entry { stream_id, .. } => stream_id.to_string(),
        other => panic!("{other:?} where an entry was due"),
    }
}

/// Why the connection ended.
async fn disconnect(follow: &mut Follow) -> ClientError {
    loop {
        if let Event::Disconnected { error, .. } = event(follow).await {
            return error;
        }
    }
}

async fn end(follow: &mut Follow) -> ClientError {
    loop {
        if let Err(error) = timeout(DEADLINE, follow.next()).await.unwrap().unwrap() {
            assert!(timeout(DEADLINE, follow.next()).await.unwrap().is_none(), "an end is an end");
            return error;
        }
    }
}

#[tokio::test]
async fn a_connection_cut_within_a_frame_goes_on_after_the_last_whole_one() {
    let server = Server::start().await;
    let mut follow = server.follow();
    let mut viewer = server.accept().await;
    assert_eq!(viewer.path, "/api/v1/ws/tasks/t1");
    viewer.send(&initial("1-0")).await;
    viewer.send_entry("1-0", "2-0").await;
    let half = [&[0x81, 100][..], br#"{"update_type":"thread_up"#].concat();
    viewer.socket.get_mut().write_all(&half).await.unwrap();
    drop(viewer);

    assert!(matches!(update(&mut follow).await, Update::Initial { lost: false, .. }));
    assert_eq!(entry_id(&mut follow).await, "2-0");
    assert!(matches!(disconnect(&mut follow).await, ClientError::Closed { code: None, .. }));

    let mut viewer = server.accept().await;
    assert_eq!(viewer.path, "/api/v1/ws/tasks/t1?since=2-0");
    viewer.send_entry("2-0", "3-0").await;
    viewer.send(r#"{"update_type":"caught_up","thread_id":"t1","stream_id":"3-0"}"#).await;
    assert_eq!(entry_id(&mut follow).await, "3-0");
    assert_eq!(update(&mut follow).await, Update::CaughtUp);
}

#[tokio::test]
async fn a_derived_frame_is_handed_on_and_is_no_part_of_the_chain() {
    let server = Server::start().await;
    let mut follow = server.follow();
    let mut viewer = server.accept().await;
    viewer.send(&initial("1-0")).await;
    viewer.send_entry("1-0", "2-0").await;
    viewer.send(r#"{"update_type":"thread_update","derived":true,"stream_id":"2-0"}"#).await;
    viewer.send_entry("2-0", "3-0").await;
    assert!(matches!(update(&mut follow).await, Update::Initial { .. }));
    assert_eq!(entry_id(&mut follow).await, "2-0");
    assert_eq!(update(&mut follow).await, Update::Derived);
    assert_eq!(entry_id(&mut follow).await, "3-0");
}

#[tokio::test]
async fn a_task_of_a_source_is_followed_by_its_name_to_its_end() {
    let server = Server::start().await;
    let task = Task::of("jobs", "q/1:7").unwrap();
    let mut follow = server.client().follow_since(task, Since::Retained);
    let mut viewer = server.accept().await;
    assert_eq!(viewer.path, "/api/v1/ws/jobs/q%2F1:7?since=0");
    viewer.send_entry("0-0", "1-0").await;
    viewer.send(r#"{"update_type":"end","failed":true,"derived":true,"stream_id":"1-0"}"#).await;
    viewer.send_entry("1-0", "2-0").await;
    let mut standing = Standing::new();
    let mut came = Vec::new();
    while came.len() < 3 {
        if let Event::Frame { update, json } = event(&mut follow).await {
            standing.take(&update, &json);
            came.push((update, standing.outcome()));
        }
    }
    assert_eq!(came[1], (Update::End { failed: true }, Some(Outcome::Failed)));
    assert!(matches!(came[2], (Update::Entry { .. }, None)));
}

#[tokio::test]
async fn frames_of_any_cut_and_size_are_the_same_frames() {
    let server = Server::start().await;
    let mut follow = server.follow_since("0");
    let mut viewer = server.accept().await;
    assert_eq!(viewer.path, "/api/v1/ws/tasks/t1?since=0");
    let socket = viewer.socket.get_mut();
    let text = entry("0-0", "1-0");
    let (head, tail) = text.as_bytes().split_at(30);
    // In two fragments with a ping between them, byte by byte.
    let bytes = [&[0x01, 30][..], head, &[0x89, 1, b'!'], &[0x80, tail.len() as u8], tail].concat();
    for byte in bytes {
        socket.write_all(&[byte]).await.unwrap();
        socket.flush().await.unwrap();
    }
    assert_eq!(entry_id(&mut follow).await, "1-0");
    assert_eq!(viewer.next().await, Message::Pong(Bytes::from_static(b"!")));

    let long = "\u{e4}".repeat(500_000);
    let text = format!(r#"{{"message":"{long}","stream_id":"2-0","prev_stream_id":"1-0"}}"#);
    viewer.send(&text).await;
    match event(&mut follow).await {
        Event::Frame { json, .. } => assert_eq!(json, text),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn frames_that_come_along_with_the_handshake_are_read() {
    let server = Server::start().await;
    let mut follow = server.follow();
    let (mut socket, _) = timeout(DEADLINE, server.listener.accept()).await.unwrap().unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
    }
    let text = initial("1-0");
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let bytes = [answer.as_bytes(), &[0x81, text.len() as u8], text.as_bytes()].concat();
    socket.write_all(&bytes).await.unwrap();
    assert!(matches!(update(&mut follow).await, Update::Initial { .. }));
}

#[tokio::test]
async fn a_message_over_the_limit_is_the_end() {
    let server = Server::start().await;
    let mut follow = server.follow();
    let mut viewer = server.accept().await;
    let head = [&[0x81, 127][..], &(1_u64 << 40).to_be_bytes()].concat();
    viewer.socket.get_mut().write_all(&head).await.unwrap();
    assert!(matches!(end(&mut follow).await, ClientError::TooLarge));
}

#[tokio::test]
async fn bytes_that_are_no_frames_end_the_connection_only() {
    let server = Server::start().await;
    let mut follow = server.follow_since("1-0");
    for bytes in [&b"HTTP/1.1 200 OK"[..], &[0x80, 0], &[0x81, 1, 0xff], &[0x01, 1, b'{', 0x81, 0]]
    {
        let mut viewer = server.accept().await;
        viewer.socket.get_mut().write_all(bytes).await.unwrap();
        let error = disconnect(&mut follow).await;
        assert!(matches!(error, ClientError::Protocol(_)), "{error}");
    }
    server.accept().await.send_entry("1-0", "2-0").await;
    assert_eq!(entry_id(&mut follow).await, "2-0");
}

#[tokio::test]
async fn an_entry_that_comes_again_is_passed_over() {
    let server = Server::start().await;
    let mut follow = server.follow_since("1-0");
    let mut viewer = server.accept().await;
    for (prev, id) in [("0-0", "1-0"), ("1-0", "2-0"), ("1-0", "2-0"), ("2-0", "3-0")] {
        viewer.send_entry(prev, id).await;
    }
    assert_eq!(entry_id(&mut follow).await, "2-0");
    assert_eq!(entry_id(&mut follow).await, "3-0");
}

#[tokio::test]
async fn a_broken_chain_is_mended_from_the_last_good_entry() {
    let server = Server::start().await;
    let mut follow = server.follow();
    let mut viewer = server.accept().await;
    viewer.send(&initial("0-0")).await;
    viewer.send_entry("0-0", "1-0").await;
    viewer.send_entry("2-0", "3-0").await;
    update(&mut follow).await;
    assert_eq!(entry_id(&mut follow).await, "1-0");
    let error = disconnect(&mut follow).await;
    assert!(matches!(error, ClientError::Broken(_)), "{error}");

    let mut viewer = server.accept().await;
    assert!(viewer.path.ends_with("?since=1-0"), "{}", viewer.path);
    viewer.send_entry("1-0", "2-0").await;
    viewer.send_entry("2-0", "3-0").await;
    assert_eq!(entry_id(&mut follow).await, "2-0");
    assert_eq!(entry_id(&mut follow).await, "3-0");
}

#[tokio::test]
async fn a_gap_is_told_and_the_state_after_it_counts() {
    let server = Server::start().await;
    let mut follow = server.follow_since("5-0");
    let mut viewer = server.accept().await;
    viewer
        .send(
            r#"{"update_type":"gap","thread_id":"t1","requested":"5-0","first":"1-0","last":"2-0","reason":"reset"}"#,
        )
        .await;
    viewer.send(&initial("2-0")).await;
    viewer.send_entry("2-0", "3-0").await;
    match update(&mut follow).await {
        Update::Gap(gap) => {
            assert_eq!(gap.reason, "reset");
            assert_eq!(gap.requested, Some(StreamId { ms: 5, seq: 0 }));
            assert_eq!(gap.last, Some(StreamId { ms: 2, seq: 0 }));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(update(&mut follow).await, Update::Initial { lost: false, .. }));
    assert_eq!(entry_id(&mut follow).await, "3-0");
}

#[tokio::test]
async fn an_unknown_task_is_the_end() {
    let server = Server::start().await;
    let mut follow = server.follow();
    let mut viewer = server.accept().await;
    viewer.send(r#"{"error":"Thread not found","thread_id":"t1"}"#).await;
    viewer.close(4004).await;
    assert!(matches!(end(&mut follow).await, ClientError::NotFound));

    let mut follow = server.follow();
    server.accept().await.close(4004).await;
    assert!(matches!(end(&mut follow).await, ClientError::NotFound), "also by the code alone");
}

#[tokio::test]
async fn it_comes_back_after_a_close_that_asks_for_it() {
    let server = Server::start().await;
    let mut follow = server.follow_since("1-0");
    for code in [1001, 1012, 1013, 1011, 1008] {
        let mut viewer = server.accept().await;
        viewer.send(r#"{"update_type":"caught_up"}"#).await;
        viewer.close(code).await;
        match disconnect(&mut follow).await {
            ClientError::Closed { code: Some(told), reason } => {
                assert_eq!((told, reason.as_str()), (code, "scripted"));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_refused_connection_is_tried_again() {
    let server = Server::start().await;
    let address = server.listener.local_addr().unwrap();
    drop(server.listener);
    let mut follow =
        Client::new(&server.url).unwrap().with_timing(TIMING).follow("t1".parse().unwrap());
    let error = disconnect(&mut follow).await;
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");

    let server = Server { listener: TcpListener::bind(address).await.unwrap(), url: server.url };
    let mut viewer = server.accept().await;
    viewer.send(&initial("1-0")).await;
    assert!(matches!(update(&mut follow).await, Update::Initial { .. }));
}

#[tokio::test]
async fn an_http_answer_is_the_end_only_if_it_would_be_the_same_again() {
    async fn answer(server: &Server, status: &str, body: &str) {
        let (mut socket, _) = timeout(DEADLINE, server.listener.accept()).await.unwrap().unwrap();
        let length = body.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        socket.write_all(answer.as_bytes()).await.unwrap();
    }
    let server = Server::start().await;
    let mut follow = server.follow();
    answer(&server, "503 Service Unavailable", "").await;
    let error = disconnect(&mut follow).await;
    assert!(matches!(error, ClientError::Refused { status: 503, .. }), "{error}");
    answer(&server, "400 Bad Request", r#"{"detail":"since is no stream id"}"#).await;
    let error = end(&mut follow).await;
    assert!(error.to_string().ends_with("400: since is no stream id"), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_is_told_and_tried_again() {
    let server = Server::start().await;
    let mut follow = server.follow();
    let (mut socket, _) = server.listener.accept().await.unwrap();
    socket.write_all(b"-ERR unknown command\r\n").await.unwrap();
    let error = disconnect(&mut follow).await;
    assert!(matches!(error, ClientError::Handshake(_)), "{error}");
    server.accept().await;
}

#[tokio::test]
async fn a_ping_is_answered_and_one_is_sent_in_silence() {
    let server = Server::start().await;
    let timing = Timing { ping_after: Duration::from_millis(5), ..TIMING };
    let mut follow = server.client().with_timing(timing).follow("t1".parse().unwrap());
    let mut viewer = server.accept().await;
    viewer.socket.send(Message::Ping(Bytes::from_static(b"42"))).await.unwrap();
    let (mut pinged, mut answered) = (false, false);
    while !(pinged && answered) {
        match viewer.next().await {
            Message::Ping(_) => pinged = true,
            Message::Pong(payload) => answered |= payload == "42",
            other => panic!("{other:?}"),
        }
    }
    viewer.send(&initial("1-0")).await;
    assert!(matches!(update(&mut follow).await, Update::Initial { .. }));
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_given_up() {
    let server = Server::start().await;
    let tenth = Duration::from_millis(10);
    let timing = Timing { ping_after: tenth, dead_after: tenth * 5, ..TIMING };
    let mut follow = server.client().with_timing(timing).follow("t1".parse().unwrap());
    // Nobody reads from this viewer, so no ping is answered.
    let viewer = server.accept().await;
    let error = disconnect(&mut follow).await;
    assert!(matches!(error, ClientError::Silent(_)), "{error}");
    server.accept().await;
    drop(viewer);
}

#[tokio::test]
async fn one_who_does_not_ask_for_events_shows_signs_of_life_and_loses_none() {
    let server = Server::start().await;
    let timing = Timing { ping_after: Duration::from_millis(5), ..TIMING };
    let mut follow = server.client().with_timing(timing).follow("t1".parse().unwrap());
    let mut viewer = server.accept().await;
    viewer.send(&initial("0-0")).await;
    for ms in 1..=500 {
        viewer.send_entry(&format!("{}-0", ms - 1), &format!("{ms}-0")).await;
    }
    while !matches!(viewer.next().await, Message::Pong(_)) {}
    update(&mut follow).await;
    for ms in 1..=500 {
        assert_eq!(entry_id(&mut follow).await, format!("{ms}-0"));
    }
}

#[tokio::test]
async fn a_follow_that_is_dropped_leaves() {
    let server = Server::start().await;
    let follow = server.follow();
    let mut viewer = server.accept().await;
    drop(follow);
    while let Some(Ok(_)) = timeout(DEADLINE, viewer.socket.next()).await.unwrap() {}
}
