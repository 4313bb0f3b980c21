//! The desks of a topic: those who attach, resume or lag wait here for one read of the log.
//!
//! Whoever comes while a read is out waits for the next one. Those who attach are gathered besides:
//! the more of them a read served, the longer the desk waits before the next one, so a thousand who
//! come together cost Redis a few reads, and one who comes alone does not wait. Each read begins
//! after the arrival of those that it answers.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::core::chunk::Chunk;
use crate::core::encode::{self, Gap, GapReason};
use crate::core::slots::Key;
use crate::core::topic::TopicLog;
use crate::id::StreamId;
use crate::log::{LogError, PageWants, Snapshot, SnapshotWants, StreamFacts};
use crate::worker::seam::{self, Seam};
use crate::worker::shared::{Message, Shared, TailMessage};
use crate::worker::topic::Topic;

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
    State { frames: Bytes, position: StreamId },
    /// Its position is honest, and these chunks come after it. Behind them it stands at `then`;
    /// none where the topic's log, or the next page, goes on from there.
    After { chunks: Vec<Arc<Chunk>>, then: Option<StreamId> },
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
        tokio::task::spawn_local(serve(shared.clone(), topic.clone(), attaching));
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
            match Round::new(&shared, &topic, waiting).run().await {
                Ok(left) => {
                    retry_ms = RETRY_MS_MIN;
                    if !left.is_empty() {
                        // They need another part of the log, at once.
                        desk.lock().waiting.extend(left);
                        continue;
                    }
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
    shared.workers[waiter.worker].inbox.put(Message::Answer(waiter.viewer, answer));
}

/// One read of the log and the answers that it gives.
struct Round<'a> {
    shared: &'a Arc<Shared>,
    topic: &'a Arc<Topic>,
    waiting: Vec<Waiter>,
    left: Vec<Waiter>,
    /// The read brought the state, where there is one.
    read_state: bool,
}

impl<'a> Round<'a> {
    fn new(shared: &'a Arc<Shared>, topic: &'a Arc<Topic>, waiting: Vec<Waiter>) -> Self {
        Self { shared, topic, waiting, left: Vec::new(), read_state: false }
    }

