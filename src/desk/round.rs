//! A round of a desk: one read of the log, and the answers that it gives.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::answer::End;
use super::page::Page;
use super::room::{Expected, Fits};
use super::{Waiter, tell};
use crate::core::account::Charge;
use crate::core::encode;
use crate::core::fanout::{Answer, Batch, Refusal, Wants};
use crate::core::present::Version;
use crate::core::seam::{ENTRIES_READ, ENTRIES_READ_ON, UPDATES_READ, UPDATES_READ_ON};
use crate::core::topic::TopicLog;
use crate::id::StreamId;
use crate::intake::Brought;
use crate::log::{Entry, LogError, PageWants, Snapshot, SnapshotWants};
use crate::readings;
use crate::seam;
use crate::shared::{Shared, TailMessage};
use crate::topic::{Size, Topic};
use crate::turn::Turn;

/// So many of the newest entries come with a page, to judge it by what is new in the stream.
const ENTRIES_JUDGED: u64 = 4;

/// Who was passed over that often has the next page begin at his position.
const PASSED_OVER_MAX: u32 = 1;

/// One read of the log and the answers that it gives.
pub(super) struct Round {
    pub(super) shared: Arc<Shared>,
    pub(super) topic: Arc<Topic>,
    pub(super) attaching: bool,
    pub(super) waiting: Vec<Waiter>,
    pub(super) size: Size,
    /// What such a read mostly brings.
    pub(super) expected_bytes: usize,
    pub(super) fits: Fits,
    /// Somebody has to be asked for again.
    pub(super) left: bool,
    /// The read brought the state, where there is one.
    pub(super) read_state: bool,
    /// The topic's epoch.
    pub(super) epoch: u32,
    /// Of which batch they are who are given the state.
    pub(super) batch: Option<Batch>,
    /// Which version that is.
    pub(super) version: Version,
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
            batch: None,
            version: 0,
        }
    }

    /// `charge` is what is held for the answer of the log.
    pub(super) async fn run(mut self, mut charge: Charge) -> Result<bool, LogError> {
        let mut wants = self.wants();
        self.read_state = wants.updates_max.is_some();
        // Nobody else reads the stream until this read is judged and answered.
        let (mut snapshot, _turn) = self.read(&mut wants).await?;
        let bytes = bytes_of(&snapshot);
        if self.fits.bytes_max.is_some() {
            charge.set(bytes);
        }
        if bytes <= self.expected_bytes {
            self.topic.fits(self.size, Size::Expected);
        } else if bytes <= self.shared.config.limits.answer_bytes_max() {
            self.topic.fits(self.size, Size::Usual);
        }
        let end = self.bring_to_end(wants, &mut snapshot)?;
        let page = self.encode_page(wants, &snapshot);
        let mut encoded = None;
        let mut ahead = false;
        for waiter in std::mem::take(&mut self.waiting) {
            if end.place.is_none() && self.is_ahead(&waiter) {
                self.ask_again(Waiter { needs_page: true, ..waiter });
                ahead = true;
                continue;
            }
            let after = match waiter.wants {
                Wants::State if !snapshot.thread_exists() => {
                    self.answer(&waiter, Answer::Refused(Refusal::NotFound));
                    continue;
                }
                Wants::State | Wants::Gap { .. } => {
                    self.answer_state(&waiter, &snapshot, &end, &mut encoded);
                    continue;
                }
                Wants::Retained => None,
                Wants::After(after) => Some(after),
            };
            // Without a stream only the state tells whether there is such a thread.
            if waiter.attaching && !snapshot.stream.exists && !self.read_state {
                self.ask_again(Waiter { needs_state: true, ..waiter });
            } else if waiter.attaching && !snapshot.thread_exists() {
                self.answer(&waiter, Answer::Refused(Refusal::NotFound));
            } else {
                self.answer_after(waiter, after, &snapshot.stream, &page, &end);
            }
        }
        if ahead {
            // Not at once: the tail is about to read.
            return Err(LogError::Unavailable("the tail is behind".into()));
        }
        Ok(self.left)
    }

    /// Whether an answer would be ahead of what the topic has.
    fn is_ahead(&self, waiter: &Waiter) -> bool {
        match waiter.wants {
            Wants::Retained => false,
            Wants::State | Wants::Gap { .. } => true,
            Wants::After(after) => self.topic.head().is_none_or(|head| after > head),
        }
    }

    /// Answers a viewer, if it still waits.
    pub(super) fn answer(&self, waiter: &Waiter, answer: Answer) {
        let desk = self.topic.desks.of(self.attaching);
        if desk.lock().waiting.swap_remove(&waiter.key()).is_some() {
            tell(&self.shared, waiter, answer);
        }
    }

    /// A viewer needs another read, if it still waits.
    pub(super) fn ask_again(&mut self, waiter: Waiter) {
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
        let state = self.waiting.iter().any(|waiter| waiter.needs_state || !waiter.wants_page());
        let paged = |waiter: &&Waiter| match waiter.wants {
            Wants::After(after) => waiter.needs_page || !held(after),
            Wants::Retained => true,
            Wants::State | Wants::Gap { .. } => false,
        };
        // The oldest position, so that one page serves as many as possible; but nobody is passed
        // over for ever.
        let overdue = |waiter: &&Waiter| waiter.passed_over > PASSED_OVER_MAX;
        let of_those = || self.waiting.iter().filter(paged);
        let first = of_those().filter(overdue).max_by_key(|waiter| waiter.passed_over);
        let first = first.or_else(|| of_those().min_by_key(|waiter| position_of(waiter)));
        // What the topic lacks comes along, and whoever is ahead of it waits behind that. Of a state's
        // read, the newest entries are enough for that, unless they were not.
        let lacks_more = self.waiting.iter().any(|waiter| waiter.needs_page);
        let head = recent.log.as_ref().filter(|_| !state || lacks_more).map(TopicLog::head);
        let from = first.map(position_of).into_iter().chain(head).min();
        let limits = &self.shared.config.limits;
        SnapshotWants {
            updates_max: state.then_some(UPDATES_READ),
            newest_max: if state { ENTRIES_READ } else { ENTRIES_JUDGED },
            page: from.map(|from| PageWants {
                from,
                entries_max: limits.page_entries_max,
                bytes_max: self.fits.page_bytes_max as u64,
            }),
            // The page may end before it.
            looks_for: head.filter(|_| first.is_some()),
            bytes_max: self.fits.bytes_max.map(|bytes| bytes as u64),
        }
    }

    /// When the first of those who wait gives up.
    fn patience(&self) -> Instant {
        let deadlines = self.waiting.iter().map(|waiter| waiter.deadline);
        deadlines.min().unwrap_or_else(Instant::now)
    }

    /// Reads, and reads on where that may prove more of what a state is to show.
    async fn read(&self, wants: &mut SnapshotWants) -> Result<(Snapshot, Turn), LogError> {
        let usual = self.size <= Size::Usual;
        let log = if usual { &self.shared.log } else { self.shared.lane.log() };
        let turn = Turn::for_desk(&self.shared, &self.topic);
        let reading = log.snapshot_in_turn(&self.topic.thread, *wants, turn);
        let late = || LogError::Unavailable("no answer in time".into());
        let (snapshot, turn) = timeout_at(self.patience(), reading).await.map_err(|_| late())??;
        if !self.read_state || !self.topic.seam.reads_on(&snapshot) {
            return Ok((snapshot, turn));
        }
        let more = SnapshotWants {
            updates_max: Some(UPDATES_READ_ON),
            newest_max: ENTRIES_READ_ON,
            ..*wants
        };
        let reading = log.snapshot(&self.topic.thread, more);
        match timeout_at(self.patience(), reading).await {
            Ok(Ok(snapshot)) => {
                *wants = more;
                Ok((snapshot, turn))
            }
            // What was read first will do.
            _ => Ok((snapshot, turn)),
        }
    }

    /// Brings the topic, of which this may be the beginning, to where the stream ended when it was
    /// read: nobody's state is ahead of it then. Where something is missing, everybody is told so.
    fn bring_to_end(
        &mut self,
        wants: SnapshotWants,
        snapshot: &mut Snapshot,
    ) -> Result<End, LogError> {
        {
            let mut recent = self.topic.recent.lock();
            if recent.log.is_none() {
                recent.begin(snapshot.stream, snapshot.history);
                self.tell_tail(TailMessage::Watch(self.topic.clone()));
            }
        }
        let brought = self.shared.bring_to_end(&self.topic, wants, snapshot);
        if brought != Brought::ToEnd {
            let other = (brought == Brought::OtherHistory).then_some(snapshot.history);
            self.tell_tail(TailMessage::Look(self.topic.clone(), other));
        }
        if brought == Brought::OtherHistory {
            return Err(LogError::Unavailable("the log is on another server now".into()));
        }
        let mut settled = None;
        if let Brought::Gap(head, reason) = brought {
            if !self.read_state {
                // The tail tells the viewers, with a state.
                return Err(LogError::Unavailable("the stream is another one".into()));
            }
            settled = Some(self.shared.tell_gap(&self.topic, head, reason, snapshot));
        }
        let (epoch, log_end) = match &self.topic.recent.lock().log {
            Some(log) => (log.epoch(), log.end()),
            None => return Err(LogError::Unavailable("the task was let go".into())),
        };
        self.epoch = epoch;
        let position = snapshot.stream.last_generated;
        let place = (brought != Brought::Behind).then_some(log_end);
        if self.read_state && place.is_some() {
            self.version = readings::observe(&self.shared, &self.topic, snapshot);
        }
        self.batch = match settled {
            Some(batch) => batch,
            None if self.read_state && place.is_some() => {
                seam::settle(&self.shared, &self.topic, snapshot, position, epoch)
            }
            None => None,
        };
        Ok(End { position, place })
    }

    fn tell_tail(&self, message: TailMessage) {
        self.shared.tails[self.topic.owner()].put(message);
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
        if let Some(log) = self.topic.recent.lock().log.as_mut() {
            log.present_mut().note(entries);
            let bytes_max = self.shared.topic_bytes_max();
            for chunk in chunks.iter().rev().filter(|_| proven) {
                if !log.prepend(chunk, bytes_max) {
                    break;
                }
            }
        }
        Page { from: Some(from), chunks, anchored, whole }
    }
}

/// The position that a viewer stands at.
fn position_of(waiter: &Waiter) -> StreamId {
    match waiter.wants {
        Wants::After(after) => after,
        Wants::State | Wants::Retained | Wants::Gap { .. } => StreamId::ZERO,
    }
}

/// What a snapshot takes, about.
fn bytes_of(snapshot: &Snapshot) -> usize {
    let entries = snapshot.page.iter().chain(&snapshot.newest);
    let state = snapshot.state.as_ref().map_or(0, |state| state.bytes_len());
    entries.map(Entry::bytes_len).sum::<usize>() + state
}
