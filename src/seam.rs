//! The seam between a task's state and its stream: what was withheld from states that were read, and
//! what of that is told, once it is certain that it does not come as an entry.
//!
//! The rule is [`core::seam`](crate::core::seam). All who were given one state are a *batch*, as a
//! number that each viewer keeps. One read, when the first batch of a topic is due, serves all that
//! are due by then.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::account::{Charge, Kind, Priority};
use crate::core::fanout::{Batch as Number, Derived};
use crate::core::seam::{
    self, Attach, Batch, Limits, List, Memory, Read, Reread, Told, attach, reread,
};
use crate::id::StreamId;
use crate::intake::{Brought, behind};
use crate::log::{LogError, PageWants, Snapshot, SnapshotWants};
use crate::shared::{Shared, TailMessage};
use crate::topic::Topic;
use crate::turn::Turn;

/// Re-reads of one topic are at least so far apart: those that are due in between are served
/// together.
const REREAD_PAUSE: Duration = Duration::from_millis(100);

/// How long until Redis is asked again after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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
    batch: Batch,
    /// The epoch of its position.
    epoch: u32,
    due: Instant,
    _charge: Charge,
}

impl Inner {
    /// Updates that are withheld from others already are held once.
    fn intern(&self, snapshot: &mut Snapshot) {
        let updates = snapshot.state.iter_mut().flat_map(|state| &mut state.updates);
        let withheld =
            || self.waiting.iter().rev().take(INTERN_BATCHES).flat_map(|it| it.batch.withheld());
        for update in updates {
            if let Some(held) = withheld().find(|held| *held == update) {
                *update = held.clone();
            }
        }
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
    inner.intern(snapshot);
    let read = Read::of(snapshot)?;
    let now_ms = read.now_ms;
    let found: Attach = attach(&read, &inner.memory, Limits::default());
    let batch = Batch::of(&found, &read, position, &inner.memory);
    inner.memory.saw(&read.list, now_ms);
    if let Some(state) = &mut snapshot.state {
        found.leave_shown(state);
    }
    let batch = batch?;
    inner.last = inner.last.wrapping_add(1).max(1);
    let number = NonZeroU32::new(inner.last)?;
    let wait = Duration::from_millis(batch.due_ms.saturating_sub(now_ms).min(seam::WAIT_MS));
    let charge = shared.account.charge(Kind::Answers, batch.bytes_len());
    let due = Instant::now() + wait;
    inner.waiting.push(Waiting { number, batch, epoch, due, _charge: charge });
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
    let now = Instant::now();
    let epoch = topic.recent.lock().log.as_ref().map(|log| log.epoch());
    let from = {
        let mut inner = topic.seam.0.lock();
        // Whoever was told that the stream is another one was given another state.
        let unwatched = topic.viewers.load(Relaxed) == 0;
        inner.waiting.retain(|waiting| !unwatched && Some(waiting.epoch) == epoch);
        let due = inner.waiting.iter().filter(|waiting| waiting.due <= now);
        due.map(|waiting| waiting.batch.position).min()
    };
    let Some(from) = from else { return Ok(()) };
    let (entries, position, snapshot) = entries_behind(shared, topic, from).await?;
    let none = List { updates: &[], total: 0, task_id: None };
    let list = snapshot.state.as_ref().map_or(none, List::of);
    let mut inner = topic.seam.0.lock();
    let Inner { memory, waiting, .. } = &mut *inner;
    memory.saw(&list, snapshot.now_ms);
    for Waiting { number, batch, .. } in waiting.extract_if(.., |waiting| waiting.due <= now) {
        let read = Reread { list, entries: &entries, position };
        let updates = reread(&batch, &read, Limits::default());
        memory.waited_for(batch.newest());
        if !updates.is_empty() {
            shared.derive(topic, number, &Arc::new(Derived::new(&shared.account, updates)));
        }
    }
    Ok(())
}

/// What the entries behind a position tell, up to the stream's end, to which the topic is brought;
/// that position, and what was read with the last of them.
async fn entries_behind(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    mut from: StreamId,
) -> Result<(Vec<Told>, StreamId, Snapshot), LogError> {
    let mut told = Vec::new();
    loop {
        let (wants, snapshot, _charge, _turn) = page(shared, topic, from).await?;
        told.extend(behind(&snapshot.page, from).iter().filter_map(Told::by));
        match snapshot.page.last() {
            Some(last) if snapshot.page_goes_on => from = last.id,
            _ => match shared.bring_to_end(topic, wants, &snapshot) {
                Brought::ToEnd => return Ok((told, snapshot.stream.last_generated, snapshot)),
                _ => {
                    let look = TailMessage::Look(topic.clone(), Some(snapshot.history));
                    shared.tails[topic.owner()].put(look);
                    return Err(LogError::Unavailable("the tail is behind".into()));
                }
            },
        }
    }
}

/// A part of the stream, and the list; on the lane's connection where they are large.
async fn page(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    from: StreamId,
) -> Result<(SnapshotWants, Snapshot, Charge, Turn), LogError> {
    let limits = &shared.config.limits;
    let usual_bytes_max = limits.answer_bytes_max();
    let mut wants = SnapshotWants {
        updates_max: Some(seam::UPDATES_READ_ON),
        page: Some(PageWants {
            from,
            entries_max: limits.page_entries_max,
            bytes_max: limits.page_bytes_max as u64,
        }),
        bytes_max: Some(usual_bytes_max as u64),
        ..SnapshotWants::default()
    };
    let charge = loop {
        match shared.account.reserve(Kind::Answers, usual_bytes_max, Priority::Usual) {
            Some(charge) => break charge,
            None => sleep(REREAD_PAUSE).await,
        }
    };
    let turn = Turn::for_desk(shared, topic);
    match shared.log.snapshot_in_turn(&topic.thread, wants, turn).await {
        Err(LogError::TooLarge) => {}
        read => return read.map(|(snapshot, turn)| (wants, snapshot, charge, turn)),
    }
    drop(charge);
    wants.bytes_max = None;
    let _large = shared.lane.turn(true).await?;
    let charge = shared.account.outside(Kind::Answers);
    let turn = Turn::for_desk(shared, topic);
    let read = shared.lane.log().snapshot_in_turn(&topic.thread, wants, turn).await;
    read.map(|(snapshot, turn)| (wants, snapshot, charge, turn))
}