    async fn run(mut self) -> Result<Vec<Waiter>, (Vec<Waiter>, LogError)> {
        let wants = self.wants();
        self.read_state = wants.updates_max.is_some();
        let snapshot = match self.read(wants).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err((self.waiting, error)),
        };
        let position = self.start(&snapshot.stream);
        let page = self.encode_page(wants, &snapshot);
        let mut encoded = None;
        for waiter in std::mem::take(&mut self.waiting) {
            match waiter.wants {
                Wants::State if !snapshot.thread_exists() => {
                    answer(self.shared, &waiter, Answer::NotFound);
                }
                Wants::After(_) if waiter.attaching && !snapshot.stream.exists => {
                    // Without a stream only the state tells whether there is such a thread.
                    if !self.read_state {
                        self.left.push(Waiter { needs_state: true, ..waiter });
                    } else if snapshot.thread_exists() {
                        let Wants::After(after) = waiter.wants else { continue };
                        self.answer_after(waiter, after, &snapshot, &page, position);
                    } else {
                        answer(self.shared, &waiter, Answer::NotFound);
                    }
                }
                Wants::After(after) => {
                    self.answer_after(waiter, after, &snapshot, &page, position);
                }
                Wants::State | Wants::Gap { .. } => {
                    self.answer_state(&waiter, &snapshot, position, &mut encoded);
                }
            }
        }
        Ok(self.left)
    }

    /// What one read has to bring, so that it answers as many as possible.
    fn wants(&self) -> SnapshotWants {
        let recent = self.topic.recent.lock();
        let held = |position| recent.log.as_ref().is_some_and(|log| log.locate(position).is_some());
        let state = self
            .waiting
            .iter()
            .any(|waiter| waiter.needs_state || !matches!(waiter.wants, Wants::After(_)));
        let oldest = self
            .waiting
            .iter()
            .filter_map(|waiter| match waiter.wants {
                Wants::After(after) if waiter.needs_page || !held(after) => Some(after),
                _ => None,
            })
            .min();
        let limits = &self.shared.config.limits;
        let entries_max = (limits.page_bytes_max / recent.entry_bytes.max(1)) as u64;
        SnapshotWants {
            updates_max: state.then_some(seam::UPDATES_READ),
            newest_max: if state { seam::ENTRIES_READ } else { 0 },
            page: oldest.map(|from| PageWants {
                from,
                entries_max: entries_max.clamp(2, limits.page_entries_max),
            }),
        }
    }

    /// Reads; where an update was written whose entry is still on its way, once or twice more.
    async fn read(&self, wants: SnapshotWants) -> Result<Snapshot, LogError> {
        let mut pauses_ms = seam::PAUSES_MS.iter();
        loop {
            let mut snapshot = self.shared.log.snapshot(&self.topic.thread, wants).await?;
            match seam::close(&mut snapshot) {
                Seam::Closed => return Ok(snapshot),
                Seam::Open => match pauses_ms.next() {
                    Some(&pause_ms) => sleep(Duration::from_millis(pause_ms)).await,
                    None => return Ok(snapshot),
                },
            }
        }
    }

    /// The position of the state that was read. The topic's tail begins with the first attach.
    fn start(&self, stream: &StreamFacts) -> StreamId {
        let mut recent = self.topic.recent.lock();
        let Some(log) = &recent.log else {
            recent.log = Some(TopicLog::new(stream.last_generated));
            recent.entries_added = stream.entries_added.or((!stream.exists).then_some(0));
            self.tell_tail(TailMessage::Watch);
            return stream.last_generated;
        };
        let head = log.head();
        let last = stream.last.unwrap_or(stream.last_generated);
        if last <= head && head <= stream.last_generated {
            return head;
        }
        // The tail is behind this read, or the stream is another one: let it look.
        self.tell_tail(TailMessage::Look);
        last
    }

    fn tell_tail(&self, message: fn(Arc<Topic>) -> TailMessage) {
        self.shared.workers[self.topic.owner].tail.put(message(self.topic.clone()));
    }

    /// The page's entries as chunks, without the one at the position that it begins with. A page
    /// that ends where the topic's log begins becomes part of it: those who come next find it.
    fn encode_page(&self, wants: SnapshotWants, snapshot: &Snapshot) -> Page {
        let Some(PageWants { from, entries_max }) = wants.page else { return Page::default() };
        let entries = &snapshot.page[..];
        let whole = (entries.len() as u64) < entries_max;
        let anchored = entries.first().is_some_and(|entry| entry.id == from);
        let entries = if anchored { &entries[1..] } else { entries };
        let mut recent = self.topic.recent.lock();
        if let Some(bytes) = entries.iter().map(|entry| entry.bytes_len()).reduce(|a, b| a + b) {
            recent.entry_bytes = (bytes / entries.len()).max(1);
        }
        let chunks: Vec<Arc<Chunk>> =
            encode::entries(&self.topic.thread, from, entries).into_iter().map(Arc::new).collect();
        if let Some(log) = recent.log.as_mut() {
            let before = log.bytes();
            let bytes_max = self.shared.config.limits.topic_bytes_max;
            for chunk in chunks.iter().rev() {
                if !log.prepend(chunk, bytes_max) {
                    break;
                }
            }
            self.shared.count_bytes(before, log.bytes());
        }
        Page { from: Some(from), chunks, anchored, whole }
    }

    fn answer_state(
        &self,
        waiter: &Waiter,
        snapshot: &Snapshot,
        position: StreamId,
        encoded: &mut Option<Bytes>,
    ) {
        let thread = &self.topic.thread;
        let state = encoded.get_or_insert_with(|| {
            let mut out = BytesMut::new();
            let state = snapshot.state.clone().unwrap_or_default();
            encode::put_initial_state(&mut out, thread, position, &state, snapshot.now_ms);
            out.freeze()
        });
        let frames = match waiter.wants {
            Wants::Gap { requested, reason } => {
                let mut out = BytesMut::with_capacity(state.len() + 256);
                encode::put_gap(&mut out, thread, &gap(requested, &snapshot.stream, reason));
                out.extend_from_slice(state);
                self.shared.metrics.count_gap(reason);
                out.freeze()
            }
            _ => state.clone(),
        };
        answer(self.shared, waiter, Answer::State { frames, position });
    }

    fn answer_after(
        &mut self,
        mut waiter: Waiter,
        after: StreamId,
        snapshot: &Snapshot,
        page: &Page,
        position: StreamId,
    ) {
        let stream = &snapshot.stream;
        if after == stream.last_generated {
            let then = Some(position);
            return answer(self.shared, &waiter, Answer::After { chunks: Vec::new(), then });
        }
        if after > stream.last_generated {
            waiter.wants = Wants::Gap { requested: after, reason: GapReason::Reset };
            self.left.push(waiter);
            return;
        }
        match page.find(after) {
            Found::Here(chunks) => {
                self.shared.metrics.replays_from_redis.fetch_add(1, Relaxed);
                let then = page.whole.then_some(position);
                answer(self.shared, &waiter, Answer::After { chunks: chunks.to_vec(), then });
            }
            Found::Nowhere => {
                waiter.wants = Wants::Gap { requested: after, reason: reason(after, stream) };
                self.left.push(waiter);
            }
            Found::NotInThisPage if self.is_held(after) && certainly_kept(after, stream) => {
                self.shared.metrics.replays_from_memory.fetch_add(1, Relaxed);
                answer(self.shared, &waiter, Answer::After { chunks: Vec::new(), then: None });
            }
            Found::NotInThisPage => {
                waiter.needs_page = true;
                self.left.push(waiter);
            }
        }
    }

    fn is_held(&self, position: StreamId) -> bool {
        let recent = self.topic.recent.lock();
        recent.log.as_ref().is_some_and(|log| log.locate(position).is_some())
    }
}

