//! A task's list and stream on a server, their naive counterparts, which know of which update each
//! entry is, and the workers that write them.

use std::collections::BTreeMap;

use bytes::Bytes;
use taskcast::id::StreamId;
use taskcast::log::Snapshot;
use taskcast::timestamp;

use crate::plan::DAY_MS;
use crate::server::{Command, Fields, Layout, Server};
use crate::words::{self, Form, Time, Times};

/// When a history begins, by all clocks that are right.
const BEGIN_MS: u64 = 1_718_000_000_000;

/// So many updates a list of the thread layout keeps (protocol §2).
pub const THREAD_UPDATES_KEPT: usize = 100;

/// The times of an update and its entry that one worker wrote are no further apart.
const APART_US_MAX: u64 = 2_000_000;

/// An update, by the order of the pushes.
pub type Number = usize;

#[derive(Debug)]
pub struct Update {
    pub class: usize,
    pub time: Time,
    /// What is in the list.
    pub text: Bytes,
    pub task: usize,
    pub pushed_ms: u64,
    /// The time that is written in it, in microseconds since the epoch.
    pub time_us: Option<i64>,
    /// Its entry, by number, where it has one; and when that was added.
    pub entry: Option<usize>,
    pub added_ms: u64,
    worker: usize,
    form: Form,
    time_text: Option<String>,
}

/// An entry of the stream that tells of an update.
#[derive(Debug, Clone, Copy)]
pub struct Added {
    pub id: StreamId,
    pub class: usize,
    pub time_us: Option<i64>,
    pub task: usize,
    /// None where the list has nothing of it.
    pub update: Option<Number>,
}

#[derive(Debug)]
pub struct Worker {
    /// By how much its clock is ahead.
    ahead_ms: i64,
    /// The update that it has pushed and comes to add.
    pub adds: Option<Number>,
}

pub struct World {
    pub layout: Layout,
    /// How much time went by.
    pub went_ms: u64,
    /// By how much the clock of the stream's server is ahead, and when that last grew.
    ahead_ms: i64,
    pub jumped_ms: Option<u64>,
    /// How far workers give ids behind that clock, and whether they ever did.
    ids_behind_ms: u64,
    pub ids_were_behind: bool,
    pub updates: Vec<Update>,
    /// Of each class.
    times: BTreeMap<usize, Times>,
    /// What the present task's list has, oldest first.
    pub list: Vec<Number>,
    /// Lists that were deleted.
    dropped: Vec<Vec<Number>>,
    /// All that ever told of updates, oldest first.
    pub entries: Vec<Added>,
    /// The first one of the present stream.
    pub begins: usize,
    last_id: StreamId,
    pub task: usize,
    pub workers: Vec<Worker>,
    /// How many timestamps were written: each has it in its microseconds, so that no two are equal.
    written: u64,
    /// What happened, to be shown.
    pub story: Vec<String>,
}

impl Update {
    /// Whether it is long ago by its own time.
    pub fn is_long_ago(&self, now_ms: u64) -> bool {
        self.time_us.is_some_and(|us| us < (now_ms - DAY_MS) as i64 * 1000)
    }
}

impl World {
    pub fn new(layout: Layout, clocks_ahead_ms: &[i64], server: &mut impl Server) -> Self {
        let worker = |&ahead_ms| Worker { ahead_ms, adds: None };
        let world = Self {
            layout,
            went_ms: 0,
            ahead_ms: 0,
            jumped_ms: None,
            ids_behind_ms: 0,
            ids_were_behind: false,
            updates: Vec::new(),
            times: BTreeMap::new(),
            list: Vec::new(),
            dropped: Vec::new(),
            entries: Vec::new(),
            begins: 0,
            last_id: StreamId::ZERO,
            task: 0,
            workers: clocks_ahead_ms.iter().map(worker).collect(),
            written: 0,
            story: Vec::new(),
        };
        server.clear();
        server.run(Command::Begin(world.task_id(0)));
        world
    }

    /// The clock of the stream's server.
    pub fn now_ms(&self) -> u64 {
        (BEGIN_MS + self.went_ms).saturating_add_signed(self.ahead_ms)
    }

    pub fn times_of(&self, class: usize) -> Times {
        self.times.get(&class).copied().unwrap_or(Times::Tell)
    }

    pub fn task_id(&self, task: usize) -> Option<String> {
        (self.layout == Layout::Task).then(|| format!("task-{task}"))
    }

