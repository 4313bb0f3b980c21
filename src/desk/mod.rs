//! The desks of a topic: those who attach, resume or lag wait here for one read of the log.
//!
//! Whoever comes while a read is out waits for the next one. Those who attach are gathered besides:
//! the more of them a read served, the longer the desk waits before the next one, so a thousand who
//! come together cost Redis a few reads, and one who comes alone does not wait. Each read begins
//! after the arrival of those that it answers.

mod answer;
mod missing;
mod page;
mod room;
mod round;
mod waiter;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use crate::core::backoff::Backoff;
use crate::core::fanout::{Answer, Refusal};
use crate::core::slots::Key;
use crate::log::LogError;
use crate::shared::{Shared, WorkerMessage};
use crate::supervise::{self, Part};
use crate::topic::{Size, Topic};
use missing::{Next, thread_may_be_there};
use room::Room;
pub(crate) use room::Rooms;
use round::Round;
pub(crate) use waiter::Waiter;

/// The first pause in which arrivals are gathered; the next one is longer by [`GATHER_GROWTH`].
const GATHER_MS_MIN: u64 = 4;
const GATHER_GROWTH: u64 = 4;
/// The longest that an arrival waits for others.
const GATHER_MS_MAX: u64 = 400;
/// No pause is longer than this for each of those whom the last read served.
const GATHER_MS_PER_ARRIVAL: u64 = 2;
/// How long until Redis is asked again after an error.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// How often those who wait in a queue look whether anybody still waits for them.
const WANTED_PAUSE: Duration = Duration::from_millis(160);
/// How long those who lag wait where Redis refuses: a right may be given back at once.
const REFUSED_PATIENCE: Duration = Duration::from_secs(5);
/// How long a desk that panicked stays closed.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);

/// Who waits.
#[derive(Default)]
struct Desk {
    waiting: IndexMap<(usize, Key), Waiter>,
    /// A task is at work that will see to all who wait.
    open: bool,
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
    desk.waiting.insert(waiter.key(), waiter);
    if !desk.open {
        desk.open = true;
        tokio::spawn(serve(shared.clone(), topic.clone(), attaching, 0));
    }
}

/// A viewer waits no more: its question costs nothing more.
pub(crate) fn withdraw(topic: &Topic, worker: usize, viewer: Key, attaching: bool) {
    topic.desks.of(attaching).lock().waiting.swap_remove(&(worker, viewer));
}

