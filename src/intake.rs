//! What was read of a stream: judged by what was known of it, and taken into its topic.
//!
//! Whoever does this has the topic's [`Turn`](crate::turn::Turn): reads are judged in the order in
//! which they were done. Counts say something only within one history; where a read is of another
//! one, the position itself has to be in the stream.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;

use crate::core::chunk::Chunk;
use crate::core::encode;
use crate::core::gap::{self, GapReason};
use crate::core::history::History;
use crate::core::judge::{Known, Verdict, since};
use crate::core::topic::TopicLog;
use crate::id::StreamId;
use crate::log::tail::Told;
use crate::log::{Entry, Snapshot, StreamFacts};
use crate::shared::Shared;
use crate::topic::{Recent, Topic};

/// What was read of a stream from behind the topic's head on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intake<'a> {
    /// The entry at the head is there.
    pub anchored: bool,
    pub entries: &'a [Entry],
    /// There may be more behind them.
    pub more: bool,
    pub told: Told,
    pub history: History,
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Nothing is missing: it was taken in.
    TakenIn,
    /// The facts are needed to judge.
    Unproven,
    /// Something is missing.
    Gap(GapReason),
}

impl Recent {
    /// Begins the log of a topic where the stream ends that was read.
    pub(crate) fn begin(&mut self, stream: StreamFacts, history: History) {
        self.log = Some(TopicLog::new(stream.last_generated));
        self.known = Known::all_of(stream);
        self.history = history;
    }

    /// Whether the length is enough to judge the next read: the entry at the head was the last one
    /// when the stream was last read, and nothing else was known of.
    pub(crate) fn needs_no_facts(&self, head: StreamId, history: History) -> bool {
        let facts = self.known.facts();
        history.goes_on(self.history) && self.is_at_end() && facts.last == Some(head)
    }

    /// All that the known facts are of was read.
    fn is_at_end(&self) -> bool {
        self.known.position() == self.known.facts().last_generated
    }

    fn judge(&self, head: StreamId, intake: &Intake<'_>) -> Judged {
        let of = |verdict| match verdict {
            Verdict::Complete => Judged::TakenIn,
            Verdict::Gap(reason) => Judged::Gap(reason),
        };
        match intake.told {
            Told::Facts(facts) if intake.history.goes_on(self.history) => {
                // What lies before the position is no news; in the same stream it was there before.
                let news = behind(intake.entries, self.known.position());
                if news.len() < intake.entries.len() {
                    return Judged::Gap(GapReason::Reset);
                }
                of(self.known.follow(&facts, news.len() as u64))
            }
            // The position may be a last id without an entry.
            Told::Facts(facts) => match since(self.known.position(), &facts, false) {
                Verdict::Complete => Judged::TakenIn,
                Verdict::Gap(_) => of(since(head, &facts, intake.anchored)),
            },
            Told::Length(length)
                if intake.anchored && !intake.more && self.needs_no_facts(head, intake.history) =>
            {
                let expected = self.known.facts().length + intake.entries.len() as u64;
                if length == expected { Judged::TakenIn } else { Judged::Unproven }
            }
            // As long as the entry at the head is there, nothing behind it was trimmed.
            _ if intake.anchored && intake.more && intake.history.goes_on(self.history) => {
                Judged::TakenIn
            }
            _ => Judged::Unproven,
        }
    }

    /// Notes what is known of the stream behind what was taken in.
    fn learn(&mut self, intake: &Intake<'_>) {
        let number = intake.entries.len() as u64;
        let ends = intake.entries.first().zip(intake.entries.last());
        match (intake.told, ends) {
            (Told::Facts(facts), _) if !intake.more => self.known = Known::all_of(facts),
            (Told::Facts(facts), Some((_, last))) => {
                self.known.advance_capped(last.id, number, facts);
            }
            (Told::Length(_), Some((first, last))) if !intake.more => {
                self.known.advance(first.id, last.id, number);
            }
            (_, Some((_, last))) => {
                let facts = *self.known.facts();
                self.known.advance_capped(last.id, number, facts);
            }
            (_, None) => {}
        }
        self.history = intake.history;
    }
}

/// The entries behind a position.
pub(crate) fn behind(entries: &[Entry], position: StreamId) -> &[Entry] {
    &entries[entries.partition_point(|entry| entry.id <= position)..]
}

impl Shared {
    /// Judges what was read, and where nothing is missing, appends it.
    pub(crate) fn take_in(
        &self,
        topic: &Arc<Topic>,
        head: StreamId,
        intake: &Intake<'_>,
    ) -> Judged {
        {
            let mut recent = topic.recent.lock();
            let judged = recent.judge(head, intake);
            if judged != Judged::TakenIn {
                return judged;
            }
            recent.learn(intake);
        }
        if !intake.entries.is_empty() {
            let number = intake.entries.len() as u64;
            self.metrics.entries_read.fetch_add(number, Relaxed);
            let chunks = encode::entries(&self.account, &topic.thread, head, intake.entries);
            self.append(topic, chunks);
        }
        Judged::TakenIn
    }

    /// Tells all viewers at the head of a gap: they go on from a new state.
    pub(crate) fn tell_gap(&self, topic: &Arc<Topic>, head: StreamId, reason: GapReason, snapshot: &Snapshot) {
        let position = snapshot.stream.last_generated;
        let state = snapshot.state.clone().unwrap_or_default();
        let mut out = BytesMut::with_capacity(encode::initial_state_bytes(&state));
        encode::put_gap(&mut out, &topic.thread, &gap::gap(head, &snapshot.stream, reason));
        encode::put_initial_state(&mut out, &topic.thread, position, &state, snapshot.now_ms);
        self.metrics.count_gap(reason);
        let thread_id = &topic.thread;
        tracing::info!(%thread_id, reason = reason.as_str(), requested = %head, now_at = %position, "gap");
        let chunk = Chunk::of_one(&self.account, out.freeze(), head, position);
        self.renew(topic, chunk, snapshot, reason == GapReason::Reset);
    }
}