    fn tell(&mut self, what: &str) {
        self.story.push(format!("{:>8} {what}", self.went_ms));
    }

    pub fn wait(&mut self, ms: u64) {
        self.went_ms += ms;
    }

    /// The clock of the stream's server is set.
    pub fn set_clock(&mut self, by_ms: i64) {
        self.ahead_ms += by_ms;
        if by_ms > 0 {
            self.jumped_ms = Some(self.went_ms);
        }
        self.tell(&format!("the clock is set by {by_ms}"));
    }

    /// From now on workers give ids that lie so far behind that clock.
    pub fn set_ids_behind(&mut self, ms: u64) {
        self.ids_behind_ms = ms;
        self.ids_were_behind |= ms > 0;
        self.tell(&format!("ids lie {ms} behind"));
    }

    /// A time as a worker writes it now.
    fn time_text(&mut self, worker: usize, is_whole: bool) -> String {
        let ms = (BEGIN_MS + self.went_ms).saturating_add_signed(self.workers[worker].ahead_ms);
        self.written += 1;
        if is_whole {
            return timestamp::from_ms(ms - ms % 1000);
        }
        let digits = format!("{:03}+00:00", self.written % 1000);
        timestamp::from_ms(ms).replace("+00:00", &digits)
    }

    /// The first step of a worker.
    pub fn push(
        &mut self,
        server: &mut impl Server,
        (worker, class, time, form): (usize, usize, Time, Form),
    ) {
        let update = self.update(worker, class, time, form);
        server.run(Command::Push(update));
    }

    /// An update that is in the list now.
    fn update(&mut self, worker: usize, class: usize, time: Time, form: Form) -> String {
        let time_text = match time {
            Time::InEntry | Time::Neither => None,
            Time::Same | Time::Another | Time::InUpdate => Some(self.time_text(worker, false)),
            Time::Seconds => Some(self.time_text(worker, true)),
        };
        let text = words::update(class, form, time_text.as_deref());
        let number = self.updates.len();
        self.tell(&format!("worker {worker} pushes {number}, {time:?}: {text}"));
        let times = self.times.entry(class).or_insert(Times::Tell);
        *times = Times::from(time).max(*times);
        self.updates.push(Update {
            class,
            time,
            text: text.clone().into(),
            task: self.task,
            pushed_ms: self.went_ms,
            time_us: time_text.as_deref().and_then(timestamp::parse_us),
            entry: None,
            added_ms: 0,
            worker,
            form,
            time_text,
        });
        self.list.push(number);
        if self.layout == Layout::Thread && self.list.len() > THREAD_UPDATES_KEPT {
            self.list.remove(0);
        }
        self.workers[worker].adds = Some(number);
        text
    }

    /// The second step of a worker.
    pub fn add(&mut self, server: &mut impl Server, worker: usize) {
        let Some(number) = self.workers[worker].adds.take() else { return };
        let (time_text, fields) = self.fields(number);
        let behind_ms = self.now_ms() - self.ids_behind_ms;
        let after = self.last_id.successor();
        let id = StreamId { ms: behind_ms, seq: 0 }.max(after);
        server.run(Command::Add(id, fields));
        self.added(number, id, time_text.as_deref());
    }

    /// Both steps in one, as the embedded log does them.
    pub fn publish(&mut self, server: &mut impl Server, class: usize, form: Form) {
        let update = self.update(0, class, Time::Same, form);
        let number = self.updates.len() - 1;
        let (time_text, fields) = self.fields(number);
        self.workers[0].adds = None;
        let id = server.run(Command::Publish(update, fields)).unwrap();
        self.added(number, id, time_text.as_deref());
    }

    /// What the entry of an update says, and its time.
    fn fields(&mut self, number: Number) -> (Option<String>, Fields) {
        let Update { time, worker, class, form, task, .. } = self.updates[number];
        let time_text = match time {
            Time::Same | Time::Seconds => self.updates[number].time_text.clone(),
            Time::Another | Time::InEntry => Some(self.time_text(worker, false)),
            Time::InUpdate | Time::Neither => None,
        };
        let fields = words::entry(class, form, time_text.as_deref(), self.task_id(task).as_deref());
        (time_text, fields)
    }

