//! The server: its parts put together, and run until its end.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::access::Access;
use crate::config::Config;
use crate::core::account::Account;
use crate::core::source::AGENT;
use crate::http::accept;
use crate::http::api::{Api, Live};
use crate::http::connection::{Door, HandOver, Serving};
use crate::http::gate::Gate;
use crate::http::reads::Reads;
use crate::id::ThreadId;
use crate::lane::{Lane, LaneThread};
use crate::listen::{self, Listening};
use crate::log::Log;
use crate::logging;
use crate::metrics::Gauges;
use crate::publish::ThreadManager;
use crate::shared::Shared;
use crate::supervise::Part;
use crate::tls::Certificates;
use crate::worker::thread;

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
    /// A key of `[access]` cannot be used.
    Access(String),
    /// A file of `[tls]` cannot be used.
    Tls(String),
    /// The operating system did not give something else that is needed.
    System(io::Error),
    /// A part panicked and cannot be started again.
    Failed(Part),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } => write!(
                f,
                "cannot listen on {address}: {error}; choose another address with --listen"
            ),
            Self::Access(problem) | Self::Tls(problem) => f.write_str(problem),
            Self::System(error) => write!(f, "cannot start a worker: {error}"),
            Self::Failed(part) => {
                write!(f, "the {part} panicked and cannot be started again; the log says where")
            }
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
    let files_max = listen::raise_open_files();
    let cannot_bind = |(address, error)| ServerError::Bind { address, error };
    let listening = listen::listen(&config).map_err(cannot_bind)?;
    let for_admin = config.admin_listen.map(|address| listen::listen_for_admin(address, &config));
    let for_admin = for_admin.transpose().map_err(cannot_bind)?;
    let config = Arc::new(config);
    let account = Account::new(config.limits.memory_bytes_max);
    let access = Arc::new(Access::new(&config, &account).map_err(ServerError::Access)?);
    let certificates = config.tls.is_set().then(|| Certificates::new(&config.tls));
    let certificates = certificates.transpose().map_err(ServerError::Tls)?.map(Arc::new);
    let (lane, runtime) = Lane::new(&log).map_err(ServerError::System)?;
    let (lane, beside) = (Arc::new(lane), runtime.handle().clone());
    let mut shared =
        Shared::new(config.clone(), account, log.clone(), access.clone(), lane.clone());
    shared.certificates.clone_from(&certificates);
    let shared = Arc::new(shared);
    let lane_thread = LaneThread::start(runtime, shared.clone()).map_err(ServerError::System)?;
    shared.listen();
    let api = Arc::new(Api {
        log: log.clone(),
        threads: ThreadManager::new(log.clone()),
        config: config.clone(),
        live: shared.clone(),
        reads: Reads::new(
            beside,
            lane.log().clone(),
            lane.large_reads(),
            shared.account.clone(),
            config.limits.attach_timeout(),
        ),
        account: shared.account.clone(),
        gate: Arc::new(Gate::new(&config, files_max)),
        access: access.clone(),
        holders: shared.holders.clone(),
        certificates: certificates.clone(),
    });
    let beyond = listening.iter().find(|it| !is_loopback(it.address));
    if let Some(Listening { address, .. }) = beyond.filter(|_| access.is_open()) {
        let what = "everybody who reaches it may watch and publish, see [access]";
        tracing::warn!(%address, "open_to_everyone: {what}");
    }
    if let Some(listener) = for_admin {
        serve_admin(listener, api.clone()).map_err(ServerError::System)?;
    }
    // Both end with the process.
    tokio::spawn(shared.clone().follow_revocations());
    if let Some(certificates) = certificates {
        tokio::spawn(async move { certificates.follow().await });
    }
    let (begin_shutdown, begun) = watch::channel(false);
    let (ended, mut all_ended) = tokio::sync::mpsc::channel(config.workers);
    let mut threads = Vec::new();
    let addresses: Vec<_> = listening.iter().map(|it| it.address.to_string()).collect();
    for (number, doors) in doors_of_workers(listening, config.workers).into_iter().enumerate() {
        let (shared, api) = (shared.clone(), api.clone());
        let (begun, ended) = (begun.clone(), ended.clone());
        let worker = move || {
            let _told = TellsItsEnd(ended);
            let draining = begun.clone();
            thread::run(shared, number, begun, |adopt| front(doors, api, adopt, draining))
        };
        let name = format!("worker-{number}");
        let thread = std::thread::Builder::new().name(name).spawn(worker);
        threads.push(thread.map_err(ServerError::System)?);
    }
    drop(ended);
    log.announce(&config);
    let address = addresses.join(", ");
    tracing::info!(%address, workers = config.workers, "listening");
    tokio::select! {
        // Dropped only after it resolved.
        () = shutdown => {}
        // A worker that ends by itself has failed: end the others as well. Dropped: the value
        // stays in the channel.
        _ = all_ended.recv() => {}
        // Dropped: a part that failed stays so.
        part = shared.supervisor.failed() => return Err(given_up(part, lane_thread)),
    }
    shared.draining.store(true, Relaxed);
    let viewers = shared.metrics.sum(|worker| &worker.viewers);
    let sockets = shared.metrics.sum(|worker| &worker.sockets);
    tracing::info!(viewers, sockets, "draining");
    // Workers that have ended do not listen any more, which is no error.
    _ = begin_shutdown.send(true);
    tokio::select! {
        () = async { while all_ended.recv().await.is_some() {} } => {}
        // Dropped: see above.
        part = shared.supervisor.failed() => return Err(given_up(part, lane_thread)),
    }
    for thread in threads {
        match thread.join() {
            Ok(result) => result.map_err(ServerError::System)?,
            Err(_) => return Err(ServerError::Failed(Part::Worker)),
        }
    }
    tracing::info!("drained");
    Ok(())
}

