//! The desks of a topic: those who attach, resume or lag wait here for one read of the log.
//!
//! Whoever comes while a read is out waits for the next one. Those who attach are gathered besides:
//! the more of them a read served, the longer the desk waits before the next one, so a thousand who
//! come together cost Redis a few reads, and one who comes alone does not wait. Each read begins
//! after the arrival of those that it answers.

mod page;
mod round;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::core::chunk::Chunk;
use crate::core::gap::GapReason;
use crate::core::slots::Key;
use crate::id::StreamId;
use crate::log::LogError;
use crate::worker::shared::{Message, Shared};
use crate::worker::topic::Topic;
use round::Round;

/// The first pause in which arrivals are gathered; the next one is longer by [`GATHER_GROWTH`].
const GATHER_MS_MIN: u64 = 4;
const GATHER_GROWTH: u64 = 4;
/// The longest that an arrival waits for others.
const GATHER_MS_MAX: u64 = 400;
/// No pause is longer than this for each of those whom the last read served.
const GATHER_MS_PER_ARRIVAL: u64 = 2;
/// The first delay before Redis is asked again after an error; it doubles.
const RETRY_MS_MIN: u64 = 20;
const RETRY_MS_MAX: u64 = 500;

/// Who waits.
#[derive(Default)]
struct Desk {
    waiting: Vec<Waiter>,
    /// A task is at work that will see to all who wait.
    open: bool,
}

/// A viewer that waits.
pub(crate) struct Waiter {
    pub worker: usize,
    pub viewer: Key,
    pub wants: Wants,
    /// It is not known yet whether there is such a thread.
    pub attaching: bool,
    /// The epoch that its position is of; none where that came from outside.
    pub(crate) epoch: Option<u32>,
    /// Only a page can tell whether its position is honest.
    pub needs_page: bool,
    /// Only the state can tell whether there is such a thread.
    pub needs_state: bool,
    /// When it gives up.
    pub deadline: Instant,
}

/// What a viewer wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// An `initial_state`.
    State,
    /// What comes after a position.
    After(StreamId),
    /// A `gap`, and an `initial_state` behind it.
    Gap { requested: StreamId, reason: GapReason },
}

/// What it gets.
#[derive(Clone)]
pub(crate) enum Answer {
    /// There is no such thread.
    NotFound,
    /// These frames; then it stands at the position.
    State { frames: Bytes, position: StreamId, epoch: u32 },
    /// Its position is honest, and these chunks come after it. Behind them it stands at `then`;
    /// none where the topic's log, or the next page, goes on from there.
    After { chunks: Vec<Arc<Chunk>>, then: Option<StreamId>, epoch: u32 },
    /// Redis refuses, for a reason that does not pass by itself.
    Refused,
    /// Redis was out of reach for too long.
    Unavailable,
}

/// The two desks of a topic.
#[derive(Default)]
pub(crate) struct Desks {
    /// For those who attach: they are gathered.
    arrivals: Mutex<Desk>,
    /// For those who lag: they are served at once.
    laggards: Mutex<Desk>,
}

impl Desks {
    fn of(&self, attaching: bool) -> &Mutex<Desk> {
        if attaching { &self.arrivals } else { &self.laggards }
    }
}

/// Puts a viewer in the queue and opens the desk where it is closed. Runs on a worker's thread.
pub(crate) fn wait(shared: &Arc<Shared>, topic: &Arc<Topic>, waiter: Waiter) {
    let attaching = waiter.attaching;
    let mut desk = topic.desks.of(attaching).lock();
    desk.waiting.push(waiter);
    if !desk.open {
        desk.open = true;
        tokio::spawn(serve(shared.clone(), topic.clone(), attaching));
    }
}

/// Serves all who wait at one of the desks. Ends by itself when nobody waits any more.
async fn serve(shared: Arc<Shared>, topic: Arc<Topic>, attaching: bool) {
    let desk = topic.desks.of(attaching);
    let mut gather_ms = 0;
    let mut retry_ms = RETRY_MS_MIN;
    loop {
        let waiting = {
            let mut desk = desk.lock();
            if desk.waiting.is_empty() && gather_ms == 0 {
                desk.open = false;
                return;
            }
            std::mem::take(&mut desk.waiting)
        };
        let served = waiting.len() as u64;
        if served > 0 {
            match round(&shared, &topic, waiting).await {
                Ok(left) => {
                    retry_ms = RETRY_MS_MIN;
                    if !left.is_empty() {
                        // They need another part of the log, at once.
                        desk.lock().waiting.extend(left);
                        continue;
                    }
                }
                Err((waiting, LogError::TooLarge)) => {
                    topic.large.store(true, Relaxed);
                    desk.lock().waiting.extend(waiting);
                    continue;
                }
                Err((waiting, LogError::Refused(error))) if attaching => {
                    tracing::error!(thread_id = %topic.thread, %error, "attach_refused");
                    for waiter in waiting {
                        answer(&shared, &waiter, Answer::Refused);
                    }
                    continue;
                }
                Err((waiting, error)) => {
                    tracing::debug!(thread_id = %topic.thread, %error, "attach_delayed");
                    desk.lock().waiting.extend(who_may_wait_on(&shared, waiting));
                    sleep(Duration::from_millis(retry_ms)).await;
                    retry_ms = (retry_ms * 2).min(RETRY_MS_MAX);
                    continue;
                }
            }
        }
        gather_ms = if attaching { next_gather_ms(gather_ms, served) } else { 0 };
        if gather_ms > 0 {
            sleep(Duration::from_millis(gather_ms)).await;
        }
    }
}

/// One round, on the lane where its answer may be too large for a worker.
async fn round(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    waiting: Vec<Waiter>,
) -> Result<Vec<Waiter>, (Vec<Waiter>, LogError)> {
    let large = topic.large.load(Relaxed);
    let round = Round::new(shared.clone(), topic.clone(), large, waiting);
    if !large {
        return round.run().await;
    }
    // Where the server ends, nobody waits for an answer any more.
    shared.lane.run(round.run()).await.unwrap_or_else(|error| Err((Vec::new(), error)))
}

/// The pause after a read that served that many.
fn next_gather_ms(last: u64, served: u64) -> u64 {
    match served {
        // One alone, or nobody: there is no herd.
        0 | 1 => 0,
        _ => (last * GATHER_GROWTH)
            .max(GATHER_MS_MIN)
            .min(served * GATHER_MS_PER_ARRIVAL)
            .min(GATHER_MS_MAX),
    }
}

/// Sends those away whose time is over; the others wait on.
fn who_may_wait_on(shared: &Shared, mut waiting: Vec<Waiter>) -> Vec<Waiter> {
    let now = Instant::now();
    for waiter in waiting.extract_if(.., |waiter| waiter.deadline <= now) {
        answer(shared, &waiter, Answer::Unavailable);
    }
    waiting
}

fn answer(shared: &Shared, waiter: &Waiter, answer: Answer) {
    shared.inboxes[waiter.worker].put(Message::Answer(waiter.viewer, answer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_herd_is_gathered_and_one_who_comes_alone_is_not_kept_waiting() {
        assert_eq!(next_gather_ms(0, 1), 0);
        assert_eq!(next_gather_ms(0, 6), 4);
        assert_eq!(next_gather_ms(4, 110), 16);
        assert_eq!(next_gather_ms(256, 5_000), 400);
        assert_eq!(next_gather_ms(256, 10), 20);
        assert_eq!(next_gather_ms(256, 1), 0);
    }
}
