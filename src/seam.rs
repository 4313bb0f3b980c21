//! The seam between a task's state and its stream: what was withheld from states that were read, and
//! what of that is told, once it is certain that it does not come as an entry.
//!
//! The rule is [`core::seam`](crate::core::seam). All who were given one state are a *batch*, as a
//! number that each viewer keeps. One read, when the first batch of a topic is due, serves all that
//! are due by then.
//!
//! What waits holds next to nothing, and what is held for it beyond that is taken only where there is
//! room: the read that ends the wait needs room too, and must not wait for what waits for it.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::account::{Account, Charge, Kind, Priority};
use crate::core::fanout::{Batch as Number, Derived};
use crate::core::seam::{
    self, Attach, Batch, Limits, List, Memory, Read, Reread, Sieve, Told, attach, reread,
};
use crate::id::StreamId;
use crate::intake::{Brought, behind};
use crate::log::{LogError, PageWants, Snapshot, SnapshotWants};
use crate::shared::{Shared, TailMessage};
use crate::topic::Topic;
use crate::turn::Turn;

/// Re-reads of one topic are at least so far apart: those that are due in between are served
/// together. So long it is until somebody who waits for room, or for the tail, looks again.
const REREAD_PAUSE: Duration = Duration::from_millis(100);

/// How long until Redis is asked again after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// So long a re-read waits for room as reads of new states do, which may take all that comes free.
/// After that it goes before them.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of an update that is withheld, a copy of so many bytes is kept at most. Larger ones are looked for
/// in the list again.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// What is withheld is compared with what is withheld from so many batches before.
const INTERN_BATCHES: usize = 2;

/// What is remembered of a topic's list, and who waits.
#[derive(Default)]
pub(crate) struct Seam(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    memory: Memory,
    waiting: Vec<Waiting>,
    /// The number of the last batch.
    last: u32,
    /// A task is at work that will see to all who wait.
    open: bool,
}

/// A batch that waits for its re-read.
struct Waiting {
    number: Number,
    batch: Arc<Batch>,
    /// The epoch of its position.
    epoch: u32,
    due: Instant,
    _charge: Charge,
}

/// A copy of an update, charged once for all batches that have it.
struct Copied {
    bytes: Box<[u8]>,
    _charge: Charge,
}

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Inner {
    /// A copy of an update that is withheld: the one of those who wait already, or a new one where it
    /// is small and there is room to spare.
    fn copy(&self, account: &Account, update: &Bytes) -> Option<Bytes> {
        if update.len() > COPY_BYTES_MAX {
            return None;
        }
        let mut held =
            self.waiting.iter().rev().take(INTERN_BATCHES).flat_map(|it| it.batch.copies());
        if let Some(held) = held.find(|held| *held == update) {
            return Some(held.clone());
        }
        let _charge = account.reserve(Kind::Answers, update.len(), Priority::Spare)?;
        Some(Bytes::from_owner(Copied { bytes: update.as_ref().into(), _charge }))
    }
}

impl Seam {
    /// Whether it is worth to read more of list and stream before a state is given to anybody.
    pub(crate) fn reads_on(&self, snapshot: &Snapshot) -> bool {
        let inner = self.0.lock();
        Read::of(snapshot)
            .is_some_and(|read| attach(&read, &inner.memory, Limits::default()).reads_on)
    }

    /// Whom somebody joins who resumes behind a position: of those who wait, the last ones whose
    /// state he may have been given, and then something was withheld from him as well.
    pub(crate) fn to_join(&self, after: StreamId, epoch: u32) -> Option<Number> {
        let inner = self.0.lock();
        let mut waiting = inner.waiting.iter().rev().filter(|waiting| waiting.epoch == epoch);
        waiting.find(|waiting| waiting.batch.position <= after).map(|waiting| waiting.number)
    }
}

