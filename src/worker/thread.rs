//! A worker's thread and its tasks.
//!
//! | task | stopped by |
//! |---|---|
//! | accept: new connections, one short-lived task each | the drain, which drops it |
//! | pump: everything that happens to viewers | the drain's end |
//! | tail: what is new in the streams this worker owns | the end of the runtime |
//! | desks: one per topic somebody waits at | themselves, or the end of the runtime |
//!
//! Beside the workers there is the thread of the [`lane`](super::lane), which the server ends.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Worker;
use super::shared::Shared;
use crate::http::accept;
use crate::http::api::Api;
use crate::sys::queue::Queue;
use crate::tail::Tail;

/// The worker, as its thread's tasks share it, for a moment at a time and never over an await. Only
/// one thread ever takes the lock, so it is always free: it is there because the runtime wakes a
/// task that may be sent without a call into the kernel, and one that may not only with two.
pub(crate) type SharedWorker = Arc<Mutex<Worker>>;

/// Runs a worker until the drain that `shutdown` begins is over.
///
/// # Errors
/// Where the operating system does not give what a worker needs.
pub(crate) fn run(
    shared: Arc<Shared>,
    number: usize,
    listener: TcpListener,
    api: Arc<Api>,
    shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let worker = Worker::new(shared.clone(), number)?;
        tracing::info!(worker = number, sends = worker.sends_by(), "worker_started");
        let worker = Arc::new(Mutex::new(worker));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accepting = tokio::spawn(accept::run(listener, worker.clone(), api, shutdown.clone()));
        tokio::spawn(Tail::of_worker(shared.clone(), number).run());
        let pumping = tokio::spawn(pump(shared, number, worker, shutdown));
        let result = pumping.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        accepting.abort();
        result
    })
}

/// Everything that happens to viewers, turn by turn.
async fn pump(
    shared: Arc<Shared>,
    number: usize,
    worker: SharedWorker,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let events = Queue::of(worker.lock().poll())?;
    let mut draining = false;
    // Whether the queue may hold events. Looking into it is a call into the kernel.
    let mut filled = true;
    loop {
        let (more, deadline, sockets) = {
            let mut worker = worker.lock();
            if std::mem::take(&mut filled) {
                worker.take_events();
            }
            (worker.turn(), worker.next_deadline(), worker.sockets())
        };
        if draining && sockets == 0 {
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
