//! Reading what is due: what one read gives of a stream goes to its topic, where the entry at the
//! topic's head proves that nothing is missing before it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::Tail;
use super::care::Care;
use super::due::{Group, Why};
use super::plan::{Candidate, ENTRIES_LEAST, ENTRIES_MIN, Load, Plan};
use crate::core::account::{Charge, Kind, Priority};
use crate::core::history::History;
use crate::id::StreamId;
use crate::log::source::Source;
use crate::log::tail::{Question, Read, ReadError, Told};
use crate::log::{LogError, SnapshotWants};
use crate::turn::Turn;

/// After so long the tail's other work has its turn, however much is left to read.
const READ_TURN: Duration = Duration::from_millis(50);

/// How long a read waits before it looks again whether there is room for its answer.
const ROOM_PAUSE: Duration = Duration::from_millis(10);

/// Where memory is spent, no read brings more, and what brings no more never waits.
const LITTLE_BYTES: usize = 512 * 1024;

/// Of a stream with much more, so many entries are read then.
const ENTRIES_FULL: usize = 32;

/// Where all of it is spent, only streams are read that bring no more than this.
const LEAST_BYTES: usize = 64 * 1024;

/// What came long ago waits so long at the most where much is held: the viewers take what they were
/// given first.
const PATIENCE: Duration = Duration::from_millis(100);

impl Tail {
    /// Reads what is due, until nothing is, or other work has its turn. Whether there was something
    /// to read.
    pub(super) async fn read_due(&mut self, source: &mut Source) -> Result<bool, LogError> {
        if self.due.is_empty() {
            return Ok(false);
        }
        if std::mem::take(&mut self.in_doubt) {
            source.renew_history().await?;
            self.history = source.history();
        }
        self.window.begin();
        let turn_ends = Instant::now() + READ_TURN;
        let mut keys = Vec::new();
        while !self.due.is_empty() && Instant::now() < turn_ends {
            match self.plan() {
                Some(plan) => self.read(source, plan).await?,
                None => self.wait(source, &mut keys).await?,
            }
            self.take_messages();
            // What changed meanwhile does not wait for all that is left of a stall.
            if !self.due.is_empty()
                && let Some(hinted) = source.hinted(&mut keys).now_or_never()
            {
                self.take_hints(hinted, &mut keys)?;
            }
        }
        if self.due.is_empty() {
            self.due.shrink_to(self.share.streams_max);
        }
        Ok(true)
    }

    /// Waits a little, or for a hint.
    async fn wait(&mut self, source: &mut Source, keys: &mut Vec<Bytes>) -> Result<(), LogError> {
        tokio::select! {
            // Dropped: the hints stay where they are until they are taken.
            hinted = source.hinted(keys) => self.take_hints(hinted, keys),
            // Dropped: whoever waits looks at the clock.
            () = sleep(ROOM_PAUSE) => Ok(()),
        }
    }

    /// What to read next; nothing where only such streams are due as wait for the viewers to take
    /// what they were given.
    fn plan(&mut self) -> Option<Plan> {
        let spent = self.shared.account.is_spent();
        // Where memory is tight, what may be large is read stream by stream: what is little does not
        // wait until all of that is, but for one of them.
        self.little_first = self.shared.account.is_tight() && !self.little_first;
        for group in self.group.then() {
            let streams_max = self.window.streams_of(group);
            let watched = &self.watched;
            let known = |key: &Bytes| watched.get(key).map(|it| (it.group(), it.load));
            let little = |load: Load| load.brings_at_most(LEAST_BYTES);
            let mut candidates = Vec::new();
            if self.little_first || spent {
                candidates = self.due.take(group, streams_max, known, little);
            }
            if candidates.is_empty() && !spent {
                candidates = self.due.take(group, streams_max, known, |_| true);
            }
            if candidates.is_empty() {
                continue;
            }
            let (bytes_max, entries_max) = self.brings_at_most(group);
            self.window.fit_in(bytes_max, entries_max);
            let mut plan = self.window.plan(group, candidates);
            let left = std::mem::take(&mut plan.left);
            self.due.put_back(group, left);
            if group == Group::Behind && self.is_patient(plan.bytes) {
                self.due.put_back(group, plan.streams);
                continue;
            }
            self.group = group;
            return Some(plan);
        }
        None
    }

    /// How many bytes one read of such streams may bring, and how many entries of each: whoever is live
    /// does not wait for what others hold. An entry may be larger than all before it, so where memory is
    /// tight few are asked for.
    fn brings_at_most(&self, group: Group) -> (usize, usize) {
        let account = &self.shared.account;
        if account.is_spent() {
            return (LEAST_BYTES, ENTRIES_LEAST);
        }
        match group {
            Group::Usual if account.is_tight() => (LITTLE_BYTES, ENTRIES_MIN),
            Group::Behind | Group::Alone if account.is_full() => (LITTLE_BYTES, ENTRIES_FULL),
            _ => (self.shared.config.limits.tail_read_bytes_max, usize::MAX),
        }
    }

