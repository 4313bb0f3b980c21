//! A round of a desk: one read of the log, and the answers that it gives.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, sleep, timeout_at};

use super::page::{Found, Page};
use super::room::{Expected, Fits};
use super::{Waiter, tell};
use crate::core::account::Charge;
use crate::core::chunk::Chunk;
use crate::core::encode;
use crate::core::fanout::{Answer, Refusal, Wants};
use crate::core::gap::{GapReason, certainly_kept, gap, reason};
use crate::core::seam::{self, Seam};
use crate::core::topic::TopicLog;
use crate::id::StreamId;
use crate::log::{Entry, LogError, PageWants, Snapshot, SnapshotWants, StreamFacts};
use crate::shared::{Shared, TailMessage};
use crate::topic::{Size, Topic};

/// Who was passed over that often has the next page begin at his position.
const PASSED_OVER_MAX: u32 = 1;

/// One read of the log and the answers that it gives.
pub(super) struct Round {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    attaching: bool,
    waiting: Vec<Waiter>,
    size: Size,
    /// What such a read mostly brings.
    expected_bytes: usize,
    fits: Fits,
    /// Somebody has to be asked for again.
    left: bool,
    /// The read brought the state, where there is one.
    read_state: bool,
    /// The topic's epoch before the read.
    epoch: u32,
}

impl Round {
    pub(super) fn new(
        shared: Arc<Shared>,
        topic: Arc<Topic>,
        attaching: bool,
        waiting: Vec<Waiter>,
        size: Size,
        fits: Fits,
    ) -> Self {
        let page_bytes_max = shared.config.limits.page_bytes_max;
        let expected_bytes = Expected::of(waiting.iter(), page_bytes_max).bytes;
        Self {
            shared,
            topic,
            attaching,
            waiting,
            size,
            expected_bytes,
            fits,
            left: false,
            read_state: false,
            epoch: 0,
        }
    }

