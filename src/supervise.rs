//! Supervision: a part of the server that panics is started again where that is safe; where it is
//! not, the process ends, with a message and an exit code of its own. Nothing goes on in silence
//! without one of its parts: while one is dead, `/healthz` says so.
//!
//! | part | when it panics |
//! |---|---|
//! | worker: its viewers, and the accepting of connections | the process ends |
//! | tail, the lane's too | started again: where it was is in the topics |
//! | desk | opened again: who waits is asked for again; closed with 1011 where it panics each time |
//! | lane | what it was doing fails, and it goes on; the process ends where its thread dies |
//!
//! A test injects a panic into each, in a build with the feature `faults`.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The first pause before a part is started again; it doubles.
const RESTART_MS_MIN: u64 = 100;
const RESTART_MS_MAX: u64 = 5_000;
/// A part that panics so often without [`CALM`] between is given up.
pub(crate) const PANICS_MAX: u32 = 6;
/// A part that ran so long is well again.
const CALM: Duration = Duration::from_secs(60);

/// A part of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A worker.
    Worker,
    /// The tail of a worker, or of the lane.
    Tail,
    /// The desk of a topic.
    Desk,
    /// The lane.
    Lane,
}

impl Part {
    /// All of them.
    const ALL: [Self; 4] = [Self::Worker, Self::Tail, Self::Desk, Self::Lane];

    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Tail => "tail",
            Self::Desk => "desk",
            Self::Lane => "lane",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which parts are dead. One per server.
#[derive(Debug)]
pub(crate) struct Supervisor {
    dead: [AtomicUsize; Part::ALL.len()],
    panics: AtomicU64,
    /// The part without which the server cannot go on.
    failed: watch::Sender<Option<Part>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            dead: Default::default(),
            panics: AtomicU64::new(0),
            failed: watch::Sender::new(None),
        }
    }
}

impl Supervisor {
    /// A part that is dead now, if there is one.
    pub(crate) fn dead_part(&self) -> Option<Part> {
        Part::ALL.into_iter().find(|part| self.dead[*part as usize].load(Relaxed) > 0)
    }

