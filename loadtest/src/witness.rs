//! The witness: a few viewers through `taskcast::client`, beside the very many cheap ones. It comes
//! back by itself where it is cut, and says whether it got every update once and in order all the
//! same.
//!
//! It is one thread of the harness, which shares the clients' cores, and knows nothing of them.

use crate::backend::Server;
use crate::checks::{Checks, Testimony};
use crate::client::counters::Counters;
use crate::client::fields::Fields;
use crate::client::sequence::Track;
use crate::failure::{Context, Result};
use crate::stop::Stop;
use crate::wire::thread_id;
use parking_lot::{Condvar, Mutex};
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use taskcast::client::{Chain, Client, ClientError, Event, Follow, Timing, Update};
use taskcast::id::ThreadId;
use tokio::sync::watch;

/// How many tasks it follows at most, so that its work does not show beside the clients'.
const TASKS_MAX: usize = 4;
/// Shorter than a viewer's usual wait, so that it is back before a run gives up on it.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Those who have waited for everybody else give the witness at least so long.
const GRACE: Duration = Duration::from_secs(2);
const LOOK_UP: Duration = Duration::from_millis(100);

/// A running witness. Dropping it ends its connections.
pub(crate) struct Witness {
    /// The tasks that it follows.
    tasks: Vec<u32>,
    shared: Arc<Shared>,
    /// Counts how often it was told to drop and come back. Closing it ends the thread.
    returns: Option<watch::Sender<u32>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    account: Mutex<Account>,
    changed: Condvar,
}

/// What has been seen so far, of all tasks together.
#[derive(Default)]
struct Account {
    counters: Counters,
    /// When the last new update came.
    progress: Option<Instant>,
    trouble: Option<String>,
    /// The server gives no positions, so that nothing can be proved.
    no_positions: bool,
}