/// Serves all who wait at one of the desks. Ends by itself when nobody waits any more. `panics` is how
/// often in a row it has panicked.
async fn serve(shared: Arc<Shared>, topic: Arc<Topic>, attaching: bool, panics: u32) {
    let mut reopens = Reopens { shared: shared.clone(), topic: topic.clone(), attaching, panics };
    let desk = topic.desks.of(attaching);
    let mut gather_ms = 0;
    let mut retry = Backoff::new(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
    let mut refused_since: Option<Instant> = None;
    loop {
        let served = {
            let mut desk = desk.lock();
            if desk.waiting.is_empty() && gather_ms == 0 {
                // Closed, and without the room that it took.
                *desk = Desk::default();
                return;
            }
            desk.waiting.len() as u64
        };
        if served > 0 {
            supervise::turn(Part::Desk);
            match round(&shared, &topic, attaching).await {
                Ok(next) => {
                    retry.reset();
                    refused_since = None;
                    reopens.panics = 0;
                    match next {
                        Next::Nothing => {}
                        // They need another part of the log, at once.
                        Next::AnotherRead => continue,
                        Next::Thread => {
                            thread_may_be_there(&topic, desk).await;
                            continue;
                        }
                    }
                }
                Err(LogError::TooLarge) => continue,
                Err(LogError::Refused(error)) => {
                    let since = *refused_since.get_or_insert_with(Instant::now);
                    if attaching || since.elapsed() >= REFUSED_PATIENCE {
                        tracing::error!(thread_id = %topic.thread, %error, "attach_refused");
                        answer_all(&shared, desk, Answer::Refused(Refusal::Refused), |_| true);
                        refused_since = None;
                        continue;
                    }
                    sleep(retry.next_bound()).await;
                    continue;
                }
                Err(error) => {
                    tracing::debug!(thread_id = %topic.thread, %error, "attach_delayed");
                    send_overdue_away(&shared, desk);
                    sleep(retry.next_bound()).await;
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

/// Opens a desk again, after a pause, where the serving of it panics: who waits stays in the queue
/// until there is an answer, or until it has panicked too often.
struct Reopens {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    attaching: bool,
    panics: u32,
}

impl Drop for Reopens {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let dead = self.shared.supervisor.dead(Part::Desk);
            let (shared, topic) = (self.shared.clone(), self.topic.clone());
            let (attaching, mut panics) = (self.attaching, self.panics + 1);
            tokio::spawn(async move {
                sleep(REOPEN_PAUSE).await;
                drop(dead);
                let desk = topic.desks.of(attaching);
                send_overdue_away(&shared, desk);
                if panics >= supervise::PANICS_MAX {
                    answer_all(&shared, desk, Answer::Refused(Refusal::Refused), |_| true);
                    panics = 0;
                }
                serve(shared, topic, attaching, panics).await;
            });
        }
    }
}

/// One round, on the lane where its answer may be too large for a worker. What those wait for who are
/// left.
async fn round(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    attaching: bool,
) -> Result<Next, LogError> {
    let desk = topic.desks.of(attaching);
    let size = topic.size();
    // Who waits for its turn holds nothing yet.
    let turn = match size {
        Size::Expected | Size::Usual => None,
        Size::Large | Size::Huge => {
            let Some(turn) = turn(shared, desk, size == Size::Huge).await? else {
                return Ok(Next::Nothing);
            };
            Some(turn)
        }
    };
    let Some(Room { size, charge, fits, turn: _page }) = room::wait(shared, desk, size).await
    else {
        return Ok(Next::Nothing);
    };
    // They stay in the queue until they are answered, as each may leave meanwhile.
    let waiting: Vec<Waiter> = desk.lock().waiting.values().copied().collect();
    let round = Round::new(shared.clone(), topic.clone(), attaching, waiting, size, fits);
    let result = if size <= Size::Usual {
        round.run(charge).await
    } else {
        let on_lane = async move {
            let _turn = turn;
            round.run(charge).await
        };
        shared.lane.run(on_lane).await.and_then(|result| result)
    };
    if matches!(result, Err(LogError::TooLarge)) {
        topic.exceeds(size);
    }
    result
}

/// Waits for the turn of a large read. Nothing where all have gone who waited for it.
async fn turn(
    shared: &Shared,
    desk: &Mutex<Desk>,
    alone: bool,
) -> Result<Option<OwnedSemaphorePermit>, LogError> {
    wait_while_wanted(shared, desk, shared.lane.turn(alone)).await.transpose()
}

/// Waits for something as long as somebody waits for the desk. Nothing where all have gone.
async fn wait_while_wanted<T>(
    shared: &Shared,
    desk: &Mutex<Desk>,
    something: impl Future<Output = T>,
) -> Option<T> {
    let mut something = pin!(something);
    loop {
        tokio::select! {
            something = &mut something => return Some(something),
            // Dropped: it is only the pause.
            () = sleep(WANTED_PAUSE) => {}
        }
        send_overdue_away(shared, desk);
        if desk.lock().waiting.is_empty() {
            return None;
        }
    }
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
fn send_overdue_away(shared: &Shared, desk: &Mutex<Desk>) {
    let now = Instant::now();
    let answer = Answer::Refused(Refusal::Unavailable);
    answer_all(shared, desk, answer, |waiter| waiter.deadline <= now);
}

/// Answers all of those who wait who are meant.
fn answer_all(
    shared: &Shared,
    desk: &Mutex<Desk>,
    answer: Answer,
    is_meant: impl Fn(&Waiter) -> bool,
) {
    let mut desk = desk.lock();
    for (_, waiter) in desk.waiting.extract_if(.., |_, waiter| is_meant(waiter)) {
        tell(shared, &waiter, answer.clone());
    }
}

fn tell(shared: &Shared, waiter: &Waiter, answer: Answer) {
    shared.inboxes[waiter.worker].put(WorkerMessage::Answer(waiter.viewer, answer));
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
