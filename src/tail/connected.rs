//! How many tails are connected, and in which mode.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::Tail;
use crate::shared::Shared;

/// A tail that is counted as connected, as long as this is not dropped.
pub(super) struct Connected {
    shared: Arc<Shared>,
    is_lane: bool,
    blocking: bool,
}

impl Connected {
    pub(super) fn new(tail: &Tail, blocking: bool) -> Self {
        let connected = Self { shared: tail.shared.clone(), is_lane: tail.is_lane(), blocking };
        connected.counters().into_iter().flatten().for_each(|it| _ = it.fetch_add(1, Relaxed));
        connected
    }

    fn counters(&self) -> [Option<&AtomicUsize>; 2] {
        [
            (!self.is_lane).then_some(&self.shared.tails_connected),
            self.blocking.then_some(&self.shared.tails_blocking),
        ]
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.counters().into_iter().flatten().for_each(|it| _ = it.fetch_sub(1, Relaxed));
    }
}