/// A part of the stream, encoded.
#[derive(Default)]
struct Page {
    from: Option<StreamId>,
    chunks: Vec<Arc<Chunk>>,
    /// The entry that the page was to begin with is there.
    anchored: bool,
    /// There is nothing behind the page.
    whole: bool,
}

/// Where a position is in a [`Page`].
enum Found<'a> {
    /// What comes after it is in these chunks.
    Here(&'a [Arc<Chunk>]),
    /// It should be in this page, and is not: there is no such entry.
    Nowhere,
    /// It is before or behind this page.
    NotInThisPage,
}

impl Page {
    fn find(&self, position: StreamId) -> Found<'_> {
        let Some(from) = self.from else { return Found::NotInThisPage };
        if position == from {
            // `0-0` asks for everything that is retained and needs no entry.
            let honest = self.anchored || position == StreamId::ZERO;
            return if honest { Found::Here(&self.chunks) } else { Found::Nowhere };
        }
        let number = self.chunks.partition_point(|chunk| chunk.last() < position);
        match self.chunks.get(number) {
            _ if position < from => Found::NotInThisPage,
            Some(chunk) if chunk.units.iter().any(|unit| unit.position == position) => {
                Found::Here(&self.chunks[number..])
            }
            None if !self.whole => Found::NotInThisPage,
            _ => Found::Nowhere,
        }
    }
}

/// Whether the stream's facts alone prove that the entry is still there: it is not older than the
/// first one nor newer than the last one, and nothing from it on was ever deleted by name.
fn certainly_kept(position: StreamId, stream: &StreamFacts) -> bool {
    stream.first.is_some_and(|first| first <= position)
        && stream.last.is_some_and(|last| position <= last)
        && stream.max_deleted.is_some_and(|deleted| deleted < position)
}

/// Why a position that is not the last generated id is no entry of the stream.
pub(crate) fn reason(position: StreamId, stream: &StreamFacts) -> GapReason {
    if !stream.exists || position > stream.last_generated {
        return GapReason::Reset;
    }
    // Redis before version 7 does not say what was deleted.
    let deleted_from_here_on = stream.max_deleted.is_none_or(|deleted| position <= deleted);
    match stream.first {
        // Nothing was ever taken out of this stream, so the position is of another one.
        _ if stream.entries_added == Some(stream.length) => GapReason::Reset,
        Some(first) if position < first => match stream.max_deleted {
            Some(deleted) if position <= deleted && deleted < first => GapReason::Deleted,
            _ => GapReason::Trimmed,
        },
        Some(_) if deleted_from_here_on => GapReason::Deleted,
        Some(_) => GapReason::Reset,
        None if stream.max_deleted.is_some_and(|deleted| position <= deleted) => GapReason::Deleted,
        None => GapReason::Trimmed,
    }
}

/// What a `gap` frame says of a stream.
pub(crate) fn gap(requested: StreamId, stream: &StreamFacts, reason: GapReason) -> Gap {
    Gap {
        requested,
        first: stream.first.unwrap_or_default(),
        last: stream.last.unwrap_or_default(),
        reason,
    }
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

    fn id(ms: u64) -> StreamId {
        StreamId { ms, seq: 0 }
    }

    fn stream(first: u64, last: u64, added: u64, length: u64, deleted: u64) -> StreamFacts {
        StreamFacts {
            exists: true,
            length,
            last_generated: id(last),
            first: (first > 0).then(|| id(first)),
            last: (first > 0).then(|| id(last)),
            entries_added: Some(added),
            max_deleted: Some(id(deleted)),
        }
    }

    #[test]
    fn the_reason_of_a_gap_is_the_true_one() {
        for (position, stream, expected) in [
            (5, StreamFacts::default(), GapReason::Reset),
            (11, stream(1, 10, 10, 10, 0), GapReason::Reset),
            (5, stream(6, 10, 10, 5, 0), GapReason::Trimmed),
            (5, stream(4, 10, 10, 6, 5), GapReason::Deleted),
            (1, stream(2, 10, 10, 9, 1), GapReason::Deleted),
            (5, stream(6, 10, 10, 4, 7), GapReason::Trimmed),
            // Created again, with greater ids.
            (5, stream(6, 10, 5, 5, 0), GapReason::Reset),
            // Rolled back, and gone on from there past the position.
            (5, stream(2, 10, 10, 6, 0), GapReason::Reset),
            (5, stream(0, 10, 10, 0, 0), GapReason::Trimmed),
            (5, stream(0, 10, 10, 0, 10), GapReason::Deleted),
        ] {
            assert_eq!(reason(id(position), &stream), expected, "{position} in {stream:?}");
        }
    }
}
