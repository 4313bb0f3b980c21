//! A worker's thread and its tasks.
//!
//! | task | stopped by |
//! |---|---|
//! | accept: new connections, one short-lived task each | the drain, which drops it |
//! | pump: everything that happens to viewers | the drain's end |
//! | tail: what is new in the streams this worker owns | the end of the runtime |
//! | desks: one per topic somebody waits at | themselves, or the end of the runtime |

use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::LocalSet;

use super::Worker;
use super::shared::Shared;
use super::tail::Tail;
use crate::http::accept;
use crate::http::api::Api;
use crate::sys::queue::Queue;

/// The worker, as its thread's tasks share it. Borrowed for a moment at a time, never over an
/// await.
pub(crate) type SharedWorker = Rc<RefCell<Worker>>;

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
    LocalSet::new().block_on(&runtime, async {
        let worker = Worker::new(shared.clone(), number)?;
        tracing::info!(worker = number, sends = worker.sends_by(), "worker_started");
        let worker = Rc::new(RefCell::new(worker));
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let accepting =
            tokio::task::spawn_local(accept::run(listener, worker.clone(), api, shutdown.clone()));
        tokio::task::spawn_local(Tail::new(shared.clone(), number).run());
        let result = pump(&shared, number, &worker, shutdown).await;
        accepting.abort();
        result
    })
}

/// Everything that happens to viewers, turn by turn.
async fn pump(
    shared: &Shared,
    number: usize,
    worker: &SharedWorker,
    mut shutdown: watch::Receiver<bool>,
) -> io::Result<()> {
    let events = Queue::of(worker.borrow().poll())?;
    let mut draining = false;
    loop {
        let (more, deadline, sockets) = {
            let mut worker = worker.borrow_mut();
            (worker.turn(), worker.next_deadline(), worker.sockets())
        };
        if draining && sockets == 0 {
            return Ok(());
        }
        if more {
            // Let arrivals and the tail have their turn between two slices.
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            // Dropped: the queue stays readable, and each turn looks into it.
            filled = events.filled() => filled?,
            // Dropped: messages stay in the mailbox, and each turn takes them.
            () = shared.workers[number].inbox.filled() => {}
            // Dropped: each turn looks at the clock.
            () = tokio::time::sleep_until(deadline) => {}
            // Dropped: the value stays.
            begun = shutdown.wait_for(|begun| *begun), if !draining => {
                draining = true;
                // An error means that nobody is left who could begin it: end as well.
                drop(begun);
                worker.borrow_mut().drain(shared.config.drain());
            }
        }
    }
}
