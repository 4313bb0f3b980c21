//! Reading what a task is now, and when that is told (protocol §3.2; what is told to whom is
//! [`core::present`](crate::core::present)).
//!
//! Whoever learns that the state may have changed asks for a reading: the tail, of whose connection the
//! keys are tracked; an entry that tells of an end or a beginning; a viewer who resumed where nothing
//! was read yet. One task per topic does them, however many ask. What is new waits until entries have
//! had their time to say the same; a state that changes all that time is told as it is by then.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::sleep;

use crate::core::account::Account;
use crate::core::present::Version;
use crate::core::topic::TopicLog;
use crate::log::{LogError, Snapshot, State};
use crate::seam::{End, epoch, read_end};
use crate::shared::{Shared, TailMessage};
use crate::topic::Topic;

/// Readings of one topic are at least so far apart.
const PAUSE: Duration = Duration::from_millis(100);

/// How long until the log is asked again after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// A state that changes again while entries have their time waits for the next one's, but not for ever:
/// so often. What is told then may still come as an entry.
const CHANGES_MAX: u32 = 20;

/// Whether a topic's state is to be read.
#[derive(Default)]
pub(crate) struct Readings(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Somebody has asked since the last reading began,
    asked: bool,
    /// or entries that came since.
    by_entries: bool,
    /// Somebody waits for the first one.
    awaited: bool,
    /// A task is at work.
    open: bool,
}

/// What a reading is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Somebody asked, perhaps because the keys changed.
    Asked,
    /// Entries came. What they tell of may not be in the keys yet.
    Entries,
}

impl Inner {
    fn take_wanted(&mut self) -> Option<Why> {
        let (asked, by_entries) =
            (std::mem::take(&mut self.asked), std::mem::take(&mut self.by_entries));
        if asked { Some(Why::Asked) } else { by_entries.then_some(Why::Entries) }
    }
}

/// Has a topic's state read, and told where viewers lack it.
pub(crate) fn read(shared: &Arc<Shared>, topic: &Arc<Topic>) {
    topic.readings.0.lock().asked = true;
    open(shared, topic);
}

/// The same for one who waits for a first reading, or for the bytes of one that is told.
pub(crate) fn read_for_one(shared: &Arc<Shared>, topic: &Arc<Topic>) {
    let is_first = !has_told(topic);
    {
        let mut inner = topic.readings.0.lock();
        // A first one that is under way will do, unless it comes to nothing.
        inner.awaited |= is_first;
        inner.asked |= !(is_first && inner.open);
    }
    open(shared, topic);
}

fn has_told(topic: &Topic) -> bool {
    topic.recent.lock().log.as_ref().is_some_and(|log| log.present().told() > 0)
}

/// The same, as entries came that may mean another state.
pub(crate) fn read_for_entries(shared: &Arc<Shared>, topic: &Arc<Topic>) {
    topic.readings.0.lock().by_entries = true;
    open(shared, topic);
}

fn open(shared: &Arc<Shared>, topic: &Arc<Topic>) {
    let mut inner = topic.readings.0.lock();
    if !std::mem::replace(&mut inner.open, true) {
        let (shared, topic) = (shared.clone(), topic.clone());
        tokio::spawn(async move { serve(&shared, &topic).await });
    }
}

/// A state was read at the end of the stream, which the topic's log has reached. The version that who is
/// given it has, if it is `given` to somebody.
pub(crate) fn observe_in(
    account: &Account,
    log: &mut TopicLog,
    read: &Snapshot,
    given: bool,
) -> Version {
    let none = State::default();
    let state = read.state.as_ref().unwrap_or(&none);
    let (position, now_ms) = (read.stream.last_generated, read.now_ms);
    log.present_mut().observe(account, state, position, now_ms, given)
}

/// The same, of a state that was read for viewers. Others may lack it.
pub(crate) fn observe(shared: &Arc<Shared>, topic: &Arc<Topic>, read: &Snapshot) -> Version {
    let before = task_of(topic);
    let observe = |log: &mut TopicLog| observe_in(&shared.account, log, read, true);
    let version = topic.recent.lock().log.as_mut().map_or(0, observe);
    observed(shared, topic, before);
    version
}

