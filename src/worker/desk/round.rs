//! A round of a desk: one read of the log, and the answers that it gives.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep, timeout_at};

use super::page::{Found, Page};
use super::{Answer, Waiter, Wants, answer};
use crate::core::chunk::Chunk;
use crate::core::encode;
use crate::core::gap::GapReason;
use crate::core::gap::{certainly_kept, gap, reason};
use crate::core::seam::{self, Seam};
use crate::core::topic::TopicLog;
use crate::id::StreamId;
use crate::log::{LogError, PageWants, Snapshot, SnapshotWants, StreamFacts};
use crate::worker::shared::{Shared, TailMessage};
use crate::worker::topic::Topic;

/// One read of the log and the answers that it gives.
pub(super) struct Round {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    /// It is on the lane: an answer may be of any size.
    large: bool,
    waiting: Vec<Waiter>,
    left: Vec<Waiter>,
    /// The read brought the state, where there is one.
    read_state: bool,
    /// The topic's epoch before the read.
    epoch: u32,
}

impl Round {
    pub(super) fn new(
        shared: Arc<Shared>,
        topic: Arc<Topic>,
        large: bool,
        waiting: Vec<Waiter>,
    ) -> Self {
        Self { shared, topic, large, waiting, left: Vec::new(), read_state: false, epoch: 0 }
    }

    pub(super) async fn run(mut self) -> Result<Vec<Waiter>, (Vec<Waiter>, LogError)> {
        let wants = self.wants();
        self.read_state = wants.updates_max.is_some();
        let of = |log: &TopicLog| (log.epoch(), log.head());
        let (epoch, head) = self.topic.recent.lock().log.as_ref().map(of).unwrap_or_default();
        self.epoch = epoch;
        let snapshot = match self.read(wants).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err((self.waiting, error)),
        };
        if snapshot.stream.last_generated < head {
            // What is held is of another stream than what was read; the tail tells the viewers.
            self.tell_tail(TailMessage::Look);
            let error = LogError::Unavailable("the stream is another one".into());
            return Err((self.waiting, error));
        }
        let position = self.start(&snapshot.stream);
        let page = self.encode_page(wants, &snapshot);
        let mut encoded = None;
        for waiter in std::mem::take(&mut self.waiting) {
            match waiter.wants {
                Wants::State if !snapshot.thread_exists() => {
                    answer(&self.shared, &waiter, Answer::NotFound);
                }
                Wants::After(_) if waiter.attaching && !snapshot.stream.exists => {
                    // Without a stream only the state tells whether there is such a thread.
                    if !self.read_state {
                        self.left.push(Waiter { needs_state: true, ..waiter });
                    } else if snapshot.thread_exists() {
                        let Wants::After(after) = waiter.wants else { continue };
                        self.answer_after(waiter, after, &snapshot, &page, position);
                    } else {
                        answer(&self.shared, &waiter, Answer::NotFound);
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
        SnapshotWants {
            updates_max: state.then_some(seam::UPDATES_READ),
            newest_max: if state { seam::ENTRIES_READ } else { 0 },
            page: oldest.map(|from| PageWants {
                from,
                entries_max: limits.page_entries_max,
                bytes_max: limits.page_bytes_max as u64,
            }),
            bytes_max: (!self.large).then_some(limits.answer_bytes_max()),
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
            let log = if self.large { self.shared.lane.log() } else { &self.shared.log };
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
    /// that ends where the topic's log begins becomes part of it: those who come next find it.
    fn encode_page(&self, wants: SnapshotWants, snapshot: &Snapshot) -> Page {
        let Some(PageWants { from, .. }) = wants.page else { return Page::default() };
        let entries = &snapshot.page[..];
        let whole = !snapshot.page_goes_on;
        let anchored = entries.first().is_some_and(|entry| entry.id == from);
        let entries = if anchored { &entries[1..] } else { entries };
        let chunks: Vec<Arc<Chunk>> =
            encode::entries(&self.topic.thread, from, entries).into_iter().map(Arc::new).collect();
        if let Some(log) = self.topic.recent.lock().log.as_mut() {
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
                let (thread_id, reason) = (thread, reason.as_str());
                tracing::info!(%thread_id, reason, %requested, now_at = %position, "gap_at_attach");
                out.freeze()
            }
            _ => state.clone(),
        };
        answer(&self.shared, waiter, Answer::State { frames, position, epoch: self.epoch });
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
            self.left.push(waiter);
            return;
        }
        if after == stream.last_generated {
            let then = Some(position);
            return answer(
                &self.shared,
                &waiter,
                Answer::After { chunks: Vec::new(), then, epoch: self.epoch },
            );
        }
        if after > stream.last_generated {
            waiter.wants = Wants::Gap { requested: after, reason: GapReason::Reset };
            self.left.push(waiter);
            return;
        }
        match page.find(after) {
            Found::Here(chunks) => {
                if waiter.attaching {
                    self.shared.metrics.replays_from_redis.fetch_add(1, Relaxed);
                }
                let then = page.whole.then_some(position);
                answer(
                    &self.shared,
                    &waiter,
                    Answer::After { chunks: chunks.to_vec(), then, epoch: self.epoch },
                );
            }
            Found::Nowhere => {
                waiter.wants = Wants::Gap { requested: after, reason: reason(after, stream) };
                self.left.push(waiter);
            }
            Found::NotInThisPage
                if self.is_held(after, position) && certainly_kept(after, stream) =>
            {
                self.shared.metrics.replays_from_memory.fetch_add(1, Relaxed);
                answer(
                    &self.shared,
                    &waiter,
                    Answer::After { chunks: Vec::new(), then: None, epoch: self.epoch },
                );
            }
            Found::NotInThisPage => {
                waiter.needs_page = true;
                self.left.push(waiter);
            }
        }
    }

    /// Whether the topic holds everything from behind `after` up to `position`: it does not where
    /// the tail is behind this read.
    fn is_held(&self, after: StreamId, position: StreamId) -> bool {
        let recent = self.topic.recent.lock();
        let held = |log: &TopicLog| position <= log.head() && log.locate(after).is_some();
        recent.log.as_ref().is_some_and(held)
    }
}
