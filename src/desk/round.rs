//! A round of a desk: one read of the log, and the answers that it gives.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};

use super::answer::{End, States};
use super::missing::Next;
use super::page::Page;
use super::room::{Expected, Fits};
use super::{Waiter, tell};
use crate::core::account::Charge;
use crate::core::chunk::{After, Ended};
use crate::core::encode;
use crate::core::fanout::{Answer, Batch, Derived, Wants};
use crate::core::present::Version;
use crate::core::seam::{ENTRIES_READ_ON, UPDATES_READ, UPDATES_READ_ON};
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
    /// Somebody waits for the thread.
    pub(super) waits_for_thread: bool,
    /// The read brought the state, where there is one.
    pub(super) read_state: bool,
    /// The topic's epoch.
    pub(super) epoch: u32,
    /// What the page's first frame names as the entry before it.
    page_previous: StreamId,
    /// The end that is there, where the topic is at the stream's end.
    pub(super) ended: Option<Ended>,
    /// What those are told of it who come back behind it.
    pub(super) derived: Option<Arc<Derived>>,
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
            waits_for_thread: false,
            read_state: false,
            epoch: 0,
            page_previous: StreamId::ZERO,
            ended: None,
            derived: None,
            batch: None,
            version: 0,
        }
    }

    /// `charge` is what is held for the answer of the log.
    pub(super) async fn run(mut self, mut charge: Charge) -> Result<Next, LogError> {
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
        // Nobody is given what the topic does not have yet: should Redis lose it, nobody could tell.
        let up_to = if end.place.is_none() { self.topic.head() } else { None };
        let page = self.encode_page(wants, &snapshot, up_to.unwrap_or(StreamId::MAX));
        let mut states = States::default();
        let mut ahead = false;
        for waiter in std::mem::take(&mut self.waiting) {
            let too_early = page.is_too_early(waiter.attaching) || self.is_ahead(&waiter);
            if end.place.is_none() && too_early {
                self.ask_again(Waiter { needs_page: true, ..waiter });
                ahead = true;
                continue;
            }
            let after = match waiter.wants {
                Wants::State if !snapshot.thread_exists() => {
                    self.no_thread(&waiter);
                    continue;
                }
                Wants::State | Wants::Gap { .. } => {
                    self.answer_state(&waiter, &snapshot, &end, &mut states);
                    continue;
                }
                Wants::Retained => None,
                Wants::After(after) => Some(after),
            };
            // Without a stream only the state tells whether there is such a thread.
            if waiter.attaching && !snapshot.stream.exists && !self.read_state {
                self.ask_again(Waiter { needs_state: true, ..waiter });
            } else if waiter.attaching && !snapshot.thread_exists() {
                self.no_thread(&waiter);
            } else {
                self.answer_after(waiter, after, &snapshot.stream, &page, &end);
            }
        }
        if ahead {
            // Not at once: the tail is about to read.
            return Err(LogError::Unavailable("the tail is behind".into()));
        }
        Ok(match (self.left, self.waits_for_thread) {
            (true, _) => Next::AnotherRead,
            (false, true) => Next::Thread,
            (false, false) => Next::Nothing,
        })
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
        self.left |= self.keep(waiter);
    }

    /// A viewer goes on waiting. Whether it still does.
    pub(super) fn keep(&self, waiter: Waiter) -> bool {
        let desk = self.topic.desks.of(self.attaching);
        let mut desk = desk.lock();
        let waiting = desk.waiting.get_mut(&waiter.key());
        waiting.map(|waiting| *waiting = waiter).is_some()
    }

    /// What one read has to bring, so that it answers as many as possible.
    fn wants(&mut self) -> SnapshotWants {
        let recent = self.topic.recent.lock();
        let held = |position| recent.log.as_ref().is_some_and(|log| log.locate(position).is_some());
        let state = self.waiting.iter().any(|waiter| waiter.needs_state || !waiter.wants_page());
        let paged = |waiter: &&Waiter| match waiter.wants {
            Wants::After(_) => waiter.needs_page || !held(waiter.position()),
            Wants::Retained => true,
            Wants::State | Wants::Gap { .. } => false,
        };
        // The oldest position, so that one page serves as many as possible; but nobody is passed
        // over for ever.
        let overdue = |waiter: &&Waiter| waiter.passed_over > PASSED_OVER_MAX;
        let of_those = || self.waiting.iter().filter(paged);
        let first = of_those().filter(overdue).max_by_key(|waiter| waiter.passed_over);
        let first = first.or_else(|| of_those().min_by_key(|waiter| waiter.reads_from()));
        // What the topic lacks comes along, and whoever is ahead of it waits behind that. Of a state's
        // read, the newest entries are enough for that, unless they were not.
        let lacks_more = self.waiting.iter().any(|waiter| waiter.needs_page);
        let head = recent.log.as_ref().filter(|_| !state || lacks_more).map(TopicLog::head);
        let from = first.map(Waiter::reads_from).into_iter().chain(head).min();
        let its_own = first.filter(|first| from == Some(first.reads_from()));
        self.page_previous = its_own.map(Waiter::position).or(from).unwrap_or_default();
        let begins = recent.log.is_none() && self.topic.ends_within() > 0;
        let limits = &self.shared.config.limits;
        SnapshotWants {
            updates_max: state.then_some(UPDATES_READ),
            newest_max: if state || begins { self.topic.newest_max() } else { ENTRIES_JUDGED },
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
                let ended = self.topic.ended(&snapshot.newest);
                recent.begin(snapshot.stream, snapshot.history, ended);
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
        let stream = &snapshot.stream;
        let (epoch, log_end, mut position) = match &self.topic.recent.lock().log {
            Some(log) => {
                self.ended = log.ended(self.topic.ends_within());
                // Behind what is skipped all go on from what was sent last, as long as it is there.
                let is_there = stream.first.is_some_and(|first| first <= log.sent());
                let at_end = log.head() == stream.last_generated;
                let sent = (at_end && is_there).then_some(log.sent());
                (log.epoch(), log.end(), sent.unwrap_or(stream.last_generated))
            }
            None => return Err(LogError::Unavailable("the task was let go".into())),
        };
        self.epoch = epoch;
        let place = (brought != Brought::Behind).then_some(log_end);
        if place.is_none() {
            (self.ended, position) = (None, stream.last_generated);
        } else if self.read_state {
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
    fn encode_page(&self, wants: SnapshotWants, snapshot: &Snapshot, up_to: StreamId) -> Page {
        let Some(PageWants { from, .. }) = wants.page else { return Page::default() };
        let has = snapshot.page.partition_point(|entry| entry.id <= up_to);
        let entries = &snapshot.page[..has];
        let is_cut = has < snapshot.page.len();
        let whole = !snapshot.page_goes_on && !is_cut;
        let anchored = entries.first().is_some_and(|entry| entry.id == from);
        let entries = if anchored { &entries[1..] } else { entries };
        let account = &self.shared.account;
        let after = After { position: from, sent: self.page_previous };
        let chunks = encode::entries(account, &self.topic.thread, after, entries);
        let stream = &snapshot.stream;
        let nothing_was_taken_out = stream.entries_added == Some(stream.length);
        let proven = anchored || (from == StreamId::ZERO && nothing_was_taken_out);
        if let Some(log) = self.topic.recent.lock().log.as_mut() {
            log.present_mut().note(entries, &self.shared.config.sources.words);
            let bytes_max = self.shared.topic_bytes_max();
            for chunk in chunks.iter().rev().filter(|_| proven) {
                if !log.prepend(chunk, bytes_max) {
                    break;
                }
            }
        }
        Page { from: Some(from), previous: self.page_previous, chunks, anchored, whole, is_cut }
    }
}

/// What a snapshot takes, about.
fn bytes_of(snapshot: &Snapshot) -> usize {
    let entries = snapshot.page.iter().chain(&snapshot.newest);
    let state = snapshot.state.as_ref().map_or(0, |state| state.bytes_len());
    entries.map(Entry::bytes_len).sum::<usize>() + state
}
