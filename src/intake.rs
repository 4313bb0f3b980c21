//! What was read of a stream: judged by what was known of it, and taken into its topic.
//!
//! Whoever does this has the topic's [`Turn`](crate::turn::Turn): reads are judged in the order in
//! which they were done. Counts say something only within one history; where a read is of another
//! one, the position itself has to be in the stream.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;

use crate::core::chunk::{After, Chunk, Ended};
use crate::core::encode;
use crate::core::fanout::Batch;
use crate::core::gap::{self, GapReason};
use crate::core::history::History;
use crate::core::judge::{Known, Verdict, since};
use crate::core::topic::TopicLog;
use crate::id::StreamId;
use crate::log::tail::Told;
use crate::log::{Entry, Snapshot, SnapshotWants, StreamFacts};
use crate::readings;
use crate::seam;
use crate::shared::Shared;
use crate::topic::{Recent, Topic};

/// What was read of a stream from behind the topic's head on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Intake<'a> {
    /// The entry at the head is there.
    pub anchored: bool,
    /// Somebody has looked whether it is.
    pub looked: bool,
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
    pub(crate) fn begin(&mut self, stream: StreamFacts, history: History, ended: Option<Ended>) {
        self.log = Some(TopicLog::new(stream.last_generated).ending(ended));
        self.known = Known::all_of(stream);
        self.history = history;
        self.gap = None;
    }

    /// Whether the length is enough to judge the next read: the entry at the head was the last one
    /// when the stream was last read, and nothing else was known of.
    pub(crate) fn needs_no_facts(&self, head: StreamId, history: History) -> bool {
        let facts = self.known.facts();
        // Of what is deleted by name before it was read, a length shows nothing.
        let none_deleted = facts.deleted().is_none_or(|deleted| deleted == StreamId::ZERO);
        none_deleted
            && facts.last == Some(head)
            && self.is_at_end()
            && history.goes_on(self.history)
    }

    /// All that the known facts are of was read.
    fn is_at_end(&self) -> bool {
        self.known.position() == self.known.facts().last_generated
    }

    fn judge(&self, head: StreamId, intake: &Intake<'_>) -> Judged {
        match (self.gap, self.judge_news(head, intake)) {
            // Meanwhile it is another stream, too.
            (Some(_), reset @ Judged::Gap(GapReason::Reset)) => reset,
            (Some(reason), _) => Judged::Gap(reason),
            (None, judged) => judged,
        }
    }

    fn judge_news(&self, head: StreamId, intake: &Intake<'_>) -> Judged {
        let of = |verdict| match verdict {
            Verdict::Complete => Judged::TakenIn,
            Verdict::Gap(reason) => Judged::Gap(reason),
        };
        match intake.told {
            Told::Facts(facts) if intake.history.goes_on(self.history) => {
                // What lies before the position is no news; in the same stream it was there before.
                let news = behind(intake.entries, self.known.position());
                let lost = intake.looked && !intake.anchored && self.known.lost_its_place(&facts);
                if news.len() < intake.entries.len() || lost {
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
            // Of what is known in another history, nothing counts here.
            (Told::Facts(facts), Some((_, last))) if !intake.history.goes_on(self.history) => {
                self.known = Known::begun_capped(last.id, number, facts);
            }
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
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        head: StreamId,
        intake: &Intake<'_>,
    ) -> Judged {
        let (sent, reads_state) = {
            let mut recent = topic.recent.lock();
            let judged = recent.judge(head, intake);
            if let Judged::Gap(reason) = judged
                && intake.history.goes_on(recent.history)
            {
                // The next read may look as if nothing was missing.
                recent.gap = Some(reason);
            }
            if judged != Judged::TakenIn {
                return judged;
            }
            recent.learn(intake);
            // Before anybody is given them: what they tell need not be told of the state.
            let words = &self.config.sources.words;
            let note = |log: &mut TopicLog| log.present_mut().note(intake.entries, words);
            let reads_state = recent.log.as_mut().is_some_and(note);
            (recent.log.as_ref().map_or(head, TopicLog::sent), reads_state)
        };
        if !intake.entries.is_empty() {
            let number = intake.entries.len() as u64;
            self.metrics.entries_read.fetch_add(number, Relaxed);
            topic.seam.came(&self.account, intake.entries);
            let after = After { position: head, sent };
            let chunks = encode::entries(&self.account, &topic.thread, after, intake.entries);
            let skipped: usize = chunks.iter().map(|chunk| chunk.skipped()).sum();
            if skipped > 0 {
                self.metrics.entries_skipped.fetch_add(skipped as u64, Relaxed);
            }
            self.append(topic, chunks);
        }
        if reads_state {
            readings::read_for_entries(self, topic);
        }
        Judged::TakenIn
    }

    /// Brings a topic to the end of the stream as it was read, where all that is behind the head was
    /// read. A topic that is new begins there.
    pub(crate) fn bring_to_end(
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        wants: SnapshotWants,
        snapshot: &Snapshot,
    ) -> Brought {
        let stream = &snapshot.stream;
        let (head, nothing_new, goes_on) = {
            let recent = topic.recent.lock();
            let Some(log) = &recent.log else { return Brought::Nowhere };
            let nothing_new = stream.last_generated == recent.known.position();
            (log.head(), nothing_new, snapshot.history.goes_on(recent.history))
        };
        if !goes_on {
            // It is for the tail to go over from one history to another.
            return Brought::OtherHistory;
        }
        let news = news(wants, snapshot, head);
        let behind = news.is_none() && !nothing_new;
        let found = wants.looks_for == Some(head) && snapshot.is_there;
        let is_there = stream.last == Some(head) || found;
        let intake = Intake {
            anchored: news.map_or(is_there, |news| news.anchored),
            looked: news.is_some() || is_there || wants.looks_for == Some(head),
            entries: news.map_or(&[], |news| news.entries),
            more: behind,
            told: Told::Facts(*stream),
            history: snapshot.history,
        };
        match self.take_in(topic, head, &intake) {
            Judged::Gap(reason) => Brought::Gap(head, reason),
            _ if behind => Brought::Behind,
            _ => Brought::ToEnd,
        }
    }

    /// Tells all viewers at the head of a gap: they go on from a new state. The batch of those who
    /// are given it, where something is withheld from it.
    pub(crate) fn tell_gap(
        self: &Arc<Self>,
        topic: &Arc<Topic>,
        head: StreamId,
        reason: GapReason,
        snapshot: &mut Snapshot,
    ) -> Option<Batch> {
        let position = snapshot.stream.last_generated;
        let (another_stream, epoch, requested) = {
            let recent = topic.recent.lock();
            let log = recent.log.as_ref()?;
            // What is gone in another history was never in this stream, or nobody can tell.
            let goes_on = snapshot.history.goes_on(recent.history);
            let another_stream = reason == GapReason::Reset || !goes_on;
            (another_stream, log.epoch() + u32::from(another_stream), log.sent())
        };
        let batch = seam::settle(self, topic, snapshot, position, epoch);
        let state = snapshot.state.clone().unwrap_or_default();
        let mut out = BytesMut::with_capacity(encode::initial_state_bytes(&state));
        encode::put_gap(&mut out, &topic.thread, &gap::gap(requested, &snapshot.stream, reason));
        encode::put_initial_state(&mut out, &topic.thread, position, &state, snapshot.now_ms);
        let ended = topic.ended(&snapshot.newest);
        if let Some(Ended { end, .. }) = ended {
            encode::put_end(&mut out, &topic.thread, position, end);
        }
        self.metrics.count_gap(reason);
        let thread_id = &topic.thread;
        tracing::info!(%thread_id, reason = reason.as_str(), %requested, now_at = %position, "gap");
        let chunk = Chunk::of_one(&self.account, out.freeze(), head, position).ending(ended);
        let before = readings::task_of(topic);
        self.renew(topic, chunk, snapshot, another_stream, batch);
        readings::observed(self, topic, before);
        batch
    }
}

/// Where a topic is after something was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brought {
    /// At the end of the stream.
    ToEnd,
    /// Behind it: not all was read that is behind its head.
    Behind,
    /// Something is missing behind its head.
    Gap(StreamId, GapReason),
    /// This read is of another history than what the topic knows.
    OtherHistory,
    /// It has no log any more.
    Nowhere,
}

/// What was read behind the topic's head, all of it.
#[derive(Clone, Copy)]
struct News<'a> {
    /// The entry at the head is there.
    anchored: bool,
    entries: &'a [Entry],
}