    /// `charge` is what is held for the answer of the log.
    pub(super) async fn run(mut self, mut charge: Charge) -> Result<bool, LogError> {
        let wants = self.wants();
        self.read_state = wants.updates_max.is_some();
        let of = |log: &TopicLog| (log.epoch(), log.head());
        let (epoch, head) = self.topic.recent.lock().log.as_ref().map(of).unwrap_or_default();
        self.epoch = epoch;
        let snapshot = self.read(wants).await?;
        let bytes = bytes_of(&snapshot);
        if self.fits.bytes_max.is_some() {
            charge.set(bytes);
        }
        if bytes <= self.expected_bytes {
            self.topic.fits(self.size, Size::Expected);
        } else if bytes <= self.shared.config.limits.answer_bytes_max() {
            self.topic.fits(self.size, Size::Usual);
        }
        if snapshot.stream.last_generated < head {
            // What is held is of another stream than what was read; the tail tells the viewers.
            self.tell_tail(TailMessage::Look);
            return Err(LogError::Unavailable("the stream is another one".into()));
        }
        let position = self.start(&snapshot.stream);
        let page = self.encode_page(wants, &snapshot);
        let mut encoded = None;
        for waiter in std::mem::take(&mut self.waiting) {
            match waiter.wants {
                Wants::State if !snapshot.thread_exists() => {
                    self.answer(&waiter, Answer::Refused(Refusal::NotFound));
                }
                Wants::After(_) if waiter.attaching && !snapshot.stream.exists => {
                    // Without a stream only the state tells whether there is such a thread.
                    if !self.read_state {
                        self.ask_again(Waiter { needs_state: true, ..waiter });
                    } else if snapshot.thread_exists() {
                        let Wants::After(after) = waiter.wants else { continue };
                        self.answer_after(waiter, after, &snapshot, &page, position);
                    } else {
                        self.answer(&waiter, Answer::Refused(Refusal::NotFound));
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

    /// Answers a viewer, if it still waits.
    fn answer(&self, waiter: &Waiter, answer: Answer) {
        let desk = self.topic.desks.of(self.attaching);
        if desk.lock().waiting.swap_remove(&waiter.key()).is_some() {
            tell(&self.shared, waiter, answer);
        }
    }

    /// A viewer needs another read, if it still waits.
    fn ask_again(&mut self, waiter: Waiter) {
        let desk = self.topic.desks.of(self.attaching);
        if let Some(waiting) = desk.lock().waiting.get_mut(&waiter.key()) {
            *waiting = waiter;
            self.left = true;
        }
    }

    /// What one read has to bring, so that it answers as many as possible.
    fn wants(&self) -> SnapshotWants {
        let recent = self.topic.recent.lock();
        let held = |position| recent.log.as_ref().is_some_and(|log| log.locate(position).is_some());
        let state = self
            .waiting
            .iter()
            .any(|waiter| waiter.needs_state || !matches!(waiter.wants, Wants::After(_)));
        let paged = |waiter: &&Waiter| match waiter.wants {
            Wants::After(after) => waiter.needs_page || !held(after),
            _ => false,
        };
        // The oldest position, so that one page serves as many as possible; but nobody is passed
        // over for ever.
        let overdue = |waiter: &&Waiter| waiter.passed_over > PASSED_OVER_MAX;
        let of_those = || self.waiting.iter().filter(paged);
        let first = of_those().filter(overdue).max_by_key(|waiter| waiter.passed_over);
        let first = first.or_else(|| of_those().min_by_key(|waiter| position_of(waiter)));
        let limits = &self.shared.config.limits;
        SnapshotWants {
            updates_max: state.then_some(seam::UPDATES_READ),
            newest_max: if state { seam::ENTRIES_READ } else { 0 },
            page: first.map(|waiter| PageWants {
                from: position_of(waiter),
                entries_max: limits.page_entries_max,
                bytes_max: self.fits.page_bytes_max as u64,
            }),
            bytes_max: self.fits.bytes_max.map(|bytes| bytes as u64),
        }
    }

    /// When the first of those who wait gives up.
    fn patience(&self) -> Instant {
        let deadlines = self.waiting.iter().map(|waiter| waiter.deadline);
        deadlines.min().unwrap_or_else(Instant::now)
    }

    /// Reads; where an update was written whose entry is still on its way, once or twice more.
    async fn read(&self, wants: SnapshotWants) -> Result<Snapshot, LogError> {
        let mut pauses_ms = seam::PAUSES_MS.iter();
        loop {
            let usual = self.size <= Size::Usual;
            let log = if usual { &self.shared.log } else { self.shared.lane.log() };
            let reading = log.snapshot(&self.topic.thread, wants);
            let Ok(read) = timeout_at(self.patience(), reading).await else {
                return Err(LogError::Unavailable("no answer in time".into()));
            };
            let mut snapshot = read?;
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
        let has_all = match stream.last {
            Some(last) => last <= head,
            None if stream.last_generated == head => true,
            // Without a new entry, the last id may have been moved on (`XSETID`).
            None => stream.entries_added.is_some() && stream.entries_added == recent.entries_added,
        };
        if has_all && head <= stream.last_generated {
            return head;
        }
        // The tail is behind this read, or the stream is another one: let it look.
        self.tell_tail(TailMessage::Look);
        stream.last.unwrap_or(stream.last_generated)
    }

    fn tell_tail(&self, message: fn(Arc<Topic>) -> TailMessage) {
        self.shared.tails[self.topic.owner()].put(message(self.topic.clone()));
    }

    /// The page's entries as chunks, without the one at the position that it begins with. A page
    /// that ends where the topic's log begins becomes part of it, and those who come next find it:
    /// only where it is proven that its position is one of this stream's, and that nothing is missing
    /// behind it.
    fn encode_page(&self, wants: SnapshotWants, snapshot: &Snapshot) -> Page {
        let Some(PageWants { from, .. }) = wants.page else { return Page::default() };
        let entries = &snapshot.page[..];
        let whole = !snapshot.page_goes_on;
        let anchored = entries.first().is_some_and(|entry| entry.id == from);
        let entries = if anchored { &entries[1..] } else { entries };
        let account = &self.shared.account;
        let chunks = encode::entries(account, &self.topic.thread, from, entries);
        let stream = &snapshot.stream;
        let nothing_was_taken_out = stream.entries_added == Some(stream.length);
        let proven = anchored || (from == StreamId::ZERO && nothing_was_taken_out);
        if proven && let Some(log) = self.topic.recent.lock().log.as_mut() {
            let bytes_max = self.shared.topic_bytes_max();
            for chunk in chunks.iter().rev() {
                if !log.prepend(chunk, bytes_max) {
                    break;
                }
            }
        }
        Page { from: Some(from), chunks, anchored, whole }
    }

    fn answer_state(
        &self,
        waiter: &Waiter,
        snapshot: &Snapshot,
        position: StreamId,
        encoded: &mut Option<Arc<Chunk>>,
    ) {
        let (thread, account) = (&self.topic.thread, &self.shared.account);
        let state = encoded.get_or_insert_with(|| {
            let state = snapshot.state.clone().unwrap_or_default();
            let mut out = BytesMut::with_capacity(encode::initial_state_bytes(&state));
            encode::put_initial_state(&mut out, thread, position, &state, snapshot.now_ms);
            Arc::new(Chunk::of_one(account, out.freeze(), StreamId::ZERO, position))
        });
        let chunk = match waiter.wants {
            Wants::Gap { requested, reason } => {
                let mut out = BytesMut::with_capacity(state.bytes.len() + 512);
                encode::put_gap(&mut out, thread, &gap(requested, &snapshot.stream, reason));
                out.extend_from_slice(&state.bytes);
                self.shared.metrics.count_gap(reason);
                let (thread_id, reason) = (thread, reason.as_str());
                tracing::info!(%thread_id, reason, %requested, now_at = %position, "gap_at_attach");
                Arc::new(Chunk::of_one(account, out.freeze(), requested, position))
            }
            _ => state.clone(),
        };
        self.answer(waiter, Answer::State { chunk, epoch: self.epoch });
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
        if waiter.epoch.is_some_and(|epoch| epoch != self.epoch) {
            // The others were told already that the stream is another one.
            waiter.wants = Wants::Gap { requested: after, reason: GapReason::Reset };
            return self.ask_again(waiter);
        }
        if after == stream.last_generated {
            return self.answer_with(&waiter, Vec::new(), Some(position));
        }
        if after > stream.last_generated {
            waiter.wants = Wants::Gap { requested: after, reason: GapReason::Reset };
            return self.ask_again(waiter);
        }
        match page.find(after) {
            Found::Here(chunks) => {
                if waiter.attaching {
                    self.shared.metrics.replays_from_redis.fetch_add(1, Relaxed);
                }
                self.answer_with(&waiter, chunks.to_vec(), page.whole.then_some(position));
            }
            Found::Nowhere => {
                waiter.wants = Wants::Gap { requested: after, reason: reason(after, stream) };
                self.ask_again(waiter);
            }
            Found::NotInThisPage
                if self.is_held(after, position) && certainly_kept(after, stream) =>
            {
                self.shared.metrics.replays_from_memory.fetch_add(1, Relaxed);
                self.answer_with(&waiter, Vec::new(), None);
            }
            Found::NotInThisPage => {
                waiter.needs_page = true;
                waiter.passed_over += 1;
                self.ask_again(waiter);
            }
        }
    }

    fn answer_with(&self, waiter: &Waiter, chunks: Vec<Arc<Chunk>>, then: Option<StreamId>) {
        self.answer(waiter, Answer::After { chunks, then, epoch: self.epoch });
    }

    /// Whether the topic holds everything from behind `after` up to `position`: it does not where
    /// the tail is behind this read.
    fn is_held(&self, after: StreamId, position: StreamId) -> bool {
        let recent = self.topic.recent.lock();
        let held = |log: &TopicLog| position <= log.head() && log.locate(after).is_some();
        recent.log.as_ref().is_some_and(held)
    }
}

/// The position that a viewer stands at.
fn position_of(waiter: &Waiter) -> StreamId {
    match waiter.wants {
        Wants::After(after) => after,
        Wants::State | Wants::Gap { .. } => StreamId::ZERO,
    }
}

/// What a snapshot takes, about.
fn bytes_of(snapshot: &Snapshot) -> usize {
    let entries = snapshot.page.iter().chain(&snapshot.newest);
    let state = snapshot.state.as_ref().map_or(0, |state| state.bytes_len());
    entries.map(Entry::bytes_len).sum::<usize>() + state
}
