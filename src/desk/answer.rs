//! What one read of the log answers those who waited for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;

use super::Waiter;
use super::page::{Found, Page};
use super::round::Round;
use crate::core::chunk::{Chunk, Ended};
use crate::core::encode;
use crate::core::fanout::{Answer, Derived, Wants};
use crate::core::gap::{GapReason, gap};
use crate::core::judge::{self, Verdict};
use crate::core::position::Position;
use crate::id::StreamId;
use crate::log::{Snapshot, StreamFacts};

/// The end of the stream as it was read.
pub(super) struct End {
    pub(super) position: StreamId,
    /// The end of the topic's log, where that has everything.
    pub(super) place: Option<u64>,
}

impl End {
    /// Where somebody stands who was given everything, and this at last.
    fn standing_at(&self, last: StreamId) -> Position {
        match self.place {
            Some(place) => Position::at_place(last, place),
            None => Position::at(last),
        }
    }
}

/// The state that was read, as frames: once for all who are given the same.
#[derive(Default)]
pub(super) struct States {
    at_end: Option<Arc<Chunk>>,
    /// For those who waited for the stream, and are given all of it.
    at_beginning: Option<Arc<Chunk>>,
}

impl Round {
    pub(super) fn answer_state(
        &self,
        waiter: &Waiter,
        snapshot: &Snapshot,
        end: &End,
        states: &mut States,
    ) {
        let (thread, account) = (&self.topic.thread, &self.shared.account);
        let beginning = self.beginning(waiter);
        let (encoded, position, then) = match beginning {
            None => (&mut states.at_end, end.position, end.standing_at(end.position)),
            Some(place) => {
                let zero = StreamId::ZERO;
                (&mut states.at_beginning, zero, Position::at_place(zero, place))
            }
        };
        let state = encoded.get_or_insert_with(|| {
            let state = snapshot.state.clone().unwrap_or_default();
            let mut out = BytesMut::with_capacity(encode::initial_state_bytes(&state));
            encode::put_initial_state(&mut out, thread, position, &state, snapshot.now_ms);
            if let Some(Ended { end, .. }) = self.ended.filter(|_| beginning.is_none()) {
                encode::put_end(&mut out, thread, position, end);
            }
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
        let then = Some(then);
        let Self { epoch, batch, version, .. } = *self;
        self.answer(waiter, Answer::State { chunk, then, epoch, batch, version });
    }

    /// `after` is none where whatever is retained is wanted.
    pub(super) fn answer_after(
        &mut self,
        mut waiter: Waiter,
        after: Option<StreamId>,
        stream: &StreamFacts,
        page: &Page,
        end: &End,
    ) {
        let position = after.unwrap_or_default();
        let from = waiter.reads_from();
        if waiter.epoch.is_some_and(|epoch| epoch != self.epoch) {
            // The others were told already that the stream is another one.
            waiter.wants = Wants::Gap { requested: position, reason: GapReason::Reset };
            return self.ask_again(waiter);
        }
        if let Some(place) = after.and_then(|after| self.place_of(after, stream, end)) {
            if waiter.attaching && Some(place) != end.place {
                self.shared.metrics.replays_from_memory.fetch_add(1, Relaxed);
            }
            let then = Some(Position::at_place(position, place));
            return self.answer_with(&waiter, Vec::new(), then, end);
        }
        let last_entry = stream.last.unwrap_or_default();
        let (chunks, is_there, sends) = match page.find(position, from) {
            Found::Here { chunks, is_there, sends } => (chunks, is_there, sends),
            // Nothing is behind it, whatever a page would show.
            Found::NotInThisPage if from >= last_entry && after.is_some() => {
                (&[][..], stream.last == Some(from), false)
            }
            Found::NotInThisPage => {
                waiter.needs_page = true;
                waiter.passed_over += 1;
                return self.ask_again(waiter);
            }
        };
        let verdict = match (after, waiter.epoch) {
            (None, _) => Verdict::Complete,
            (Some(_), Some(_)) => {
                judge::behind(from, self.ordinal_of(from, &waiter, stream), stream)
            }
            (Some(_), None) => judge::since(from, stream, is_there),
        };
        if let Verdict::Gap(reason) = verdict {
            waiter.wants = Wants::Gap { requested: position, reason };
            return self.ask_again(waiter);
        }
        let whole = page.whole || from >= last_entry;
        if let Some(passed) = chunks.last().filter(|_| !sends && !whole) {
            // Nothing of it is sent: the viewer has nothing to go on from.
            let passed = Some(passed.last());
            return self.ask_again(Waiter { passed, needs_page: true, ..waiter });
        }
        let chunks = if sends { chunks } else { &[] };
        if waiter.attaching && sends {
            self.shared.metrics.replays_from_redis.fetch_add(1, Relaxed);
        }
        let last = match (chunks.last(), after) {
            (Some(chunk), _) => chunk.last_sent(),
            (None, Some(after)) => after,
            // Nothing is retained, but for what is skipped.
            (None, None) => stream.last_generated,
        };
        let then = whole.then(|| end.standing_at(last));
        self.answer_with(&waiter, chunks.to_vec(), then, end);
    }

    fn answer_with(
        &mut self,
        waiter: &Waiter,
        chunks: Vec<Arc<Chunk>>,
        then: Option<Position>,
        end: &End,
    ) {
        let epoch = self.epoch;
        // Whoever lags is of his batch already.
        let batch = match waiter.wants {
            Wants::After(after) if waiter.attaching => self.topic.seam.to_join(after, epoch),
            Wants::Retained if waiter.attaching => self.topic.seam.to_join(end.position, epoch),
            _ => None,
        };
        let derived = self.ended.filter(|ended| {
            let behind = |after| ended.position <= after;
            waiter.attaching && matches!(waiter.wants, Wants::After(after) if behind(after))
        });
        let derived = derived.map(|ended| {
            let derived = || Arc::new(Derived::ended(&self.shared.account, ended));
            self.derived.get_or_insert_with(derived).clone()
        });
        self.answer(waiter, Answer::After { chunks, then, epoch, batch, derived });
    }

    /// How many entries there were up to the position of a viewer which has had all of the topic's log
    /// before; none where that cannot be told.
    fn ordinal_of(&self, position: StreamId, waiter: &Waiter, stream: &StreamFacts) -> Option<u64> {
        // Of those that were deleted by name, the log has some and others not.
        let nothing_withdrawn = stream.deleted()? <= position;
        let recent = self.topic.recent.lock();
        let since = recent.log.as_ref()?.appended_since(waiter.received?)?;
        recent.known.ordinal()?.checked_sub(since).filter(|_| nothing_withdrawn)
    }

    /// The place in the topic's log from which on it holds just what the stream has behind a
    /// position; none where it does not, or that is not known.
    fn place_of(&self, position: StreamId, stream: &StreamFacts, end: &End) -> Option<u64> {
        let recent = self.topic.recent.lock();
        let log = recent.log.as_ref().filter(|_| end.place.is_some())?;
        let place = log.locate(position)?;
        if Some(place) == end.place {
            return Some(place);
        }
        // Of what was deleted by name, some may be held still.
        let nothing_withdrawn = stream.deleted()? <= position;
        let ordinal = recent.known.ordinal()?.checked_sub(log.entries_from(place))?;
        let complete = judge::behind(position, Some(ordinal), stream) == Verdict::Complete;
        (nothing_withdrawn && complete).then_some(place)
    }
}
