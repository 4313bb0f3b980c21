//! The handshake: connect over the loopback, ask, and read the server's 101, one after the other.
//! The server runs in this process on a thread of its own, so both sides' work is in the figure.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use criterion::Criterion;
use socket2::SockRef;
use taskcast::config::{Config, Limits};
use taskcast::log::Log;
use taskcast::log::embedded::EmbeddedLog;
use tokio::sync::oneshot;

const REQUEST: &[u8] = b"GET /api/v1/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start() -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = Config {
            listen: vec![address],
            embedded: true,
            workers: 1,
            drain_seconds: 0,
            ..Config::default()
        };
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let log = Log::from(EmbeddedLog::new(&Limits::default()));
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let stopped = async { _ = stopped.await };
            runtime.unwrap().block_on(taskcast::server::run(config, log, stopped)).unwrap();
        });
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the server does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { address, stop, thread }
    }

    fn stop(self) {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

fn shake_hands(address: SocketAddr) {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(REQUEST).unwrap();
    let mut answer = [0; 1024];
    let mut len = 0;
    // A Ping may come right behind it.
    while !answer[..len].windows(4).any(|end| end == b"\r\n\r\n") {
        let read = socket.read(&mut answer[len..]).unwrap();
        assert!(read > 0, "{} is no whole answer", answer[..len].escape_ascii());
        len += read;
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"));
    // A reset: ports must not run out while closed connections linger.
    SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let server = Server::start();
    criterion.bench_function("handshake", |bencher| bencher.iter(|| shake_hands(server.address)));
    server.stop();
}
