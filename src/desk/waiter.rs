//! A viewer that waits at a desk.

use tokio::time::Instant;

use crate::core::fanout::Wants;
use crate::core::slots::Key;
use crate::id::StreamId;

/// A viewer that waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiter {
    pub(super) worker: usize,
    pub(super) viewer: Key,
    pub(super) wants: Wants,
    /// It is not known yet whether there is such a thread.
    pub(super) attaching: bool,
    /// The epoch that its position is of; none where that came from outside.
    pub(super) epoch: Option<u32>,
    /// How many units of the topic's log it has, where that is known.
    pub(super) received: Option<u64>,
    /// The topic does not hold everything behind its position.
    pub(super) needs_page: bool,
    /// Only the state can tell whether there is such a thread.
    pub(super) needs_state: bool,
    /// Everything from its position up to here is skipped.
    pub(super) passed: Option<StreamId>,
    /// There was no such thread yet, and so long it waits for one.
    pub(super) thread_until: Option<Instant>,
    /// How many rounds have passed it over.
    pub(super) passed_over: u32,
    /// When it gives up.
    pub(super) deadline: Instant,
}

impl Waiter {
    pub(crate) fn new(
        (worker, viewer): (usize, Key),
        wants: Wants,
        attaching: bool,
        deadline: Instant,
    ) -> Self {
        Self {
            worker,
            viewer,
            wants,
            attaching,
            epoch: None,
            received: None,
            needs_page: false,
            needs_state: false,
            passed: None,
            thread_until: None,
            passed_over: 0,
            deadline,
        }
    }

    /// What its worker knows of its position.
    pub(crate) fn standing(self, epoch: Option<u32>, received: Option<u64>) -> Self {
        Self { epoch, received, ..self }
    }

    /// The position that it stands at.
    pub(super) fn position(&self) -> StreamId {
        match self.wants {
            Wants::After(after) => after,
            Wants::State | Wants::Retained | Wants::Gap { .. } => StreamId::ZERO,
        }
    }

    /// From where on it is read for.
    pub(super) fn reads_from(&self) -> StreamId {
        self.passed.unwrap_or(self.position())
    }

    /// Whether it wants a part of the stream, and not a state.
    pub(super) fn wants_page(&self) -> bool {
        matches!(self.wants, Wants::After(_) | Wants::Retained)
    }

    pub(super) fn key(&self) -> (usize, Key) {
        (self.worker, self.viewer)
    }
}
