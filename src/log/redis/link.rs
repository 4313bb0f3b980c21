//! The connection that all questions of a log share: made once for all who wait for it, looked at
//! after a pause, and made anew where it broke.
//!
//! Whoever asks has a deadline of his own, and it holds for everything: waiting for the connection,
//! for room on it, and for the answer.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Counters;
use super::connection::{Connector, Timeouts};
use super::error::{Class, Failure};
use super::script::Script;
use super::{history, reply};
use crate::core::history::History;

/// A connection that was not heard of for so long may be gone: Redis closes idle ones (`timeout`),
/// and a restart is not noticed before something is asked.
pub(super) const UNHEARD_OF: Duration = Duration::from_millis(200);

/// The shared connection.
pub(super) struct Link {
    connector: Arc<Connector>,
    timeouts: Timeouts,
    slot: Mutex<Slot>,
    connects: AtomicU64,
    pub(super) clock: Clock,
    pub(super) counters: Counters,
}

/// The connection, or the way to it.
enum Slot {
    Empty,
    Connecting(watch::Receiver<Option<Made>>),
    Ready(Live),
}

/// What connecting came to.
type Made = Result<Live, Failure>;

/// A connection that is there.
#[derive(Clone)]
pub(super) struct Live {
    number: u64,
    connection: MultiplexedConnection,
    history: History,
    heard_of: Arc<Mutex<Instant>>,
}

/// The clock of Redis, by a clock of ours that nobody sets.
pub(super) struct Clock {
    started: Instant,
    /// How far Redis is ahead of the time since then.
    ahead_ms: AtomicI64,
}

impl Clock {
    /// What Redis would say that the time is, in milliseconds since the epoch.
    pub(super) fn now_ms(&self) -> i64 {
        self.ahead_ms.load(Relaxed) + self.started.elapsed().as_millis() as i64
    }

    /// Redis says that it is this time.
    pub(super) fn set(&self, now_ms: i64) {
        self.ahead_ms.store(now_ms - self.started.elapsed().as_millis() as i64, Relaxed);
    }
}

impl Link {
    pub(super) fn new(connector: Arc<Connector>, timeouts: Timeouts) -> Self {
        Self {
            connector,
            timeouts,
            slot: Mutex::new(Slot::Empty),
            connects: AtomicU64::new(0),
            clock: Clock { started: Instant::now(), ahead_ms: AtomicI64::new(0) },
            counters: Counters::default(),
        }
    }

    /// Connects again before the next question: Redis may be another server now.
    pub(super) fn disconnect(&self) {
        *self.slot.lock() = Slot::Empty;
    }

    /// Does something within the time that Redis has for an answer.
    pub(super) async fn in_time<T>(
        &self,
        asking: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout(self.timeouts.response, asking).await.unwrap_or_else(|_| Err(Failure::silent()))
    }

    /// Asks, and once more where the connection breaks: what is asked changes nothing. To be called
    /// within a deadline.
    ///
    /// # Errors
    /// Of the class [`Class::Broken`] where the connection broke twice.
    pub(super) async fn ask(self: &Arc<Self>, command: &Cmd) -> Result<Value, Failure> {
        Ok(self.ask_somewhere(command).await?.0)
    }

    /// As [`Link::ask`]; also where it was answered.
    async fn ask_somewhere(self: &Arc<Self>, command: &Cmd) -> Result<(Value, History), Failure> {
        let mut live = self.live().await?;
        let answer = match self.ask_on(&live, command).await {
            Err(failure) if failure.class == Class::Broken => {
                live = self.live().await?;
                self.ask_on(&live, command).await
            }
            answer => answer,
        };
        Ok((answer?, live.history))
    }

    /// Runs a script that changes nothing, by its hash, or whole where Redis does not know it: it
    /// need not be there when the next command comes, so it is not loaded first.
    pub(super) async fn run(
        self: &Arc<Self>,
        script: &Script,
        keys: &[String],
        args: &[String],
    ) -> Result<Value, Failure> {
        Ok(self.run_somewhere(script, keys, args).await?.0)
    }

    /// As [`Link::run`]; also where it was answered.
    pub(super) async fn run_somewhere(
        self: &Arc<Self>,
        script: &Script,
        keys: &[String],
        args: &[String],
    ) -> Result<(Value, History), Failure> {
        match self.ask_somewhere(&script.by_hash(keys, args)).await {
            Err(failure) if failure.class == Class::NoScript => {
                self.ask_somewhere(&script.whole(keys, args)).await
            }
            answer => answer,
        }
    }

    /// Runs any script, on this connection.
    ///
    /// # Errors
    /// Where it is not [`Failure::is_refusal`], the script may have been run, and it may yet be.
    pub(super) async fn run_on(
        &self,
        live: &Live,
        script: &Script,
        keys: &[String],
        args: &[String],
    ) -> Result<Value, Failure> {
        match self.ask_on(live, &script.by_hash(keys, args)).await {
            // Nothing of it was done.
            Err(failure) if failure.class == Class::NoScript => {
                self.ask_on(live, &script.whole(keys, args)).await
            }
            answer => answer,
        }
    }

    /// Asks Redis for its time.
    pub(super) async fn measure_clock(self: &Arc<Self>) -> Result<(), Failure> {
        let time = self.ask(&redis::cmd("TIME")).await?;
        self.take_time(&time)
    }

