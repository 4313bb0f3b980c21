//! The server: listeners, workers, and what they share.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;

use crate::config::Config;
use crate::http::api::{Api, Live};
use crate::id::ThreadId;
use crate::log::Log;
use crate::metrics::Gauges;
use crate::publish::ThreadManager;
use crate::worker::lane::{Lane, LaneThread};
use crate::worker::shared::Shared;
use crate::worker::thread;

/// Connections that wait to be accepted, per worker: a herd of viewers comes back at once.
const BACKLOG: i32 = 8192;

/// Why the server did not run.
#[derive(Debug)]
pub enum ServerError {
    /// The address cannot be listened on.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        error: io::Error,
    },
    /// The operating system did not give something else that is needed.
    System(io::Error),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => write!(
                f,
                "cannot listen on {address}: {error}; choose another address with --listen"
            ),
            Self::System(error) => write!(f, "cannot start a worker: {error}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// Runs the server until `shutdown` resolves and every viewer is closed.
///
/// # Errors
/// See [`ServerError`]. That Redis is out of reach is none: the server says so, is not ready, and
/// serves as soon as Redis comes.
pub async fn run(
    config: Config,
    log: Log,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    raise_open_files();
    let (listeners, address) = listen(config.listen, config.workers)?;
    let config = Arc::new(config);
    let (lane, runtime) = Lane::new(&log).map_err(ServerError::System)?;
    let lane = Arc::new(lane);
    let shared = Arc::new(Shared::new(config.clone(), log.clone(), lane.clone()));
    let _lane = LaneThread::start(runtime, shared.clone()).map_err(ServerError::System)?;
    shared.listen();
    let api = Arc::new(Api {
        log: log.clone(),
        threads: ThreadManager::new(log.clone()),
        config: config.clone(),
        live: shared.clone(),
        lane,
    });
    let (begin_shutdown, begun) = watch::channel(false);
    let (ended, mut all_ended) = tokio::sync::mpsc::channel(config.workers);
    let mut threads = Vec::new();
    for (number, listener) in listeners.into_iter().enumerate() {
        let (shared, api) = (shared.clone(), api.clone());
        let (begun, ended) = (begun.clone(), ended.clone());
        let worker = move || {
            let _told = TellsItsEnd(ended);
            thread::run(shared, number, listener, api, begun)
        };
        let name = format!("worker-{number}");
        let thread = std::thread::Builder::new().name(name).spawn(worker);
        threads.push(thread.map_err(ServerError::System)?);
    }
    drop(ended);
    log.announce(&config);
    tracing::info!(%address, workers = config.workers, "listening");
    tokio::select! {
        // Dropped only after it resolved.
        () = shutdown => {}
        // A worker that ends by itself has failed: end the others as well. Dropped: the value
        // stays in the channel.
        _ = all_ended.recv() => {}
    }
    shared.draining.store(true, Relaxed);
    tracing::info!(viewers = shared.viewers(), "draining");
    // Workers that have ended do not listen any more, which is no error.
    _ = begin_shutdown.send(true);
    while all_ended.recv().await.is_some() {}
    for thread in threads {
        match thread.join() {
            Ok(result) => result.map_err(ServerError::System)?,
            Err(_) => return Err(ServerError::System(io::Error::other("a worker panicked"))),
        }
    }
    tracing::info!("drained");
    Ok(())
}

/// Tells that a worker has ended, also when it panicked.
struct TellsItsEnd(tokio::sync::mpsc::Sender<()>);

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        // There is room for every worker; without a receiver nobody is left to be told.
        _ = self.0.try_send(());
    }
}

/// A listener for each worker, all on one address; the kernel spreads connections over them, and a
/// new process may listen there while this one drains.
fn listen(
    address: SocketAddr,
    workers: usize,
) -> Result<(Vec<TcpListener>, SocketAddr), ServerError> {
    let bind_error = |error| ServerError::Bind { address, error };
    if is_in_use(address) {
        // Meant for the moment in which a new process takes over from one that drains.
        tracing::warn!(%address, "address_shared: another process listens here too");
    }
    let mut bound = address;
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers {
        let listener = listen_once(bound).map_err(bind_error)?;
        bound = listener.local_addr().map_err(bind_error)?;
        listeners.push(listener);
    }
    Ok((listeners, bound))
}

/// Whether some process listens on the address already.
fn is_in_use(address: SocketAddr) -> bool {
    let probe = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1)
    };
    address.port() != 0 && probe().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn listen_once(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Each viewer is an open file: take as many as the operating system allows.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "open_files_not_raised");
    }
}

impl Shared {
    fn viewers(&self) -> u64 {
        self.metrics.workers.iter().map(|worker| worker.viewers.load(Relaxed)).sum()
    }
}

impl Live for Shared {
    fn viewers_of(&self, thread: &ThreadId) -> usize {
        self.topics.find(thread).map_or(0, |topic| topic.viewers.load(Relaxed))
    }

    fn lagging_of(&self, thread: &ThreadId) -> usize {
        self.topics.find(thread).map_or(0, |topic| topic.lagging.load(Relaxed))
    }

    fn watched(&self, thread: &ThreadId) -> bool {
        self.viewers_of(thread) > 0
    }

    fn mode(&self) -> &'static str {
        self.log.mode(self.tails_blocking.load(Relaxed) > 0)
    }

    fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    fn ready(&self) -> bool {
        Shared::ready(self)
    }

    fn metrics(&self) -> String {
        let mut gauges = Gauges {
            topics: self.topics.len(),
            topics_bytes: self.topics.bytes(),
            redis_up: self.ready(),
            mode: self.mode(),
            ..Gauges::default()
        };
        for log in [&self.log, self.lane.log()] {
            let counts = log.counts();
            gauges.redis_round_trips += counts.round_trips;
            gauges.redis_errors += counts.errors;
            gauges.state_reads += counts.state_reads;
            gauges.page_reads += counts.page_reads;
        }
        self.metrics.render(&gauges)
    }
}