/// Leaves in a state what may be shown of it. The batch of those who are given it, where something is
/// withheld; `position` and `epoch` are the state's.
pub(crate) fn settle(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    snapshot: &mut Snapshot,
    position: StreamId,
    epoch: u32,
) -> Option<Number> {
    let mut inner = topic.seam.0.lock();
    let read = Read::of(snapshot)?;
    let now_ms = read.now_ms;
    let found: Attach = attach(&read, &inner.memory, Limits::default());
    let copy = |update: &Bytes| inner.copy(&shared.account, update);
    let batch = Batch::of(&found, &read, position, &inner.memory, copy);
    inner.memory.saw(&read.list, now_ms);
    if let Some(state) = &mut snapshot.state {
        found.leave_shown(state);
    }
    let batch = batch?;
    // Those who wait for their re-read already may be joined by who finds just what they found.
    if let Some(last) = inner.waiting.last()
        && (last.epoch == epoch && last.due > Instant::now() && last.batch.is_as(&batch))
    {
        return Some(last.number);
    }
    inner.last = inner.last.wrapping_add(1).max(1);
    let number = NonZeroU32::new(inner.last)?;
    let wait = Duration::from_millis(batch.due_ms.saturating_sub(now_ms).min(seam::WAIT_MS));
    let charge = shared.account.charge(Kind::Answers, batch.bytes_len());
    let due = Instant::now() + wait;
    inner.waiting.push(Waiting { number, batch: Arc::new(batch), epoch, due, _charge: charge });
    if !std::mem::replace(&mut inner.open, true) {
        tokio::spawn(serve(shared.clone(), topic.clone()));
    }
    Some(number)
}

