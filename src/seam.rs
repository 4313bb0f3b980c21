//! The seam between a task's state and its stream: what was withheld from states that were read, and
//! what of that is told, once it is certain that it does not come as an entry.
//!
//! The rule is [`core::seam`](crate::core::seam). All who were given one state are a *batch*, as a
//! number that each viewer keeps. What comes while a batch waits is noted as it is taken into the topic;
//! one read of the list, when the first batch of a topic is due, serves all that are due by then.
//!
//! What waits holds next to nothing, and what is held for it beyond that is taken only where there is
//! room: the read that ends the wait needs room too, and must not wait for what waits for it.

mod joined;
mod read;

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
use crate::log::{Entry, LogError, Snapshot};
use crate::shared::Shared;
use crate::topic::Topic;
use joined::Joined;
pub(crate) use read::{End, read_end};

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
    /// Which stream it is that something came of: ids of another one say nothing of this one's.
    epoch: u32,
    /// What came since, as far as it matters for those who wait; and what that takes.
    came: Sieve,
    charge: Option<Charge>,
    joined: Joined,
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
    /// From here on it is this stream. Who waits with a state of another one is not told anything of it
    /// any more.
    fn begin(&mut self, epoch: u32) {
        if std::mem::replace(&mut self.epoch, epoch) != epoch {
            self.waiting.retain(|waiting| waiting.epoch == epoch);
            self.came = Sieve::default();
            self.let_go();
        }
    }

    /// Keeps no more than those need who wait.
    fn let_go(&mut self) {
        self.came.retain(self.waiting.iter().map(|waiting| &*waiting.batch));
        if let Some(charge) = &mut self.charge {
            charge.set(self.came.bytes_len());
        }
        if self.waiting.is_empty() {
            self.charge = None;
            self.joined = Joined::default();
        }
    }

    fn next_number(&mut self) -> Option<Number> {
        self.last = self.last.wrapping_add(1).max(1);
        NonZeroU32::new(self.last)
    }

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

    /// Whom somebody joins who resumes behind a position: those who wait whose state he may have been
    /// given, and then something was withheld from him as well.
    pub(crate) fn to_join(&self, after: StreamId, epoch: u32) -> Option<Number> {
        let mut inner = self.0.lock();
        let may_be_his =
            |waiting: &&Waiting| waiting.epoch == epoch && waiting.batch.position <= after;
        let his = inner.waiting.iter().filter(may_be_his);
        let his: Vec<_> = his.map(|it| (it.number, it.batch.clone())).collect();
        let (last, covers) = his.split_last()?;
        if covers.iter().all(|(_, batch)| last.1.covers(batch)) {
            return Some(last.0);
        }
        let numbers: Vec<Number> = his.iter().map(|(number, _)| *number).collect();
        if let Some(number) = inner.joined.of(&numbers) {
            return Some(number);
        }
        let number = inner.next_number()?;
        inner.joined.add(number, his);
        Some(number)
    }

    /// What came, behind all that came before.
    pub(crate) fn came(&self, account: &Account, entries: &[Entry]) {
        let mut inner = self.0.lock();
        if inner.waiting.is_empty() {
            return;
        }
        entries.iter().filter_map(Told::by).for_each(|told| inner.came.take(told));
        let bytes = inner.came.bytes_len();
        inner.charge.get_or_insert_with(|| account.charge(Kind::Answers, 0)).set(bytes);
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
    inner.begin(epoch);
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
    let number = inner.next_number()?;
    inner.came.add(&batch);
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
            inner.let_go();
        }
    }
}

/// Reads again for all batches that are due, and has their viewers told what did not come.
async fn read_again(shared: &Arc<Shared>, topic: &Arc<Topic>) -> Result<(), LogError> {
    let (epoch, due) = due(topic);
    if due.is_empty() {
        return Ok(());
    }
    let Some(end) = read_end(shared, topic, epoch, seam::UPDATES_READ_ON).await? else {
        return Ok(());
    };
    let End { snapshot, charge: _charge, turn, .. } = end;
    let none = List { updates: &[], total: 0, task_id: None };
    let list = snapshot.state.as_ref().map_or(none, List::of);
    let sieve = {
        let mut inner = topic.seam.0.lock();
        inner.memory.saw(&list, snapshot.now_ms);
        inner.came.clone()
    };
    drop(turn);
    let read = Reread::new(list, snapshot.stream.last_generated);
    // They still wait meanwhile, so that whoever comes back can join them.
    let mut found = Vec::new();
    for (_, batch) in &due {
        found.push(reread(batch, &read, &sieve.kept_for(batch), Limits::default()));
        yield_now().await;
    }
    let mut told = Vec::new();
    let mut inner = topic.seam.0.lock();
    inner.waiting.retain(|waiting| due.iter().all(|(number, _)| *number != waiting.number));
    for ((number, batch), updates) in due.into_iter().zip(found) {
        inner.memory.waited_for(batch.newest());
        told.extend(inner.joined.told(number, &updates));
        told.push((number, updates));
    }
    inner.let_go();
    drop(inner);
    for (number, updates) in told.into_iter().filter(|(_, updates)| !updates.is_empty()) {
        shared.derive(topic, number, &Arc::new(Derived::new(&shared.account, updates)));
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
    inner.let_go();
    let due = inner.waiting.iter().filter(|waiting| waiting.due <= now);
    (epoch, due.map(|waiting| (waiting.number, waiting.batch.clone())).collect())
}

/// Which stream this is, of those that were under the key.
pub(crate) fn epoch(topic: &Topic) -> Option<u32> {
    topic.recent.lock().log.as_ref().map(|log| log.epoch())
}

/// Whether anybody still waits for what is read for batches of an epoch.
fn is_awaited(topic: &Topic, of: Option<u32>) -> bool {
    topic.viewers.load(Relaxed) > 0 && epoch(topic) == of
}