/// What stands before a worker: HTTP, which hands over to it what becomes a socket.
async fn front(
    doors: Vec<(TcpListener, Door)>,
    api: Arc<Api>,
    hand_over: HandOver,
    draining: watch::Receiver<bool>,
) -> io::Result<()> {
    let drain = api.config.drain();
    let mut accepting = Vec::new();
    for (listener, door) in doors {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (api, hand_over, draining) = (api.clone(), hand_over.clone(), draining.clone());
        accepting.push(accept::run(listener, Serving { api, door, hand_over, draining }, drain));
    }
    join_all(accepting).await;
    Ok(())
}

/// Of each address, a listener for each worker.
fn doors_of_workers(listening: Vec<Listening>, workers: usize) -> Vec<Vec<(TcpListener, Door)>> {
    let mut doors: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for Listening { address, listeners } in listening {
        let door = Door { on_loopback: is_loopback(address), is_admin: false };
        for (of_worker, listener) in doors.iter_mut().zip(listeners) {
            of_worker.push((listener, door));
        }
    }
    doors
}

/// Answers those who look after the server, until its end.
fn serve_admin(listener: TcpListener, api: Arc<Api>) -> io::Result<()> {
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let door = Door { on_loopback: is_loopback(address), is_admin: true };
    let hand_over: HandOver = Arc::new(|_, _, _| Err(io::Error::other("no socket opens here")));
    tracing::info!(%address, "listening_for_admin");
    tokio::spawn(async move {
        // While the server drains, somebody may want to know.
        let (_never, draining) = watch::channel(false);
        let drain = api.config.drain();
        accept::run(listener, Serving { api, door, hand_over, draining }, drain).await;
    });
    Ok(())
}

/// Whether only this machine reaches it.
fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// The server cannot go on, and waits for no thread: what they did ends with the process.
fn given_up(part: Part, lane: LaneThread) -> ServerError {
    std::mem::forget(lane);
    ServerError::Failed(part)
}

/// Tells that a worker has ended, also when it panicked.
struct TellsItsEnd(tokio::sync::mpsc::Sender<()>);

impl Drop for TellsItsEnd {
    fn drop(&mut self) {
        // There is room for every worker; without a receiver nobody is left to be told.
        _ = self.0.try_send(());
    }
}

impl Shared {
    /// Viewers by source; none where there is no other than the agent's.
    fn source_viewers(&self) -> Vec<(String, u64)> {
        let sources = &self.config.sources.sources;
        if sources.iter().next().is_none() {
            return Vec::new();
        }
        let names = sources.iter().map(|source| source.name()).chain([AGENT]);
        let mut viewers: BTreeMap<&str, u64> = names.map(|name| (name, 0)).collect();
        let topics = self.topics.all();
        for topic in &topics {
            let source = topic.thread.source_name().unwrap_or(AGENT);
            *viewers.entry(source).or_default() += topic.viewers.load(Relaxed) as u64;
        }
        viewers.into_iter().map(|(source, viewers)| (source.to_owned(), viewers)).collect()
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

    fn dead_part(&self) -> Option<&'static str> {
        self.supervisor.dead_part().map(Part::as_str)
    }

    fn draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    fn ready(&self) -> bool {
        Shared::ready(self)
    }

    fn metrics(&self) -> String {
        let mut gauges = Gauges::new(self.mode(), self.account.clone());
        gauges.topics = self.topics.len() as u64;
        gauges.source_viewers = self.source_viewers();
        gauges.topics_bytes = self.topics.bytes() as u64;
        gauges.memory_bytes_max = self.account.bytes_max() as u64;
        gauges.memory_refused = self.account.refused();
        gauges.redis_up = self.ready().into();
        if let Some(certificates) = &self.certificates {
            (gauges.tls_handshakes, gauges.tls_handshakes_failed) = certificates.handshakes();
            gauges.tls_certificate_ends = certificates.ends_s();
        }
        gauges.panics = self.supervisor.panics();
        gauges.log_lines_dropped = logging::lines_dropped();
        let asked = self.access.counts();
        gauges.questions = asked.outcomes;
        gauges.access_answers_reused = asked.reused;
        gauges.access_questions_waiting = asked.waiting;
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