/// Reads again for all who wait; ends by itself when nobody does any more.
async fn serve(shared: Arc<Shared>, topic: Arc<Topic>) {
    let _open = Open(topic.clone());
    loop {
        let due = {
            let mut inner = topic.seam.0.lock();
            let due = inner.waiting.iter().map(|waiting| waiting.due).min();
            inner.open = due.is_some();
            due
        };
        let Some(due) = due else { return };
        sleep_until(due).await;
        match read_again(&shared, &topic).await {
            Ok(()) => sleep(REREAD_PAUSE).await,
            Err(error) => {
                tracing::debug!(thread_id = %topic.thread, %error, "reread_delayed");
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Whoever serves has panicked: the next one who attaches begins anew.
struct Open(Arc<Topic>);

impl Drop for Open {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut inner = self.0.seam.0.lock();
            inner.open = false;
            inner.waiting.clear();
        }
    }
}

/// Reads again for all batches that are due, and has their viewers told what did not come.
async fn read_again(shared: &Arc<Shared>, topic: &Arc<Topic>) -> Result<(), LogError> {
    let (epoch, due) = due(topic);
    let Some(from) = due.iter().map(|(_, batch)| batch.position).min() else { return Ok(()) };
    let mut sieve = Sieve::of(due.iter().map(|(_, batch)| &**batch));
    let mut kept = shared.account.charge(Kind::Answers, 0);
    let Some(page) = last_page(shared, topic, epoch, from, &mut sieve, &mut kept).await? else {
        return Ok(());
    };
    let Page { snapshot, charge: _charge, turn, .. } = page;
    drop(turn);
    let none = List { updates: &[], total: 0, task_id: None };
    let list = snapshot.state.as_ref().map_or(none, List::of);
    topic.seam.0.lock().memory.saw(&list, snapshot.now_ms);
    let read = Reread::new(list, snapshot.stream.last_generated);
    // They still wait meanwhile, so that whoever comes back can join them.
    let mut found = Vec::new();
    for (_, batch) in &due {
        found.push(reread(batch, &read, &sieve.kept_for(batch), Limits::default()));
        yield_now().await;
    }
    let mut inner = topic.seam.0.lock();
    inner.waiting.retain(|waiting| due.iter().all(|(number, _)| *number != waiting.number));
    for ((number, batch), updates) in due.into_iter().zip(found) {
        inner.memory.waited_for(batch.newest());
        if !updates.is_empty() {
            shared.derive(topic, number, &Arc::new(Derived::new(&shared.account, updates)));
        }
    }
    Ok(())
}

/// The batches that are due, and the epoch that they are of. Those that nobody waits for any more are
/// dropped.
fn due(topic: &Topic) -> (Option<u32>, Vec<(Number, Arc<Batch>)>) {
    let now = Instant::now();
    let epoch = epoch(topic);
    let mut inner = topic.seam.0.lock();
    // Whoever was told that the stream is another one was given another state.
    let unwatched = topic.viewers.load(Relaxed) == 0;
    inner.waiting.retain(|waiting| !unwatched && Some(waiting.epoch) == epoch);
    let due = inner.waiting.iter().filter(|waiting| waiting.due <= now);
    (epoch, due.map(|waiting| (waiting.number, waiting.batch.clone())).collect())
}

fn epoch(topic: &Topic) -> Option<u32> {
    topic.recent.lock().log.as_ref().map(|log| log.epoch())
}

/// Whether anybody still waits for what is read for batches of an epoch.
fn is_awaited(topic: &Topic, of: Option<u32>) -> bool {
    topic.viewers.load(Relaxed) > 0 && epoch(topic) == of
}

/// A part of the stream, and the list.
struct Page {
    wants: SnapshotWants,
    snapshot: Snapshot,
    charge: Charge,
    turn: Turn,
}

/// Reads what is behind a position up to the stream's end, to which the topic is brought, and puts
/// what it tells through the sieve. What was read last; none where nobody waits for it any more.
async fn last_page(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    epoch: Option<u32>,
    mut from: StreamId,
    sieve: &mut Sieve,
    kept: &mut Charge,
) -> Result<Option<Page>, LogError> {
    loop {
        let Some(page) = page(shared, topic, epoch, from).await? else { return Ok(None) };
        let snapshot = &page.snapshot;
        behind(&snapshot.page, from).iter().filter_map(Told::by).for_each(|told| sieve.take(told));
        kept.set(sieve.bytes_len());
        let last = snapshot.page.last().map(|last| last.id);
        from = last.unwrap_or(from);
        if last.is_some() && snapshot.page_goes_on {
            continue;
        }
        let brought = shared.bring_to_end(topic, page.wants, snapshot);
        if brought == Brought::ToEnd {
            return Ok(Some(page));
        }
        let look = TailMessage::Look(topic.clone(), Some(snapshot.history));
        shared.tails[topic.owner()].put(look);
        if brought != Brought::Behind {
            return Err(LogError::Unavailable("the stream is another one".into()));
        }
        // The tail is behind what was read, which counts all the same.
        drop(page);
        sleep(REREAD_PAUSE).await;
    }
}

/// A part of the stream, and the list; on the lane's connection where they are large. None where
/// nobody waits for it any more.
async fn page(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    epoch: Option<u32>,
    from: StreamId,
) -> Result<Option<Page>, LogError> {
    let limits = &shared.config.limits;
    let mut wants = SnapshotWants {
        updates_max: Some(seam::UPDATES_READ_ON),
        page: Some(PageWants {
            from,
            entries_max: limits.page_entries_max,
            bytes_max: limits.page_bytes_max as u64,
        }),
        bytes_max: Some(limits.answer_bytes_max() as u64),
        ..SnapshotWants::default()
    };
    let Some(charge) = room(shared, topic, epoch).await else { return Ok(None) };
    let turn = Turn::for_desk(shared, topic);
    match shared.log.snapshot_in_turn(&topic.thread, wants, turn).await {
        Err(LogError::TooLarge) => {}
        read => return read.map(|(snapshot, turn)| Some(Page { wants, snapshot, charge, turn })),
    }
    drop(charge);
    wants.bytes_max = None;
    let _large = shared.lane.turn(true).await?;
    let charge = shared.account.outside(Kind::Answers);
    let turn = Turn::for_desk(shared, topic);
    let read = shared.lane.log().snapshot_in_turn(&topic.thread, wants, turn).await;
    read.map(|(snapshot, turn)| Some(Page { wants, snapshot, charge, turn }))
}

/// Room for an answer of the usual size; none where nobody waits for it any more.
async fn room(shared: &Shared, topic: &Topic, epoch: Option<u32>) -> Option<Charge> {
    let began = Instant::now();
    let bytes = shared.config.limits.answer_bytes_max();
    while is_awaited(topic, epoch) {
        let patient = began.elapsed() < PATIENCE;
        let priority = if patient { Priority::Usual } else { Priority::Live };
        let charge = shared.account.reserve(Kind::Answers, bytes, priority);
        if charge.is_some() {
            return charge;
        }
        sleep(REREAD_PAUSE).await;
    }
    None
}