    fn added(&mut self, number: Number, id: StreamId, time_text: Option<&str>) {
        let went_ms = self.went_ms;
        let update = &mut self.updates[number];
        (update.entry, update.added_ms) = (Some(self.entries.len()), went_ms);
        let Update { class, task, worker, .. } = *update;
        let time_us = time_text.and_then(timestamp::parse_us);
        self.entries.push(Added { id, class, time_us, task, update: Some(number) });
        self.last_id = id;
        self.tell(&format!("worker {worker} adds {number} as {id}"));
    }

    /// The worker dies, or cannot add its entry, and another one goes on.
    pub fn die(&mut self, worker: usize) {
        if let Some(number) = self.workers[worker].adds.take() {
            self.tell(&format!("worker {worker} never adds {number}"));
        }
    }

    /// Entries that are of no update of this list: without a message, or a child task's.
    pub fn add_other(&mut self, server: &mut impl Server, class: Option<usize>) {
        let fields = match class {
            Some(class) => words::entry(class, Form::AGENTS, None, Some("child")),
            None => vec![("update_type", "status_change".to_owned())],
        };
        self.add_without_update(server, fields, "another one is added");
    }

    /// An entry like an update's, of which the list has nothing.
    pub fn add_stray(&mut self, server: &mut impl Server, class: usize) {
        let task = self.task_id(self.task);
        let fields = words::entry(class, Form::AGENTS, None, task.as_deref());
        let id = self.add_without_update(server, fields, "a stray is added");
        let (task, time_us) = (self.task, None);
        self.entries.push(Added { id, class, time_us, task, update: None });
    }

    fn add_without_update(
        &mut self,
        server: &mut impl Server,
        fields: Fields,
        what: &str,
    ) -> StreamId {
        let id = StreamId { ms: self.now_ms(), seq: 0 }.max(self.last_id.successor());
        self.last_id = id;
        self.tell(&format!("{what} as {id}: {fields:?}"));
        server.run(Command::Add(id, fields));
        id
    }

    pub fn trim(&mut self, server: &mut impl Server, kept: usize) {
        self.tell(&format!("the stream is trimmed to {kept}"));
        server.run(Command::Trim(kept));
    }

    pub fn drop_stream(&mut self, server: &mut impl Server) {
        self.tell("the stream expires");
        server.run(Command::DropStream);
        (self.begins, self.last_id) = (self.entries.len(), StreamId::ZERO);
    }

    pub fn drop_list(&mut self, server: &mut impl Server) {
        self.tell("the list is deleted");
        server.run(Command::DropList);
        self.dropped.push(std::mem::take(&mut self.list));
    }

    pub fn is_dropped(&self, number: Number) -> bool {
        self.dropped.iter().any(|list| list.contains(&number))
    }

    /// Whether an entry may be an update's for all that both say: one worker's clock wrote their times.
    pub fn may_be(&self, added: &Added, number: Number) -> bool {
        let Update { class, time_us, .. } = self.updates[number];
        let times = time_us.zip(added.time_us);
        class == added.class && times.is_none_or(|(ours, its)| ours.abs_diff(its) <= APART_US_MAX)
    }

    /// Whether an update stands where one stood in a list that was deleted, and is written as that.
    pub fn looks_like_a_dropped_one(&self, number: Number) -> bool {
        let text = |number: Number| &self.updates[number].text;
        let place = self.list.iter().position(|other| *other == number);
        let stood = |list: &Vec<Number>| Some(text(*list.get(place?)?));
        self.dropped.iter().filter_map(stood).any(|other| other == text(number))
    }

    pub fn begin_task(&mut self, server: &mut impl Server) {
        self.task += 1;
        self.list.clear();
        self.tell("another task begins");
        server.run(Command::Begin(self.task_id(self.task)));
    }

    /// What was read has to be what is there.
    pub fn check(&self, snapshot: &Snapshot) -> Result<(), String> {
        let read = snapshot.stream.last_generated;
        if read != self.last_id {
            return Err(format!("the stream ends at {}, not {read}", self.last_id));
        }
        let Some(state) = &snapshot.state else { return Ok(()) };
        let (there, read) = (self.list.iter().rev(), state.updates.iter().rev());
        let differs = |(number, read): (&Number, &Bytes)| self.updates[*number].text != *read;
        if state.updates_total != self.list.len() as u64 || there.zip(read).any(differs) {
            return Err(format!("the list is {:?}, not {state:?}", self.list));
        }
        Ok(())
    }
}
