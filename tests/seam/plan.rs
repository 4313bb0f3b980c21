//! What may happen in a history, at random.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use crate::server::Layout;
use crate::words::{Form, Time};

/// What each worker's clock may be ahead by.
const CLOCKS_AHEAD_MS: [i64; 5] = [0, 300, 7_000, 3_600_000, -3_600_000];

pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What a rule that sees list and stream only cannot tell from something else: each is in no other
/// histories than its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// Entries of which the list has nothing.
    Strays,
    /// The list is deleted and begun again.
    ListDropped,
    /// The stream's clock jumps ahead.
    ClockJumps,
    /// Publishers give ids that lie behind that clock.
    IdsBehind,
    /// A worker's clock is more than a day slow.
    DaySlow,
    /// Viewers are on another server when their batch is told.
    Leaves,
}

impl Residual {
    pub const ALL: [Self; 6] = [
        Self::Strays,
        Self::ListDropped,
        Self::ClockJumps,
        Self::IdsBehind,
        Self::DaySlow,
        Self::Leaves,
    ];
}

/// Updates of before: how many, and so far apart.
#[derive(Debug, Clone, Copy)]
pub struct Before {
    pub updates: usize,
    pub every_ms: u64,
    /// How many of them never get their entries.
    pub orphans: f64,
    /// How long ago they were.
    pub ago_ms: u64,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub layout: Layout,
    pub clocks_ahead_ms: Vec<i64>,
    pub times: Vec<Time>,
    /// How many classes there are, and how many of the updates say something of their own.
    pub classes: usize,
    pub unique: f64,
    /// None where each update is written in another form.
    pub form: Option<Form>,
    /// How many updates never get their entries.
    pub dies: f64,
    /// A worker takes long for its second step, and the others do not.
    pub has_slow_worker: bool,
    /// Most follows at once, and how much happens at most between attaches.
    pub is_quick: bool,
    pub steps: usize,
    pub before: Before,
    pub pauses: bool,
    /// The stream is read first, and then the list.
    pub stream_first: bool,
    /// How many attach; more than one where the server has seen the list before.
    pub attaches: usize,
    pub trims: bool,
    pub drops_stream: bool,
    /// Entries of other kinds and of child tasks.
    pub others: bool,
    /// The thread comes to have other tasks.
    pub begins_tasks: bool,
    /// The clock of the stream is set back.
    pub sets_back: bool,
    /// More is pushed between attach and re-read than is read again.
    pub bursts: bool,
    /// No copies are kept of what is withheld.
    pub without_copies: bool,
    pub residual: Option<Residual>,
    /// The log writes state and stream in one step.
    pub in_one_step: bool,
}

impl Plan {
    pub fn random(random: &mut StdRng) -> Self {
        let mut plan = Self::any(random);
        if random.random_bool(0.2) {
            // One who says the same again and again, mostly without a time, and has for long.
            plan.times = vec![Time::Neither, Time::Neither];
            plan.times.extend(times(random).into_iter().take(1));
            plan.classes = random.random_range(1..=4);
            plan.form = Some(Form::AGENTS);
            plan.before.updates = random.random_range(90..140);
        }
        plan
    }

    fn any(random: &mut StdRng) -> Self {
        let layout = *[Layout::Thread, Layout::Task].choose(random).unwrap();
        let workers = random.random_range(1..=3);
        let mut clocks = || *CLOCKS_AHEAD_MS.choose(random).unwrap();
        let clocks_ahead_ms = (0..workers).map(|_| clocks()).collect();
        let in_tasks = layout == Layout::Task;
        let is_quick = random.random_bool(0.2);
        Self {
            layout,
            clocks_ahead_ms,
            times: times(random),
            classes: random.random_range(1..=6),
            unique: *[0.0, 0.0, 0.3, 0.8].choose(random).unwrap(),
            form: random.random_bool(0.7).then_some(Form::AGENTS),
            dies: *[0.05, 0.2, 0.2, 0.5, 0.9].choose(random).unwrap(),
            has_slow_worker: is_quick || random.random_bool(0.1),
            is_quick,
            steps: if is_quick { 60 } else { 14 },
            before: Before::random(random),
            pauses: random.random_bool(0.3),
            stream_first: random.random_bool(0.3),
            attaches: if random.random_bool(0.5) { 1 } else { random.random_range(2..6) },
            trims: random.random_bool(0.3),
            drops_stream: random.random_bool(0.2),
            others: random.random_bool(0.3),
            begins_tasks: in_tasks && random.random_bool(0.15),
            sets_back: random.random_bool(0.1),
            bursts: random.random_bool(0.05),
            without_copies: random.random_bool(0.1),
            residual: None,
            in_one_step: false,
        }
    }

    /// What the embedded log can do.
    pub fn in_one_step(random: &mut StdRng) -> Self {
        Self {
            layout: Layout::Thread,
            stream_first: false,
            trims: false,
            drops_stream: false,
            others: false,
            begins_tasks: false,
            bursts: false,
            in_one_step: true,
            ..Self::of_agents(random)
        }
    }

    /// As the agent writes: one time for both.
    pub fn of_agents(random: &mut StdRng) -> Self {
        Self { times: vec![Time::Same], ..Self::random(random) }
    }

    pub fn with(residual: Residual, random: &mut StdRng) -> Self {
        let mut plan = Self { residual: Some(residual), ..Self::random(random) };
        if residual == Residual::DaySlow {
            plan.clocks_ahead_ms[0] = -(DAY_MS as i64) - 3_600_000;
        }
        plan
    }

    /// How soon a worker adds what it pushed.
    pub fn adds(&self, worker: usize) -> f64 {
        if self.has_slow_worker && worker == 0 { 0.05 } else { 0.6 }
    }

    pub fn form(&self, random: &mut StdRng) -> Form {
        self.form.unwrap_or_else(|| Form::random(random))
    }

    /// `others` says the same as no other one.
    pub fn class(&self, fresh: usize, random: &mut StdRng) -> usize {
        if random.random_bool(self.unique) { fresh } else { random.random_range(0..self.classes) }
    }
}

impl Before {
    fn random(random: &mut StdRng) -> Self {
        let updates = match random.random_range(0..20) {
            0..9 => 0,
            9..13 => random.random_range(1..16),
            13..17 => random.random_range(20..50),
            _ => random.random_range(90..140),
        };
        Self {
            updates,
            every_ms: *[2, 5, 40, 300].choose(random).unwrap(),
            orphans: *[0.0, 0.1, 0.5, 0.95].choose(random).unwrap(),
            ago_ms: *[1, 1, 1, 1_000, 2_500, DAY_MS + 20_000_000].choose(random).unwrap(),
        }
    }
}

fn times(random: &mut StdRng) -> Vec<Time> {
    const ALL: [Time; 6] =
        [Time::Same, Time::Seconds, Time::Another, Time::InUpdate, Time::InEntry, Time::Neither];
    match random.random_range(0..10) {
        0..4 => vec![*ALL.choose(random).unwrap()],
        4..7 => ALL.sample(random, 2).copied().collect(),
        7 => ALL.to_vec(),
        8 => vec![Time::Neither],
        _ => vec![Time::Same, Time::Same, Time::Neither],
    }
}
