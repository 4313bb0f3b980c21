//! A worker's thread and its tasks.
//!
//! | task | stopped by |
//! |---|---|
//! | front: what hands sockets over | itself, when nobody is left who could come |
//! | pump: everything that happens to viewers | the drain's end |
//! | tail: what is new in the streams this worker owns | the end of the runtime |
//! | memory: gives back what was let go | the end of the runtime |
//! | desks: one per topic somebody waits at | themselves, or the end of the runtime |
//!
//! Beside the workers there is the thread of the [`lane`](crate::lane), which the server ends.

use std::future::Future;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Worker;
use crate::newcomer::Newcomer;
use crate::shared::Shared;
use crate::supervise::{self, Part};
use crate::sys::memory;
use crate::sys::queue::Queue;
use crate::tail::Tail;
use crate::tls::Bare;

/// The worker, as its thread's tasks share it, for a moment at a time and never over an await. Only
/// one thread ever takes the lock, so it is always free: it is there because the runtime wakes a
/// task that may be sent without a call into the kernel, and one that may not only with two.
pub(crate) type SharedWorker = Arc<Mutex<Worker>>;

/// Takes a socket over after its handshake, with what came along with that.
pub(crate) type Adopt = Arc<dyn Fn(Bare, Vec<u8>, Newcomer) -> io::Result<()> + Send + Sync>;

/// Runs a worker until the drain that `shutdown` begins is over. `front` is what hands sockets over
/// to it, and ends when it has handed over the last.
///
/// # Errors
/// Where the operating system does not give what a worker needs.
pub(crate) fn run<F>(
    shared: Arc<Shared>,
    number: usize,
    shutdown: watch::Receiver<bool>,
    front: impl FnOnce(Adopt) -> F,
) -> io::Result<()>
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let worker = Worker::new(shared.clone(), number)?;
        tokio::spawn(memory::give_back());
        tracing::info!(worker = number, sends = worker.sends_by(), "worker_started");
        let worker = Arc::new(Mutex::new(worker));
        let supervisor = shared.supervisor.clone();
        let (adopting, of_adopting) = (worker.clone(), supervisor.clone());
        let adopt: Adopt = Arc::new(move |bare, early, newcomer| {
            // The task that hands over is of one connection, but this is the worker.
            let _vital = of_adopting.vital_scope(Part::Worker);
            adopting.lock().adopt(bare, early, newcomer)
        });
        let front = tokio::spawn(supervisor.clone().vital(Part::Worker, front(adopt)));
        tokio::spawn(supervisor.clone().restarting(Part::Tail, {
            let shared = shared.clone();
            move || {
                shared.begin_tail(number);
                Tail::of_worker(shared.clone(), number).run()
            }
        }));
        let pumping = pump(shared, number, worker, shutdown, front);
        let pumping = tokio::spawn(supervisor.vital(Part::Worker, pumping));
        pumping.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    })
}

/// Everything that happens to viewers, turn by turn.
async fn pump(
    shared: Arc<Shared>,
    number: usize,
    worker: SharedWorker,
    mut shutdown: watch::Receiver<bool>,
    mut front: JoinHandle<io::Result<()>>,
) -> io::Result<()> {
    let events = Queue::of(worker.lock().poll())?;
    let (mut draining, mut all_came) = (false, false);
    // Whether the queue may hold events. Looking into it is a call into the kernel.
    let mut filled = true;
    loop {
        supervise::turn(Part::Worker);
        let (more, deadline, sockets) = {
            let mut worker = worker.lock();
            if std::mem::take(&mut filled) {
                worker.take_events();
            }
            (worker.turn(), worker.next_deadline(), worker.sockets())
        };
        if draining && all_came && sockets == 0 {
            return Ok(());
        }
        if more {
            // Let arrivals and the tail have their turn between two slices.
            tokio::task::yield_now().await;
            filled = true;
            continue;
        }
        tokio::select! {
            // Dropped: the queue stays readable.
            result = events.filled() => {
                result?;
                filled = true;
            }
            // Dropped: messages stay in the mailbox, and each turn takes them.
            () = shared.inboxes[number].filled() => {}
            // Dropped: each turn looks at the clock.
            () = tokio::time::sleep_until(deadline) => {}
            // Dropped: the task goes on.
            ended = &mut front, if !all_came => {
                ended.unwrap_or_else(|error| Err(io::Error::other(error)))?;
                all_came = true;
            }
            // Dropped: the value stays.
            begun = shutdown.wait_for(|begun| *begun), if !draining => {
                draining = true;
                // An error means that nobody is left who could begin it: end as well.
                drop(begun);
                worker.lock().drain(shared.config.drain());
            }
        }
    }
}