    fn take_time(&self, time: &Value) -> Result<(), Failure> {
        let (seconds, micros): (i64, i64) = redis::from_redis_value_ref(time)
            .map_err(|_| Failure::odd("TIME was answered by no time".into()))?;
        self.clock.set(seconds * 1000 + micros / 1000);
        Ok(())
    }

    async fn ask_on(&self, live: &Live, command: &Cmd) -> Result<Value, Failure> {
        self.counters.round_trips.fetch_add(1, Relaxed);
        let mut connection = live.connection.clone();
        let mut asked = Asked { link: self, number: live.number, at: Instant::now(), open: true };
        let answer = connection.send_packed_command(command).await;
        asked.open = false;
        let answer = match answer {
            Ok(Value::ServerError(error)) => {
                let detail = error.details().unwrap_or_default();
                Err(Failure::answered(&format!("{} {detail}", error.code())))
            }
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::from(&error)),
        };
        match answer {
            Err(failure) if failure.spoils_connection() => {
                self.counters.errors.fetch_add(1, Relaxed);
                self.leave(live.number);
                Err(failure)
            }
            answer => {
                *live.heard_of.lock() = Instant::now();
                let failed = answer.as_ref().is_err_and(Failure::is_of_redis);
                self.counters.errors.fetch_add(failed.into(), Relaxed);
                answer
            }
        }
    }

    /// The connection, which was heard of just now: what is asked on it most likely reaches Redis.
    ///
    /// # Errors
    /// There is none, and nothing was asked.
    pub(super) async fn live_for_sure(self: &Arc<Self>) -> Result<Live, Failure> {
        let live = self.live().await?;
        if live.heard_of.lock().elapsed() < UNHEARD_OF {
            return Ok(live);
        }
        let patience = self.timeouts.response / 4;
        match timeout(patience, self.ask_on(&live, &redis::cmd("TIME"))).await {
            Ok(Ok(time)) => {
                self.take_time(&time)?;
                return Ok(live);
            }
            Ok(Err(failure)) if !failure.spoils_connection() => return Err(failure),
            Ok(Err(_)) => {}
            Err(_) => self.leave(live.number),
        }
        self.live().await
    }

    /// The connection; whoever comes while it is being made waits for the same one.
    async fn live(self: &Arc<Self>) -> Result<Live, Failure> {
        let mut outcome = {
            let mut slot = self.slot.lock();
            match &*slot {
                Slot::Ready(live) => return Ok(live.clone()),
                // Who was at it is gone with its runtime where nobody can tell any more.
                Slot::Connecting(outcome) if outcome.has_changed().is_ok() => outcome.clone(),
                Slot::Connecting(_) | Slot::Empty => {
                    let (tell, outcome) = watch::channel(None);
                    *slot = Slot::Connecting(outcome.clone());
                    let number = self.connects.fetch_add(1, Relaxed);
                    tokio::spawn(self.clone().connect(number, tell));
                    outcome
                }
            }
        };
        let made = outcome.wait_for(Option::is_some).await.ok().and_then(|made| made.clone());
        made.unwrap_or_else(|| Err(Failure::broken("the server ends")))
    }

    async fn connect(self: Arc<Self>, number: u64, tell: watch::Sender<Option<Made>>) {
        let making = timeout(self.timeouts.connect, self.make(number)).await;
        let ms = self.timeouts.connect.as_millis();
        let made = making
            .unwrap_or_else(|_| Err(Failure::broken(&format!("no connection within {ms} ms"))));
        {
            let mut slot = self.slot.lock();
            // Somebody may have had reason to connect anew meanwhile.
            if matches!(&*slot, Slot::Connecting(outcome) if tell.subscribe().same_channel(outcome))
            {
                *slot = made.clone().map_or(Slot::Empty, Slot::Ready);
            }
        }
        tell.send_replace(Some(made));
    }

    async fn make(&self, number: u64) -> Made {
        let connection = self.connector.connect().await?;
        let heard_of = Arc::new(Mutex::new(Instant::now()));
        let mut live = Live { number, connection, history: History::default(), heard_of };
        self.take_time(&self.ask_on(&live, &redis::cmd("TIME")).await?)?;
        let mut sections = [None, None];
        for (section, name) in sections.iter_mut().zip(history::SECTIONS) {
            // Who may not ask learns nothing of it.
            let answer = self.ask_on(&live, redis::cmd("INFO").arg(name)).await;
            *section = answer.ok().and_then(reply::bytes);
        }
        live.history = history::of(sections).unwrap_or_else(history::unknown);
        // Who may not ask learns it from the first redirection.
        if let Ok(info) = self.ask_on(&live, redis::cmd("INFO").arg("cluster")).await
            && redis::from_redis_value::<String>(info)
                .is_ok_and(|info| info.contains("cluster_enabled:1"))
        {
            return Err(Failure::cluster());
        }
        Ok(live)
    }

    /// The connection is not used again, as nothing is heard of it.
    pub(super) fn give_up(&self, live: &Live) {
        self.leave(live.number);
    }

    /// The connection with this number is not used again.
    fn leave(&self, number: u64) {
        let mut slot = self.slot.lock();
        if matches!(&*slot, Slot::Ready(live) if live.number == number) {
            *slot = Slot::Empty;
        }
    }
}

/// A question that was asked. Whoever gives it up after a long time has found that Redis keeps
/// still: the connection is not used again.
struct Asked<'a> {
    link: &'a Link,
    number: u64,
    at: Instant,
    open: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.open && self.at.elapsed() >= self.link.timeouts.response / 2 {
            self.link.leave(self.number);
        }
    }
}
