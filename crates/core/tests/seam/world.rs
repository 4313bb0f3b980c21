//! A list, a stream, and the workers that write them: one state of one history.

use std::fmt;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::json;
use taskcast_core::entry::Entry;
use taskcast_core::id::StreamId;
use taskcast_core::seam::{List, Memory, Told};
use taskcast_core::timestamp;

use crate::plan::{Time, Update};

const BEGIN_MS: u64 = 1_718_000_000_000;
const TASK_ID: &[u8] = b"01TASK";

/// What each worker's clock is off by: no clock but the stream's decides.
const CLOCKS_OFF_MS: [i64; 2] = [7_000, -3_600_000];

/// A worker that pauses, pauses for so long.
const PAUSE_MS: u64 = 2_500;

#[derive(Clone)]
pub(crate) struct World<'a> {
    pub(crate) plan: &'a [Update],
    pub(crate) now_ms: u64,
    /// The updates that were pushed, oldest first, and what was written.
    pub(crate) pushed: Vec<usize>,
    pub(crate) list: Rc<Vec<Bytes>>,
    /// All entries there were, oldest first, of which update each is, and how many were trimmed.
    pub(crate) stream: Rc<Vec<Entry>>,
    pub(crate) added: Vec<usize>,
    pub(crate) gone: usize,
    /// What the entries say.
    pub(crate) told: Vec<Told>,
    pub(crate) pushed_ms: Vec<u64>,
    /// For each worker, the update that it comes to next.
    next: [usize; 2],
    /// The worker has pushed its update and comes to add it.
    adds: [bool; 2],
    pub(crate) paused: bool,
    pub(crate) trimmed: bool,
    pub(crate) memory: Memory,
    pub(crate) seen: bool,
}

impl<'a> World<'a> {
    pub(crate) fn new(plan: &'a [Update]) -> Self {
        Self {
            plan,
            now_ms: BEGIN_MS,
            pushed: Vec::new(),
            list: Rc::default(),
            stream: Rc::default(),
            added: Vec::new(),
            gone: 0,
            told: Vec::new(),
            pushed_ms: vec![0; plan.len()],
            next: [0, 1].map(|worker| first_from(plan, worker, 0)),
            adds: [false; 2],
            paused: false,
            trimmed: false,
            memory: Memory::default(),
            seen: false,
        }
    }

    pub(crate) fn read_list(&self, updates_read: usize) -> List<'_> {
        List {
            updates: &self.list[self.list.len().saturating_sub(updates_read)..],
            total: self.list.len() as u64,
            task_id: Some(TASK_ID),
        }
    }

    pub(crate) fn position(&self) -> StreamId {
        self.stream.last().map_or(StreamId::ZERO, |entry| entry.id)
    }

    /// The entries that are still there.
    pub(crate) fn kept(&self) -> &[Entry] {
        &self.stream[self.gone..]
    }

    pub(crate) fn entry_of(&self, update: usize) -> Option<StreamId> {
        let at = self.added.iter().position(|&added| added == update)?;
        Some(self.stream[at].id)
    }

    /// The worker's next step, where it has one; a push only where pushes are wanted.
    pub(crate) fn step(&self, worker: usize, pushes: bool) -> Option<Self> {
        let number = self.next[worker];
        if number == self.plan.len() || !self.adds[worker] && !pushes {
            return None;
        }
        let mut then = self.clone();
        then.now_ms += 1;
        let has_entry = self.plan[number].has_entry;
        if self.adds[worker] {
            then.add(number);
        } else {
            then.push(number);
        }
        then.adds[worker] = !self.adds[worker] && has_entry;
        if !then.adds[worker] {
            then.next[worker] = first_from(self.plan, worker, number + 1);
        }
        Some(then)
    }

    fn push(&mut self, number: usize) {
        self.pushed.push(number);
        self.pushed_ms[number] = self.now_ms;
        let mut update = json!({
            "message": self.message(number),
            "update_type": "progress",
            "metadata": null,
        });
        if let Some(time) = self.time_of(number, self.now_ms) {
            update["timestamp"] = time.into();
        }
        Rc::make_mut(&mut self.list).push(update.to_string().into());
    }

    fn add(&mut self, number: usize) {
        let id = StreamId { ms: self.now_ms, seq: 0 };
        let written_ms = match self.plan[number].time {
            Time::Another => self.now_ms,
            Time::Same | Time::Equal | Time::None => self.pushed_ms[number],
        };
        let mut fields: Vec<(Bytes, Bytes)> = vec![
            ("update_type".into(), "thread_update".into()),
            ("message".into(), self.message(number).into()),
            ("metadata".into(), "{}".into()),
            ("task_id".into(), TASK_ID.into()),
        ];
        fields.extend(self.time_of(number, written_ms).map(|t| ("timestamp".into(), t.into())));
        let entry = Entry { id, fields };
        self.told.extend(Told::by(&entry));
        Rc::make_mut(&mut self.stream).push(entry);
        self.added.push(number);
    }

    fn message(&self, number: usize) -> String {
        format!("message {}", self.plan[number].class)
    }

    fn time_of(&self, number: usize, ms: u64) -> Option<String> {
        let Update { time, worker, .. } = self.plan[number];
        match time {
            Time::None => None,
            Time::Equal => Some(timestamp::from_ms(BEGIN_MS)),
            Time::Same | Time::Another => {
                Some(timestamp::from_ms(ms.saturating_add_signed(CLOCKS_OFF_MS[worker])))
            }
        }
    }

    /// Everybody waits.
    pub(crate) fn pause(&self) -> Self {
        Self { now_ms: self.now_ms + PAUSE_MS, paused: true, ..self.clone() }
    }

    /// The stream keeps so many entries; none is left where it expires.
    pub(crate) fn trim(&self, kept: usize) -> Self {
        let gone = self.stream.len().saturating_sub(kept);
        Self { trimmed: true, gone, ..self.clone() }
    }

    /// Somebody attaches to this server, and what he saw is remembered.
    pub(crate) fn see(&self, updates_read: usize) -> Self {
        let mut then = self.clone();
        then.seen = true;
        then.memory.saw(&self.read_list(updates_read), self.now_ms);
        then
    }
}

fn first_from(plan: &[Update], worker: usize, from: usize) -> usize {
    (from..plan.len()).find(|&number| plan[number].worker == worker).unwrap_or(plan.len())
}

/// The history so far, for a failure's message.
impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, update) in self.plan.iter().enumerate() {
            writeln!(f, "{number}: {update:?}")?;
        }
        let since = |ms: &u64| ms.saturating_sub(BEGIN_MS);
        for &number in &self.pushed {
            write!(f, "push {number} at {}; ", since(&self.pushed_ms[number]))?;
        }
        for (number, entry) in self.added.iter().zip(self.stream.iter()) {
            write!(f, "add {number} at {}; ", since(&entry.id.ms))?;
        }
        write!(f, "{} trimmed; now {}", self.gone, since(&self.now_ms))
    }
}
