//! The API over a socket, on the embedded log: what is particular to HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value, json};

use super::accept;
use super::api::{Api, Live};
use super::connection::{Door, Serving};
use super::gate::Gate;
use super::reads::Reads;
use crate::access::Access;
use crate::config::{Config, Limits};
use crate::core::account::Account;
use crate::holders::Holders;
use crate::id::ThreadId;
use crate::log::Log;
use crate::log::embedded::EmbeddedLog;
use crate::publish::ThreadManager;

#[derive(Default)]
struct Fake {
    draining: AtomicBool,
}

impl Live for Fake {
    fn viewers_of(&self, _: &ThreadId) -> usize {
        3
    }
    fn lagging_of(&self, _: &ThreadId) -> usize {
        1
    }
    fn watched(&self, _: &ThreadId) -> bool {
        true
    }
    fn mode(&self) -> &'static str {
        "embedded"
    }
    fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
    fn ready(&self) -> bool {
        true
    }
    fn dead_part(&self) -> Option<&'static str> {
        None
    }

    fn metrics(&self) -> String {
        "# HELP x x\n".to_owned()
    }
}

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3600);

/// A server on the loopback that lives as long as its runtime's thread, which nobody waits for.
struct Server {
    address: SocketAddr,
    live: Arc<Fake>,
}

impl Server {
    fn start() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let live = Arc::new(Fake::default());
        let log = Log::from(EmbeddedLog::new(&config.limits));
        let threads = ThreadManager::new(log.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let account = Account::new(config.limits.memory_bytes_max);
        let patience = config.limits.attach_timeout();
        let large = Arc::new(tokio::sync::Semaphore::new(1));
        let beside = runtime.handle().clone();
        let reads = Reads::new(beside, log.clone(), large, account.clone(), patience);
        let gate = Arc::new(Gate::new(&config, usize::MAX));
        let config = Arc::new(config);
        let access = Arc::new(Access::new(&config, &account).unwrap());
        let holders = Arc::new(Holders::new(&config.limits, &account));
        let live_here = live.clone();
        let api = Api {
            log,
            threads,
            config,
            live: live_here,
            reads,
            account,
            gate,
            access,
            holders,
            certificates: None,
        };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || runtime.block_on(serve(listener, api)));
        Self { address, live }
    }

    fn connect(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Client { socket, unread: Vec::new() }
    }

    fn ask(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        self.connect().ask(method, target, headers, body)
    }

    fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, "", b"")
    }

    fn post(&self, target: &str, body: &str) -> Reply {
        self.ask("POST", target, "", body.as_bytes())
    }

    fn new_task(&self) -> String {
        let made = self.post("/api/v1/triage", r#"{"query":"why?"}"#);
        made.json()["thread_id"].as_str().unwrap().to_owned()
    }
}

async fn serve(listener: std::net::TcpListener, api: Api) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (_begin, draining) = tokio::sync::watch::channel(false);
    let hand_over = Arc::new(|_, _, _| panic!("no test opens a socket"));
    let door = Door { on_loopback: true, is_admin: false };
    let serving = Serving { api: Arc::new(api), door, hand_over, draining };
    accept::run(listener, serving, NEVER).await;
}

struct Client {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    fn ask(&mut self, method: &str, target: &str, headers: &str, body: &[u8]) -> Reply {
        let length = if headers.contains("chunked") {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n");
        self.socket.write_all(head.as_bytes()).unwrap();
        self.socket.write_all(body).unwrap();
        self.reply(method == "HEAD")
    }

