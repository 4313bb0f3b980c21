//! Those who wait for a task that is not there yet, as its source says.
//!
//! Its stream is followed meanwhile, as any other: whoever came before it began is given all of it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout_at};

use super::round::Round;
use super::{Desk, RETRY_PAUSE_MIN, Waiter};
use crate::core::fanout::{Answer, Refusal, Wants};
use crate::core::source::Missing;
use crate::id::StreamId;
use crate::topic::Topic;

/// How often it is looked for a task that is waited for, beside what its tail tells.
const THREAD_PAUSE: Duration = Duration::from_secs(1);

/// What those wait for who are left after a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody is left.
    Nothing,
    /// Another part of the log.
    AnotherRead,
    /// That there is such a thread.
    Thread,
}

/// Waits until a thread may be there that was not: its tail tells of the stream, and what else there may
/// be is looked for now and then.
pub(super) async fn thread_may_be_there(topic: &Topic, desk: &Mutex<Desk>) {
    let now = Instant::now();
    let until = desk.lock().waiting.values().filter_map(|waiter| waiter.thread_until).min();
    let until = until.unwrap_or(now).min(now + THREAD_PAUSE);
    sleep(RETRY_PAUSE_MIN).await;
    while topic.head().is_none_or(|head| head == StreamId::ZERO) {
        if timeout_at(until, topic.turns.done()).await.is_err() {
            return;
        }
    }
}

impl Round {
    /// There is no such thread. Its source says whether that is the answer.
    pub(super) fn no_thread(&mut self, waiter: &Waiter) {
        let now = Instant::now();
        let over = waiter.thread_until.is_some_and(|until| until <= now);
        let Missing::Wait(seconds) = self.topic.missing() else {
            return self.answer(waiter, Answer::Refused(Refusal::NotFound));
        };
        if over {
            return self.answer(waiter, Answer::Refused(Refusal::NotFound));
        }
        let until = waiter.thread_until.unwrap_or(now + Duration::from_secs(seconds));
        if waiter.thread_until.is_none() {
            super::tell(&self.shared, waiter, Answer::NotYet);
        }
        let deadline = until + self.shared.config.limits.attach_timeout();
        if self.keep(Waiter { thread_until: Some(until), deadline, ..*waiter }) {
            self.waits_for_thread = true;
        }
    }

    /// Where the log begins of a thread that somebody has waited for: he is given all of it.
    pub(super) fn beginning(&self, waiter: &Waiter) -> Option<u64> {
        waiter.thread_until.filter(|_| waiter.wants == Wants::State)?;
        self.topic.recent.lock().log.as_ref()?.locate(StreamId::ZERO)
    }
}
