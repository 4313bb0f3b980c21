//! Who reads a topic's stream now: one at a time, so that all that is read of it is in one order.
//!
//! The tail never waits: it is told when the stream is free. A desk waits, and lets a tail that was
//! turned away go first.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::log::AwaitedTurn;
use crate::shared::{Shared, TailMessage};
use crate::topic::Topic;

/// So long a desk lets the tail go first, which may have other things to do.
const TAIL_FIRST: Duration = Duration::from_millis(20);

/// The turns of one topic.
#[derive(Default)]
pub(crate) struct Turns {
    now: Mutex<Now>,
    /// Somebody is done.
    done: Notify,
}

#[derive(Default)]
struct Now {
    taken: bool,
    /// The tail was turned away, and is to be told.
    tail_waits: bool,
}

/// The right to read the stream, and to change what is known of it. Ends when it is dropped.
pub(crate) struct Turn {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
}

impl Turns {
    /// Somebody is done with his turn. May be dropped.
    pub(crate) async fn done(&self) {
        self.done.notified().await;
    }
}

impl Turn {
    /// For the tail. Where somebody else has the turn, the tail is asked to look at the stream again
    /// afterwards.
    pub(crate) fn for_tail(shared: &Arc<Shared>, topic: &Arc<Topic>) -> Option<Self> {
        let mut now = topic.turns.now.lock();
        now.tail_waits = now.taken;
        let free = !std::mem::replace(&mut now.taken, true);
        free.then(|| Self { shared: shared.clone(), topic: topic.clone() })
    }

    /// For a desk.
    pub(crate) fn for_desk<'a>(shared: &'a Arc<Shared>, topic: &'a Arc<Topic>) -> DeskTurn<'a> {
        DeskTurn { shared, topic, patient: true }
    }
}

/// A turn that a desk is to have.
pub(crate) struct DeskTurn<'a> {
    shared: &'a Arc<Shared>,
    topic: &'a Arc<Topic>,
    /// It lets a tail that was turned away go first.
    patient: bool,
}

impl DeskTurn<'_> {
    fn is_free(&self, now: &Now) -> bool {
        !(now.taken || (self.patient && now.tail_waits))
    }
}

impl AwaitedTurn for DeskTurn<'_> {
    type Turn = Turn;

    fn try_take(&mut self) -> Option<Turn> {
        let mut now = self.topic.turns.now.lock();
        if !self.is_free(&now) {
            return None;
        }
        *now = Now { taken: true, tail_waits: false };
        Some(Turn { shared: self.shared.clone(), topic: self.topic.clone() })
    }

    async fn is_due(&mut self) {
        loop {
            let done = self.topic.turns.done.notified();
            if self.is_free(&self.topic.turns.now.lock()) {
                return;
            }
            // A tail that has gone over to something else does not come.
            self.patient = timeout(TAIL_FIRST, done).await.is_ok();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let tail_waits = {
            let mut now = self.topic.turns.now.lock();
            now.taken = false;
            now.tail_waits
        };
        if tail_waits {
            let owner = self.topic.owner();
            self.shared.tails[owner].put(TailMessage::Watch(self.topic.clone()));
        }
        self.topic.turns.done.notify_waiters();
    }
}