/// A state was observed; `before`, its task was this one. Others may lack it, and its keys may be others.
pub(crate) fn observed(shared: &Arc<Shared>, topic: &Arc<Topic>, before: Option<Bytes>) {
    look_elsewhere(shared, topic, before);
    if is_untold(topic) {
        read(shared, topic);
    }
}

fn look_elsewhere(shared: &Shared, topic: &Arc<Topic>, before: Option<Bytes>) {
    if task_of(topic) != before {
        shared.tails[topic.owner()].put(TailMessage::State(topic.clone()));
    }
}

/// Whose keys the last state was read of.
pub(crate) fn task_of(topic: &Topic) -> Option<Bytes> {
    topic.recent.lock().log.as_ref()?.present().task_id().cloned()
}

fn is_untold(topic: &Topic) -> bool {
    topic.recent.lock().log.as_ref().is_some_and(|log| log.present().is_untold())
}

/// Whether anybody lacks it, for all that entries told meanwhile.
fn is_lacked(topic: &Topic) -> bool {
    topic.recent.lock().log.as_ref().is_some_and(|log| log.present().lacks_anything())
}

/// Does the readings that are asked for.
async fn serve(shared: &Arc<Shared>, topic: &Arc<Topic>) {
    let _open = Open(topic);
    loop {
        let why = {
            let is_first = !has_told(topic);
            let mut inner = topic.readings.0.lock();
            let awaited = std::mem::take(&mut inner.awaited) && is_first;
            let wanted = inner.take_wanted().or(awaited.then_some(Why::Asked));
            inner.open = wanted.is_some() && is_watched(topic);
            match wanted {
                Some(why) if inner.open => why,
                Some(_) => return forget(topic),
                None => return,
            }
        };
        match read_and_tell(shared, topic, why).await {
            Ok(()) => sleep(PAUSE).await,
            Err(error) => {
                tracing::debug!(thread_id = %topic.thread, %error, "reading_delayed");
                topic.readings.0.lock().asked = true;
                sleep(RETRY_PAUSE).await;
            }
        }
    }
}

/// Who reads has panicked: whoever asks next begins anew.
struct Open<'a>(&'a Topic);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.readings.0.lock().open = false;
        }
    }
}

fn is_watched(topic: &Topic) -> bool {
    topic.viewers.load(Relaxed) > 0
}

async fn read_and_tell(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    mut why: Why,
) -> Result<(), LogError> {
    let grace = Duration::from_millis(shared.config.state_grace_ms);
    if !read_once(shared, topic).await? {
        return Ok(());
    }
    for _ in 0..CHANGES_MAX {
        // Also the first one, for which those wait who resumed: nobody knows when its keys changed.
        if !is_untold(topic) || !is_lacked(topic) {
            break;
        }
        sleep(grace).await;
        let again = topic.readings.0.lock().take_wanted();
        if again.is_none() && why == Why::Asked {
            break;
        }
        why = again.unwrap_or(Why::Asked);
        if !read_once(shared, topic).await? {
            return Ok(());
        }
    }
    if let Some(log) = topic.recent.lock().log.as_mut() {
        log.present_mut().tell();
    }
    shared.tell_workers(topic);
    Ok(())
}

/// What was read may be wrong by now, and nobody is there to be told.
fn forget(topic: &Topic) {
    if let Some(log) = topic.recent.lock().log.as_mut() {
        log.present_mut().forget();
    }
}

/// Reads the state, and the stream up to its end. False where nobody waits for it any more.
async fn read_once(shared: &Arc<Shared>, topic: &Arc<Topic>) -> Result<bool, LogError> {
    let Some(end) = read_end(shared, topic, epoch(topic), 0).await? else { return Ok(false) };
    let End { snapshot, charge: _charge, turn: _turn, .. } = end;
    let before = task_of(topic);
    if let Some(log) = topic.recent.lock().log.as_mut() {
        observe_in(&shared.account, log, &snapshot, false);
        if let Some(state) = &snapshot.state {
            log.present_mut().hold(&shared.account, state, snapshot.now_ms);
        }
    }
    // Nobody else takes entries in meanwhile, and those that came are in this reading.
    topic.readings.0.lock().by_entries = false;
    look_elsewhere(shared, topic, before);
    Ok(true)
}
