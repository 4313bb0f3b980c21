//! The lane: one thread beside the workers, for what is so large that reading and encoding it would
//! hold up a worker's viewers.
//!
//! It has connections of its own. The HTTP API reads state here. The tail of a stream moves here
//! with the first entry that is too large for its worker's tail; a desk's read, when its answer
//! would be too large. Both go on as they do on a worker, for as long as the topic is watched. What
//! they make is handed to the workers as everything is.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::log::{Log, LogError};
use crate::shared::Shared;
use crate::supervise::{self, Part};
use crate::sys::memory;
use crate::tail::Tail;

/// Large reads that are under way at Redis at once: while it makes such an answer, it does nothing
/// else.
const LARGE_READS_MAX: u32 = 4;

/// The way to the lane.
pub(crate) struct Lane {
    runtime: Handle,
    log: Log,
    /// Large reads that may be under way at once.
    large: Arc<Semaphore>,
}

/// The thread of the lane, which ends when this is dropped.
pub(crate) struct LaneThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// The lane, and what its thread is to run.
    ///
    /// # Errors
    /// Where the operating system does not give what a runtime needs.
    pub(crate) fn new(log: &Log) -> io::Result<(Self, Runtime)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let log = log.another().map_err(io::Error::other)?;
        Ok((Self::on(runtime.handle().clone(), log), runtime))
    }

    /// A lane on a runtime that somebody else runs.
    pub(crate) fn on(runtime: Handle, log: Log) -> Self {
        Self { runtime, log, large: Arc::new(Semaphore::new(LARGE_READS_MAX as usize)) }
    }

    /// The log, over a connection of the lane's own.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// For the large reads of others, which count as well.
    pub(crate) fn large_reads(&self) -> Arc<Semaphore> {
        self.large.clone()
    }

    /// Does something on the lane's thread.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the server ends meanwhile, or what is done panics.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, LogError> {
        let work = async {
            supervise::turn(Part::Lane);
            work.await
        };
        self.runtime.spawn(work).await.map_err(|error| {
            let problem = if error.is_panic() { "the lane failed" } else { "the server ends" };
            LogError::Unavailable(problem.into())
        })
    }

    /// Waits for the turn of a large read; of one that is to be alone, until no other is under way.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where the server ends meanwhile.
    pub(crate) async fn turn(&self, alone: bool) -> Result<OwnedSemaphorePermit, LogError> {
        let number = if alone { LARGE_READS_MAX } else { 1 };
        let turn = self.large.clone().acquire_many_owned(number).await;
        turn.map_err(|_| LogError::Unavailable("the server ends".into()))
    }
}

impl LaneThread {
    /// Starts the thread, and on it the tail of the streams that will be given to the lane.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub(crate) fn start(runtime: Runtime, shared: Arc<Shared>) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let supervisor = shared.supervisor.clone();
        let tail = supervisor.clone().restarting(Part::Tail, move || {
            shared.begin_tail(shared.lane_number());
            Tail::of_lane(shared.clone()).run()
        });
        let run = move || {
            let _vital = supervisor.vital_scope(Part::Lane);
            runtime.block_on(async {
                tokio::spawn(memory::give_back());
                tokio::select! {
                    // Dropped: the server ends.
                    () = tail => {}
                    // Dropped: it has resolved. An error means the same: nobody needs the lane.
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("lane".into()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for LaneThread {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It has nothing to say that anybody would still want to know.
            _ = thread.join();
        }
    }
}