    /// How often a part has panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Resolves when the server cannot go on, with the part that it lacks. May be dropped.
    pub(crate) async fn failed(&self) -> Part {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(part) = *failed.borrow_and_update() {
                return part;
            }
            if failed.changed().await.is_err() {
                // Not while `self` is there, which holds the other end.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Runs what `start` makes, and again when it panics, after a pause. Where it panics again and
    /// again, the server fails.
    pub(crate) async fn restarting<F>(self: Arc<Self>, part: Part, mut start: impl FnMut() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut panics = 0;
        loop {
            let started = Instant::now();
            match tokio::spawn(start()).await {
                Err(error) if error.is_panic() => {}
                // It has ended, or the runtime has.
                _ => return,
            }
            panics = if started.elapsed() >= CALM { 1 } else { panics + 1 };
            let dead = self.dead(part);
            if panics >= PANICS_MAX {
                dead.for_good();
                return;
            }
            let pause_ms = (RESTART_MS_MIN << (panics - 1)).min(RESTART_MS_MAX);
            tracing::error!(%part, panics, again_in_ms = pause_ms, "part_died");
            sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// What cannot be started again: where it panics, the server fails.
    pub(crate) async fn vital<T>(self: Arc<Self>, part: Part, work: impl Future<Output = T>) -> T {
        let _vital = self.vital_scope(part);
        work.await
    }

    /// The same for what runs until the value is dropped.
    pub(crate) fn vital_scope(self: &Arc<Self>, part: Part) -> impl Drop + use<> {
        let supervisor = self.clone();
        on_panic(move || supervisor.dead(part).for_good())
    }

    /// A part has panicked, and is dead as long as the value is held.
    pub(crate) fn dead(self: &Arc<Self>, part: Part) -> Dead {
        self.panics.fetch_add(1, Relaxed);
        self.dead[part as usize].fetch_add(1, Relaxed);
        Dead { supervisor: self.clone(), part }
    }
}

/// A part that is dead.
pub(crate) struct Dead {
    supervisor: Arc<Supervisor>,
    part: Part,
}

impl Dead {
    /// It stays so: the server fails.
    fn for_good(self) {
        tracing::error!(part = %self.part, "part_failed");
        self.supervisor.failed.send_replace(Some(self.part));
        // It counts as dead until the process has ended.
        std::mem::forget(self);
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        self.supervisor.dead[self.part as usize].fetch_sub(1, Relaxed);
    }
}

/// Does something when a panic drops the value, and nothing when it is dropped otherwise.
pub(crate) fn on_panic(act: impl FnOnce()) -> impl Drop {
    struct OnPanic<F: FnOnce()>(Option<F>);

    impl<F: FnOnce()> Drop for OnPanic<F> {
        fn drop(&mut self) {
            if let Some(act) = self.0.take()
                && std::thread::panicking()
            {
                act();
            }
        }
    }

    OnPanic(Some(act))
}

/// A part takes one more turn: here, a build with the feature `faults` panics.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub(crate) fn turn(_: Part) {}

#[cfg(feature = "faults")]
pub(crate) use faults::turn;

#[cfg(feature = "faults")]
mod faults {
    //! `INJECT_FAULT=tail:3` makes a tail panic in its third turn, `tail:3+` in each from then on.

    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::Part;

    struct Fault {
        part: String,
        turn: u64,
        again: bool,
    }

    static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let text = std::env::var("INJECT_FAULT").ok()?;
        let (part, turn) = text.split_once(':')?;
        let again = turn.ends_with('+');
        let turn = turn.trim_end_matches('+').parse().ok()?;
        Some(Fault { part: part.to_owned(), turn, again })
    });

    static TURNS: AtomicU64 = AtomicU64::new(0);

    #[allow(clippy::panic, reason = "that is what it is for")]
    pub(crate) fn turn(part: Part) {
        let Some(fault) = &*FAULT else { return };
        if fault.part != part.as_str() {
            return;
        }
        let turn = TURNS.fetch_add(1, Relaxed) + 1;
        if turn == fault.turn || (fault.again && turn > fault.turn) {
            panic!("a fault was injected into a {part}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_panics_is_dead_until_it_is_started_again() {
        let supervisor = Arc::new(Supervisor::default());
        let mut starts = 0;
        let seen = supervisor.clone();
        let running = tokio::spawn(supervisor.clone().restarting(Part::Tail, move || {
            starts += 1;
            let (seen, first) = (seen.clone(), starts == 1);
            async move {
                assert!(!first, "on purpose");
                assert_eq!(seen.dead_part(), None);
            }
        }));
        while supervisor.dead_part().is_none() {
            tokio::task::yield_now().await;
        }
        running.await.unwrap();
        assert_eq!((supervisor.dead_part(), supervisor.panics()), (None, 1));
    }

    #[tokio::test]
    async fn a_part_that_panics_again_and_again_is_given_up() {
        let supervisor = Arc::new(Supervisor::default());
        tokio::spawn(supervisor.clone().restarting(Part::Tail, || async { panic!("on purpose") }));
        assert_eq!(supervisor.failed().await, Part::Tail);
        assert_eq!(supervisor.panics(), u64::from(PANICS_MAX));
        assert_eq!(supervisor.dead_part(), Some(Part::Tail));
    }

    #[tokio::test]
    async fn what_is_vital_is_not_started_again() {
        let supervisor = Arc::new(Supervisor::default());
        let work = async { panic!("on purpose") };
        let run: Result<(), _> = tokio::spawn(supervisor.clone().vital(Part::Worker, work)).await;
        assert!(run.is_err());
        assert_eq!(supervisor.failed().await, Part::Worker);
        let work = tokio::spawn(supervisor.vital(Part::Worker, async { 1 }));
        assert_eq!(work.await.unwrap(), 1);
    }
}