    /// Whether much that came long ago is to wait still, as much is held.
    fn is_patient(&mut self, bytes: usize) -> bool {
        if bytes > LITTLE_BYTES && self.shared.shrink_for_bulk() {
            let until = *self.patient_until.get_or_insert_with(|| Instant::now() + PATIENCE);
            if Instant::now() < until {
                return true;
            }
        }
        self.patient_until = None;
        false
    }

    /// Reads these streams once.
    async fn read(&mut self, source: &mut Source, plan: Plan) -> Result<(), LogError> {
        let Some(charge) = self.room(plan.bytes).await else {
            self.due.put_back(self.group, plan.streams);
            return Ok(());
        };
        let (now, history) = (Instant::now(), source.history());
        // Each stream is read by nobody else until its answer is taken in.
        let (mut questions, mut whys, mut turns) = (Vec::new(), Vec::new(), Vec::new());
        for Candidate { key, why, .. } in plan.streams {
            if let Some((question, turn)) = self.question(&key, why, now, history) {
                questions.push(question);
                whys.push(why);
                turns.push(turn);
            }
        }
        if questions.is_empty() {
            return Ok(());
        }
        self.shared.metrics.tail_reads.fetch_add(1, Relaxed);
        source.charge(charge);
        let reads = self.ask(source, &questions, plan.entries).await;
        let charge = source.take_charge();
        match reads {
            Ok(reads) => {
                let asked = Asked { questions, whys, turns, history };
                self.take_reads(asked, reads, charge).await
            }
            Err(ReadError::CutOff(error)) => {
                self.was_cut_off(&questions);
                Err(LogError::Unavailable(error))
            }
            Err(ReadError::Unavailable(error)) => Err(LogError::Unavailable(error)),
            Err(ReadError::Refused(error)) => {
                self.all_refused(&questions, &error);
                Ok(())
            }
        }
    }

    /// Room for so many bytes; none where memory is spent meanwhile, and less has to be read. More
    /// than there ever is room for is read outside of the account.
    async fn room(&self, bytes: usize) -> Option<Charge> {
        let account = &self.shared.account;
        self.shared.shrink_if_tight();
        if account.exceeds(bytes) {
            return Some(account.outside(Kind::Answers));
        }
        // So little makes no difference.
        if bytes <= LITTLE_BYTES {
            return Some(account.charge(Kind::Answers, bytes));
        }
        let room = account.reserve(Kind::Answers, bytes, Priority::Live);
        if room.is_none() {
            sleep(ROOM_PAUSE).await;
        }
        room
    }

    async fn ask(
        &self,
        source: &mut Source,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, ReadError> {
        let care = |question: &Question| self.watched.get(&question.key).map(|it| it.care);
        if let [question] = questions
            && care(question) == Some(Care::EntryByEntry)
        {
            let head = self.watched.get(&question.key).and_then(|watched| watched.topic.head());
            let head = head.unwrap_or_default();
            let mut read = source.read_one(question, head).await?;
            self.find_facts(question, head, source.history(), &mut read).await;
            return Ok(vec![read]);
        }
        source.read(questions, entries_max).await
    }

    /// What a stream tells of itself whose entries are too large to be asked for twice. The facts
    /// say whether anything is missing, and are small. They are read after the entry: what is taken
    /// out in between makes them look worse, never better.
    async fn find_facts(
        &self,
        question: &Question,
        head: StreamId,
        history: History,
        read: &mut Read,
    ) {
        let Read::Entries { entries, told, .. } = read else { return };
        if entries.first().is_none_or(|first| first.id == head) {
            return;
        }
        let facts = self.log().snapshot(&question.thread, SnapshotWants::default()).await;
        if let Ok(snapshot) = facts
            && snapshot.history.goes_on(history)
        {
            *told = Told::Facts(snapshot.stream);
        }
    }

    /// What to ask of a stream; nothing where it is not watched, it is not known from where on, or
    /// somebody else reads it now.
    fn question(
        &mut self,
        key: &Bytes,
        why: Why,
        now: Instant,
        history: History,
    ) -> Option<(Question, Turn)> {
        let watched = self.watched.get_mut(key)?;
        let topic = &watched.topic;
        let turn = Turn::for_tail(&self.shared, topic)?;
        let (head, length_is_enough) = {
            let recent = topic.recent.lock();
            let head = recent.log.as_ref()?.head();
            (head, recent.needs_no_facts(head, history))
        };
        watched.read_at = now;
        let small = watched.has_small_entries();
        let asks_facts = if watched.in_doubt || !length_is_enough {
            small || watched.large_facts
        } else {
            // Even the script has Redis copy the first and the last entry.
            small && self.spare_facts.take(why, now, &mut watched.spare_facts)
        };
        let question = Question {
            thread: topic.thread.clone(),
            key: topic.key.clone(),
            after: head.predecessor(),
            asks_facts,
            large_facts: watched.large_facts,
        };
        Some((question, turn))
    }
}

/// What was asked.
pub(super) struct Asked {
    pub(super) questions: Vec<Question>,
    pub(super) whys: Vec<Why>,
    pub(super) turns: Vec<Turn>,
    /// Where.
    pub(super) history: History,
}