    fn reply(&mut self, is_head: bool) -> Reply {
        let end = loop {
            match self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => assert!(self.read_more(), "the connection ended: {:?}", self.unread),
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = if is_head { None } else { reply.header("content-length") };
        let length = length.map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < length {
            assert!(self.read_more());
        }
        reply.body = self.unread.drain(..length).collect();
        reply
    }

    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let length = self.socket.read(&mut buffer).unwrap();
        self.unread.extend_from_slice(&buffer[..length]);
        length > 0
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks that it is an error, and gives its text.
    fn refused_with(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_task_lives_over_http() {
    let server = Server::start();
    let made = server.post("/api/v1/triage", r#"{"query":"why?","tags":["a"],"unknown":1}"#);
    assert_eq!(made.status, 202);
    let made = made.json();
    let thread = made["thread_id"].as_str().unwrap();
    assert_eq!(
        (&made["status"], &made["message"]),
        (&json!("queued"), &json!("Triage task queued"))
    );
    let path = format!("/api/v1/tasks/{thread}");
    for (part, body) in [
        ("status", r#"{"status":"in_progress"}"#),
        ("updates", r#"{"message":"m","update_type":"tool_call","metadata":{"progress":5}}"#),
        ("updates", r#"{"message":"m","update_type":null,"metadata":null}"#),
        ("result", r#"{"result":null}"#),
        ("result", r#"{"result":{"n":340282366920938463463374607431768211456}}"#),
        ("error", r#"{"error_message":"broken"}"#),
    ] {
        let answer = server.post(&format!("{path}/{part}"), body);
        assert_eq!(answer.status, 202, "{part} {answer:?}");
        assert!(answer.json()["stream_id"].is_string());
    }
    let shown = server.get(&path);
    assert!(
        String::from_utf8_lossy(&shown.body).contains("340282366920938463463374607431768211456")
    );
    let shown = shown.json();
    assert_eq!((&shown["status"], &shown["error_message"]), (&json!("failed"), &json!("broken")));
    assert_eq!(shown["updates"].as_array().unwrap().len(), 2);
    let escaped = path.replace(thread, &format!("%{:x}{}", thread.as_bytes()[0], &thread[1..]));
    assert_eq!(server.get(&escaped).json(), shown);
    let listed = server.get("/api/v1/tasks?x=&limit=%31").json();
    assert_eq!(listed["tasks"][0]["thread_id"], thread);
}

#[test]
fn stream_info_has_the_counts_of_the_process() {
    let server = Server::start();
    let thread = server.new_task();
    let mut info = server.get(&format!("/api/v1/tasks/{thread}/stream-info")).json();
    assert!(info["last_stream_id"].take().as_str().unwrap().ends_with("-0"));
    let expected = json!({
        "thread_id": thread,
        "stream_key": format!("sre:stream:task:{thread}"),
        "stream_length": 1,
        "active_connections": 3,
        "consumer_active": true,
        "last_stream_id": null,
        "mode": "embedded",
        "lagging": 1,
    });
    assert_eq!(info, expected);
    let unknown = server.get("/api/v1/tasks/nobody/stream-info").json();
    assert_eq!((&unknown["stream_length"], &unknown["last_stream_id"]), (&json!(0), &json!("0-0")));
}

#[test]
fn a_wrong_body_is_refused_and_its_member_named() {
    let server = Server::start();
    let path = format!("/api/v1/tasks/{}/", server.new_task());
    for (part, body, status, named) in [
        ("updates", "", 400, "JSON"),
        ("updates", "{", 400, "JSON"),
        ("updates", "[1, 2", 400, "JSON"),
        ("updates", "{\"message\":\"\u{0}\"}", 400, "JSON"),
        ("updates", "[]", 422, "body"),
        ("updates", "{}", 422, "message"),
        ("updates", r#"{"message":null}"#, 422, "message"),
        ("updates", r#"{"message":5}"#, 422, "message"),
        ("updates", r#"{"message":"m","metadata":[]}"#, 422, "metadata"),
        ("updates", r#"{"message":"m","update_type":5}"#, 422, "update_type"),
        ("status", r#"{"status":"paused"}"#, 422, "awaiting_approval"),
        ("result", "{}", 422, "result"),
        ("error", r#"{"error":"x"}"#, 422, "error_message"),
        ("error", r#"{"error_message":"\ud800"}"#, 422, "error_message: is not valid Unicode"),
        ("updates", r#"{"message":"m","\ud800":1}"#, 422, "body: is not valid Unicode"),
    ] {
        let detail = server.post(&format!("{path}{part}"), body).refused_with(status);
        assert!(detail.contains(named), "{detail}");
    }
    for (body, named) in [
        (r#"{"query":"q","priority":"high"}"#, "priority"),
        (r#"{"query":"q","tags":["a",1]}"#, "tags: has to be"),
        (r#"{"query":"q","tags":["\udfff"]}"#, "tags: is not valid Unicode"),
        (r#"{"query":"q","priority":1e999}"#, "priority: has to be"),
        (r#"{"query":"q","context":"c"}"#, "context"),
    ] {
        assert!(server.post("/api/v1/triage", body).refused_with(422).contains(named));
    }
    let deep = format!("{{\"result\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.post(&format!("{path}result"), &deep).status, 202);
}

#[test]
fn unknown_things_are_told_apart() {
    let server = Server::start();
    server.get("/nothing").refused_with(404);
    server.get("/assets/nothing.js").refused_with(404);
    server.get("/api/v1/tasks/nobody").refused_with(404);
    server.post("/api/v1/tasks/nobody/result", r#"{"result":1}"#).refused_with(404);
    server.get("/api/v1/tasks/a%20b").refused_with(400);
    server.get("/api/v1/tasks?limit=many").refused_with(400);
    assert!(server.get("/api/v1/tasks?limit=201").refused_with(422).contains("limit"));
    server.get("/api/v1/tasks?limit=0").refused_with(422);
    let answer = server.ask("DELETE", "/api/v1/tasks/nobody", "", b"");
    answer.refused_with(405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn a_body_has_a_limit_and_the_client_gets_to_know_it() {
    let server = Server::start();
    let path = format!("/api/v1/tasks/{}/updates", server.new_task());
    let large = vec![b' '; 2 * 1_048_576];
    server.ask("POST", &path, "", &large).refused_with(413);
    let chunked = [&b"200000\r\n"[..], &large, b"\r\n0\r\n\r\n"].concat();
    server.ask("POST", &path, "Transfer-Encoding: chunked\r\n", &chunked).refused_with(413);
    let waiting = "Expect: 100-continue\r\nContent-Length: 99999999\r\nchunked: not\r\n";
    let answer = server.ask("POST", &path, waiting, b"");
    answer.refused_with(413);
    assert_eq!(answer.header("connection"), Some("close"));
    let mut fits = br#"{"message":"m"}"#.to_vec();
    fits.resize(1_048_576, b' ');
    assert_eq!(server.ask("POST", &path, "", &fits).status, 202);
}

#[test]
fn a_body_that_does_not_go_on_ends_the_connection() {
    let limits = Limits { body_timeout_ms: 10, ..Limits::default() };
    let server = Server::with(Config { limits, ..Config::default() });
    let mut client = server.connect();
    let head = b"POST /api/v1/triage HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    client.socket.write_all(head).unwrap();
    client.reply(false).refused_with(408);
    assert!(!client.read_more());
}

#[test]
fn a_connection_goes_on_after_every_answer() {
    let server = Server::start();
    let path = format!("/api/v1/tasks/{}", server.new_task());
    let mut client = server.connect();
    let update = b"f\r\n{\"message\":\"m\"}\r\n0\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(client.ask("GET", "/healthz", "", b"ignored").status, 200);
        assert_eq!(client.ask("POST", "/nothing", "", &[b'x'; 100_000]).status, 404);
        assert_eq!(client.ask("DELETE", &path, "", b"{}").status, 405);
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert_eq!(client.ask("POST", &format!("{path}/updates"), chunked, update).status, 202);
        assert_eq!(client.ask("OPTIONS", &path, "", b"").status, 204);
        assert_eq!(client.ask("HEAD", &path, "", b"").status, 200);
    }
}

#[test]
fn head_answers_as_get_does_but_for_the_body() {
    let server = Server::start();
    for target in ["/", "/assets/app.js", "/healthz", "/readyz", "/metrics", "/api/v1/tasks", "/x"]
    {
        let (get, mut client) = (server.get(target), server.connect());
        let head = client.ask("HEAD", target, "", b"");
        assert_eq!(head.status, get.status);
        for name in ["content-length", "content-type", "etag"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
        assert_eq!(client.ask("GET", target, "", b"").body, get.body);
    }
}

#[test]
fn the_page_may_load_only_from_here_and_is_cached_by_its_tag() {
    let server = Server::start();
    let page = server.get("/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none';"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    let tag = format!("If-None-Match: {}\r\n", page.header("etag").unwrap());
    let mut client = server.connect();
    let again = client.ask("GET", "/", &tag, b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(client.ask("GET", "/", "If-None-Match: \"other\"\r\n", b"").status, 200);
}

#[test]
fn readiness_ends_with_draining() {
    let server = Server::start();
    assert_eq!(server.get("/readyz").status, 200);
    server.live.draining.store(true, Relaxed);
    server.get("/readyz").refused_with(503);
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn only_listed_origins_may_use_the_api() {
    let allow = "access-control-allow-origin";
    let server = Server::start();
    let answer = server.ask("GET", "/healthz", "Origin: https://a.example\r\n", b"");
    assert_eq!((answer.header(allow), answer.header("vary")), (None, None));

    let origins = vec!["https://a.example".to_owned()];
    let server = Server::with(Config { cors_origins: origins, ..Config::default() });
    let answer = server.ask("GET", "/nothing", "Origin: https://a.example\r\n", b"");
    assert_eq!(answer.header(allow), Some("https://a.example"));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let answer = server.ask("GET", "/healthz", "Origin: https://b.example\r\n", b"");
    assert_eq!((answer.header(allow), answer.header("vary")), (None, Some("Origin")));

    let preflight = "Origin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: content-type\r\n";
    let answer = server.ask("OPTIONS", "/api/v1/triage", preflight, b"");
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header(allow), Some("https://a.example"));
    assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type"));
    let others = preflight.replace("a.example", "b.example");
    let answer = server.ask("OPTIONS", "/api/v1/triage", &others, b"");
    assert_eq!((answer.header(allow), answer.header("access-control-allow-methods")), (None, None));

    let server = Server::with(Config { cors_origins: vec!["*".to_owned()], ..Config::default() });
    let answer = server.ask("GET", "/healthz", "Origin: https://b.example\r\n", b"");
    assert_eq!((answer.header(allow), answer.header("vary")), (Some("*"), None));
}

#[test]
fn a_page_of_another_site_cannot_publish_unasked() {
    let server = Server::start();
    let body = br#"{"query":"why?"}"#;
    let post = |headers: &str| server.ask("POST", "/api/v1/triage", headers, body).status;
    assert_eq!(post("Origin: https://a.example\r\nContent-Type: text/plain\r\n"), 400);
    assert_eq!(post("Origin: https://a.example\r\n"), 400);
    let json = "Origin: https://a.example\r\nContent-Type: Application/JSON; charset=utf-8\r\n";
    assert_eq!(post(json), 202);
    assert_eq!(post("Content-Type: application/x-www-form-urlencoded\r\n"), 202);
}
