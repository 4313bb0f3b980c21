//! How many connections there may be, and which files are kept back for Redis and for the application.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::receive::Queues;
use crate::access::QUESTIONS_MAX;
use crate::config::Config;

/// On the last files so many connections are served at a time, each for a moment.
const LAST_FILES: usize = 8;
/// Connections to Redis that a worker may need at a time, an old one that is being replaced
/// included; the lane and what all share need as many.
const REDIS_FILES_PER_WORKER: usize = 4;

/// Bodies that are published at a time are so large together, in KiB: on its way to Redis each is
/// held a few times.
const PUBLISHED_KIB_MAX: u32 = 4 * 1024;

/// One per process.
#[derive(Debug)]
pub(crate) struct Gate {
    connections: AtomicUsize,
    connections_max: usize,
    /// The number of the first of the last files. The kernel gives each new file the lowest number
    /// that is free, so that such a number means that all below are taken.
    last_from: RawFd,
    last: Arc<Semaphore>,
    /// Bodies that wait for room.
    pub(super) bodies: Queues,
    /// A permit for each KiB of the bodies that are being published.
    published_kib: Semaphore,
}

/// A connection that is counted, as long as this lives.
#[derive(Debug)]
pub(super) struct Place(Arc<Gate>);

/// What a connection's file says of those that are left.
pub(super) enum Room {
    Enough,
    /// It is one of the last; it may be served in short.
    Last(OwnedSemaphorePermit),
    /// All of the last are taken, and stay so.
    None,
}

impl Gate {
    /// A gate for a process that may have so many open files.
    pub(crate) fn new(config: &Config, files_max: usize) -> Self {
        // Each worker may hold one accepted connection that waits for its turn.
        let per_worker = REDIS_FILES_PER_WORKER + 1;
        let for_redis = per_worker * config.workers + 2 * REDIS_FILES_PER_WORKER;
        let for_the_application = config.access.ask.as_ref().map_or(0, |_| QUESTIONS_MAX);
        let kept = LAST_FILES + for_redis + for_the_application;
        // With very few files there is no good division.
        let last_from = files_max.saturating_sub(kept).max(files_max / 2);
        Self {
            connections: AtomicUsize::new(0),
            connections_max: config.limits.http_connections_max,
            last_from: RawFd::try_from(last_from).unwrap_or(RawFd::MAX),
            last: Arc::new(Semaphore::new(LAST_FILES)),
            bodies: Queues::default(),
            published_kib: Semaphore::new(PUBLISHED_KIB_MAX as usize),
        }
    }

    /// Counts a connection that has sent a head, where it is not one too many.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        // Counted in any case; the place gives it back.
        let before = self.connections.fetch_add(1, Relaxed);
        (before < self.connections_max).then_some(place)
    }

    /// Whether there are files enough for a connection. Waits for a place among the last ones, for
    /// so long as one of them may take.
    pub(super) async fn room_for(&self, stream: &TcpStream, patience: Duration) -> Room {
        if stream.as_raw_fd() < self.last_from {
            return Room::Enough;
        }
        match tokio::time::timeout(patience, self.last.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Room::Last(permit),
            Ok(Err(_)) | Err(_) => Room::None,
        }
    }

    /// Waits for the turn of a body to be published. Nothing where the server ends.
    pub(super) async fn turn(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        self.published_kib.acquire_many(kib.clamp(1, PUBLISHED_KIB_MAX)).await.ok()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;

    #[test]
    fn a_place_is_given_back() {
        let limits = Limits { http_connections_max: 2, ..Limits::default() };
        let gate = Arc::new(Gate::new(&Config { limits, ..Config::default() }, 1024));
        let (one, _two) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert!(gate.enter().is_none() && gate.enter().is_none());
        drop(one);
        assert!(gate.enter().is_some());
    }

    #[test]
    fn files_are_kept_back_however_few_there_are() {
        for (files_max, last_from) in [(1_000_000, 999_974), (200, 174), (30, 15), (0, 0)] {
            let gate = Gate::new(&Config { workers: 2, ..Config::default() }, files_max);
            assert_eq!(gate.last_from, last_from, "{files_max}");
        }
    }
}