/// The entries behind the head, where all of them were read.
fn news(wants: SnapshotWants, snapshot: &Snapshot, head: StreamId) -> Option<News<'_>> {
    let newest = &snapshot.newest[..];
    let reach_back = newest.first().is_some_and(|first| first.id <= head)
        || newest.len() as u64 == snapshot.stream.length;
    let page_reaches = wants.page.is_some_and(|page| page.from <= head) && !snapshot.page_goes_on;
    let read = match (wants.newest_max > 0 && reach_back, page_reaches) {
        (true, _) => newest,
        (false, true) => &snapshot.page,
        (false, false) => return None,
    };
    let (before, entries) = read.split_at(read.len() - behind(read, head).len());
    Some(News { anchored: before.last().is_some_and(|entry| entry.id == head), entries })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(added: u64, first: u64, last: u64, last_generated: u64, deleted: u64) -> StreamFacts {
        let id = |ms| StreamId { ms, seq: 0 };
        StreamFacts {
            exists: true,
            length: last - first + 1,
            last_generated: id(last_generated),
            first: Some(id(first)),
            last: Some(id(last)),
            entries_added: Some(added),
            max_deleted: Some(id(deleted)),
        }
    }

    fn entries(ids: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
        ids.map(|ms| Entry { id: StreamId { ms, seq: 0 }, fields: Vec::new() }).collect()
    }

    /// A failover to a replica that lagged: what was deleted by name behind the head was never there.
    #[test]
    fn what_was_counted_in_another_history_does_not_count_in_this_one() {
        let mut recent = Recent::default();
        recent.begin(facts(5, 1, 3, 5, 5), History::of("before"), None);
        let history = History::of("now");
        let first = entries(6..=6);
        let told = Told::Facts(facts(7, 1, 9, 9, 0));
        let intake =
            Intake { anchored: true, looked: true, entries: &first, more: true, told, history };
        let head = StreamId { ms: 3, seq: 0 };
        assert_eq!(recent.judge(head, &intake), Judged::TakenIn);
        recent.learn(&intake);
        let rest = entries(7..=9);
        let intake = Intake { entries: &rest, more: false, ..intake };
        assert_eq!(recent.judge(StreamId { ms: 6, seq: 0 }, &intake), Judged::TakenIn);
    }
}