impl Witness {
    /// Follows some of the tasks and waits until it has their state. There is none for a server
    /// that gives viewers no position, nor for one with TLS, which the client does not speak.
    pub(crate) fn start(
        server: &Server,
        prefix: &str,
        tasks: Range<u32>,
        stop: &Stop,
    ) -> Result<Option<Self>> {
        if server.tls.is_some() {
            return Ok(None);
        }
        let timing = Timing { retry_max: RETRY_MAX, ..Timing::default() };
        let client = Client::new(&format!("http://{}", server.host)).and_then(|client| {
            let client = client.with_timing(timing);
            server.token.iter().try_fold(client, |client, token| client.with_token(token))
        });
        let client = client.while_doing(|| "the witness cannot use the server".into())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.while_doing(|| "cannot start the witness".into())?;
        let (returns, orders) = watch::channel(0);
        let step = tasks.len().div_ceil(TASKS_MAX).max(1);
        let tasks: Vec<u32> = tasks.step_by(step).collect();
        let shared = Arc::new(Shared::default());
        let mut views = Vec::new();
        for task in &tasks {
            let thread = thread_id(prefix, *task).parse::<ThreadId>();
            let thread = thread.while_doing(|| "the witness cannot follow a task".into())?;
            views.push(View::new(client.clone(), thread, *task, shared.clone()));
        }
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let watching = views.into_iter().map(|view| view.watch(orders.clone()));
                for task in watching.map(tokio::spawn).collect::<Vec<_>>() {
                    // It only ends early when it panics, and then its updates are missing.
                    let _ = task.await;
                }
            });
        });
        let witness = Self { tasks, shared, returns: Some(returns), thread: Some(thread) };
        let expected = witness.tasks.len() as u64;
        witness.wait(stop, |account| account.counters.attached >= expected);
        let blind = witness.shared.account.lock().no_positions;
        Ok((!blind).then_some(witness))
    }

    /// The tasks that it follows.
    pub(crate) fn tasks(&self) -> &[u32] {
        &self.tasks
    }

    /// Drops its connections and comes back with the last position of each task.
    pub(crate) fn come_back(&self) {
        if let Some(returns) = &self.returns {
            returns.send_modify(|times| *times += 1);
        }
    }

    /// Waits until all updates that its tasks had, or nothing more, have come.
    pub(crate) fn testify(&self, expected: u64, stop: &Stop) -> Testimony {
        self.wait(stop, |account| account.once() >= expected);
        let account = self.shared.account.lock();
        Testimony {
            checks: Checks::of(account.counters, expected),
            reconnects: account.counters.connects.saturating_sub(self.tasks.len() as u64),
            trouble: account.trouble.clone(),
        }
    }

    fn wait(&self, stop: &Stop, done: impl Fn(&Account) -> bool) {
        let start = Instant::now();
        let in_time = |account: &Account| {
            start.elapsed() < GRACE || account.progress.unwrap_or(start).elapsed() < stop.patience()
        };
        let mut account = self.shared.account.lock();
        while !done(&account) && in_time(&account) {
            self.shared.changed.wait_for(&mut account, LOOK_UP);
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        drop(self.returns.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Account {
    /// Updates, each counted once however often it came.
    fn once(&self) -> u64 {
        self.counters.delivered - self.counters.repeated.min(self.counters.delivered)
    }

    fn note(&mut self, trouble: impl ToString) {
        self.trouble.get_or_insert_with(|| trouble.to_string());
    }
}

/// One task as the witness sees it.
struct View {
    client: Client,
    thread: ThreadId,
    task: u32,
    shared: Arc<Shared>,
    /// Proves once more what the client hands on, and is where to come back to.
    chain: Chain,
    track: Track,
    fields: Fields,
}

impl View {
    fn new(client: Client, thread: ThreadId, task: u32, shared: Arc<Shared>) -> Self {
        let (chain, track, fields) = (Chain::new(), Track::starting_at(1), Fields::new());
        Self { client, thread, task, shared, chain, track, fields }
    }

    /// Until a final error, or until nobody gives orders any more.
    async fn watch(mut self, mut orders: watch::Receiver<u32>) {
        let mut follow = self.follow();
        loop {
            tokio::select! {
                // Loses no event when dropped.
                event = follow.next() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
                // Loses no order when dropped.
                order = orders.changed() => match order {
                    Ok(()) => follow = self.follow(),
                    Err(_) => return,
                },
            }
        }
    }

    /// Follows from the last position on.
    fn follow(&self) -> Follow {
        match self.chain.position() {
            None => self.client.follow(self.thread.clone().into()),
            Some(position) => self.client.follow_since(self.thread.clone().into(), position),
        }
    }

    fn take(&mut self, event: std::result::Result<Event, ClientError>) {
        let shared = self.shared.clone();
        let mut account = shared.account.lock();
        let once = account.once();
        match event {
            Ok(Event::Connected) => {
                self.chain.connect();
                account.counters.connects += 1;
            }
            Ok(Event::Disconnected { error, .. }) => {
                let broken = matches!(error, ClientError::Broken(_));
                account.counters.broken_chains += u64::from(broken);
                account.note(error);
            }
            Ok(Event::Frame { json, .. }) => self.frame(json.as_bytes(), &mut account),
            Ok(_) => {}
            Err(error) => {
                account.counters.refused += 1;
                account.note(error);
            }
        }
        if account.once() > once {
            account.progress = Some(Instant::now());
        }
        shared.changed.notify_all();
    }

    fn frame(&mut self, json: &[u8], account: &mut Account) {
        let counters = &mut account.counters;
        match self.chain.take(json) {
            Ok(None | Some(Update::Entry { .. })) => match self.fields.read(json) {
                Some(seen) if seen.stamp.task == self.task => {
                    self.track.number(seen.stamp.seq, counters);
                }
                Some(_) => counters.misrouted += 1,
                None => {}
            },
            Ok(Some(Update::Initial { stream_id, lost })) => {
                counters.attached += 1;
                counters.broken_chains += u64::from(lost);
                account.no_positions |= stream_id.is_none();
            }
            Ok(Some(Update::Gap(gap))) => {
                counters.gaps += 1;
                account.note(format!("the server told of a gap: {}", gap.reason));
            }
            Ok(Some(_)) => {}
            Err(broken) => {
                counters.broken_chains += 1;
                account.note(broken);
            }
        }
    }
}
