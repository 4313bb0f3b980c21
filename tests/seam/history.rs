//! One history: workers write, viewers attach, and what was withheld from them is read again.

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use taskcast::core::seam::{ENTRIES_READ, ENTRIES_READ_ON, UPDATES_READ, UPDATES_READ_ON, WAIT_MS};
use taskcast::log::{Snapshot, SnapshotWants};

use crate::counts::Counts;
use crate::desk::Desk;
use crate::judge;
use crate::plan::{Plan, Residual};
use crate::server::{Layout, Server};
use crate::viewer::{Again, Place, Viewer};
use crate::world::{Number, World};

/// The unique classes begin here.
const UNIQUE: usize = 1_000;

pub struct History<'a, S> {
    server: &'a mut S,
    plan: Plan,
    random: StdRng,
    world: World,
    desk: Desk,
    viewers: Vec<Viewer>,
    /// The newest update that was there when somebody attached who was told since what did not come.
    waited_for: Option<Number>,
}

impl<'a, S: Server> History<'a, S> {
    pub fn new(server: &'a mut S, plan: Plan, seed: u64) -> Self {
        let world = World::new(plan.layout, &plan.clocks_ahead_ms, server);
        let random = StdRng::seed_from_u64(seed);
        Self {
            server,
            plan,
            random,
            world,
            desk: Desk::default(),
            viewers: Vec::new(),
            waited_for: None,
        }
    }

    /// What went wrong, with what happened.
    pub fn run(mut self, counts: &mut Counts) -> Result<(), (String, Vec<String>)> {
        let done = self.all(counts);
        done.map_err(|error| {
            let plan = format!("{:?}", self.plan);
            (error, [vec![plan], self.world.story].concat())
        })
    }

    fn all(&mut self, counts: &mut Counts) -> Result<(), String> {
        self.before();
        for _ in 0..self.plan.attaches {
            self.steps(0..self.plan.steps)?;
            self.attach()?;
        }
        if self.plan.bursts {
            self.burst();
        }
        while let Some(due_ms) = self.desk.due_ms() {
            self.steps(0..self.plan.steps)?;
            // The first one may have been read again meanwhile.
            if self.desk.due_ms() == Some(due_ms) {
                self.world.wait(due_ms.saturating_sub(self.world.went_ms));
                self.read_again()?;
            }
        }
        for worker in 0..self.world.workers.len() {
            self.world.wait(1);
            self.add_or_die(worker);
        }
        counts.add("histories");
        let Self { world, viewers, .. } = self;
        viewers.iter().try_for_each(|viewer| judge::check(world, viewer, counts))
    }

    fn before(&mut self) {
        let before = self.plan.before;
        for _ in 0..before.updates {
            if self.plan.in_one_step {
                self.publish();
                continue;
            }
            let worker = self.random.random_range(0..self.world.workers.len());
            self.push(worker);
            self.world.wait(1);
            if self.random.random_bool(before.orphans) {
                self.world.die(worker);
            }
            self.world.add(self.server, worker);
            self.world.wait(before.every_ms);
        }
        self.world.wait(before.ago_ms);
    }

    /// More than is read again, while somebody waits.
    fn burst(&mut self) {
        for _ in 0..self.random.random_range(95..130) {
            let worker = self.random.random_range(0..self.world.workers.len());
            self.add_or_die(worker);
            self.world.wait(1);
            self.push(worker);
            self.world.wait(1);
        }
    }

    fn push(&mut self, worker: usize) {
        let fresh = UNIQUE + self.world.updates.len();
        let class = self.plan.class(fresh, &mut self.random);
        let time = *self.plan.times.choose(&mut self.random).unwrap();
        let form = self.plan.form(&mut self.random);
        self.world.push(self.server, (worker, class, time, form));
    }

    /// State and stream in one step; or only the state.
    fn publish(&mut self) {
        if self.random.random_bool(self.plan.dies) {
            self.push(0);
            self.world.die(0);
            return;
        }
        let fresh = UNIQUE + self.world.updates.len();
        let class = self.plan.class(fresh, &mut self.random);
        let form = self.plan.form(&mut self.random);
        self.world.publish(self.server, class, form);
    }

    fn add_or_die(&mut self, worker: usize) {
        if self.random.random_bool(self.plan.dies) {
            self.world.die(worker);
        }
        self.world.add(self.server, worker);
    }

    fn steps(&mut self, number: std::ops::Range<usize>) -> Result<(), String> {
        for _ in 0..self.random.random_range(number) {
            self.step()?;
            let is_due = self.desk.due_ms().is_some_and(|due_ms| due_ms <= self.world.went_ms);
            if is_due && self.random.random_bool(0.5) {
                self.read_again()?;
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random.random_range(0..100) {
            0..4 if self.plan.trims => self.trim()?,
            4..6 if self.plan.drops_stream => self.drop_stream(),
            6..10 if self.plan.others => self.add_other(),
            10..12 if self.plan.begins_tasks => self.world.begin_task(self.server),
            12..14 if self.plan.sets_back => self.set_back(),
            14..20 if self.plan.residual.is_some() => self.residual(),
            20..23 => self.read_tail()?,
            _ => self.worker_step(),
        }
        Ok(())
    }

    /// A worker does its next step, some time after the last thing that happened.
    fn worker_step(&mut self) {
        let ms = match self.random.random_range(0..100) {
            _ if self.plan.is_quick && self.random.random_bool(0.9) => 1,
            0..60 => self.random.random_range(1..8),
            60..85 => self.random.random_range(20..120),
            85..97 => self.random.random_range(150..600),
            _ if self.plan.pauses => self.random.random_range(1_900..2_600),
            _ => 700,
        };
        self.world.wait(ms);
        let worker = self.random.random_range(0..self.world.workers.len());
        if self.plan.in_one_step {
            return self.publish();
        }
        match self.world.workers[worker].adds {
            None => self.push(worker),
            // Most take some time for it.
            Some(_) if self.random.random_bool(self.plan.adds(worker)) => self.add_or_die(worker),
            Some(_) => {}
        }
    }

    /// Whoever reads the stream has read what goes.
    fn trim(&mut self) -> Result<(), String> {
        self.read_tail()?;
        let kept = self.random.random_range(0..4);
        self.world.trim(self.server, kept);
        Ok(())
    }

    /// All who watch are told that the stream is another one: what they are owed begins anew.
    fn drop_stream(&mut self) {
        self.world.drop_stream(self.server);
        self.desk.begin_anew();
        self.viewers.clear();
    }

    fn add_other(&mut self) {
        let class = self.random.random_range(0..self.plan.classes);
        let is_childs = self.world.task_id(0).is_some() && self.random.random_bool(0.6);
        self.world.wait(1);
        self.world.add_other(self.server, is_childs.then_some(class));
    }

    fn set_back(&mut self) {
        let ms = *[50, 800, 3_600_000].choose(&mut self.random).unwrap();
        self.world.set_clock(-ms);
    }

    fn residual(&mut self) {
        match self.plan.residual {
            Some(Residual::Strays) => {
                let class = self.random.random_range(0..self.plan.classes);
                self.world.wait(1);
                self.world.add_stray(self.server, class);
            }
            Some(Residual::ListDropped) => self.world.drop_list(self.server),
            Some(Residual::ClockJumps) => {
                let ms = self.random.random_range(500..4_000);
                self.world.set_clock(ms);
            }
            Some(Residual::IdsBehind) => {
                let ms = *[0, 1_900, 5_000].choose(&mut self.random).unwrap();
                self.world.set_ids_behind(ms);
            }
            Some(Residual::DaySlow | Residual::Leaves) | None => {}
        }
    }

    /// As the server reads, but for the time.
    fn read(&mut self, wants: SnapshotWants) -> Result<Snapshot, String> {
        let mut snapshot = self.server.snapshot(wants);
        self.world.check(&snapshot)?;
        snapshot.now_ms = self.world.now_ms();
        Ok(snapshot)
    }

    /// What is new, without a state.
    fn read_tail(&mut self) -> Result<(), String> {
        let wants = SnapshotWants { updates_max: None, ..self.desk.wants(0, 0) };
        let snapshot = self.read(wants)?;
        self.desk.bring_to_end(&snapshot);
        Ok(())
    }

    /// Stream and list, in one step or one after the other.
    fn read_both(&mut self, wants: SnapshotWants) -> Result<(Snapshot, Place), String> {
        let stream_first = self.plan.stream_first;
        let updates_max = wants.updates_max.filter(|_| !stream_first);
        let mut snapshot = self.read(SnapshotWants { updates_max, ..wants })?;
        let (entries, stream_ms) = (self.world.entries.len(), self.world.went_ms);
        if stream_first {
            for _ in 0..self.random.random_range(0..5) {
                self.worker_step();
            }
            let wants = SnapshotWants { newest_max: 0, page: None, ..wants };
            snapshot.state = self.read(wants)?.state;
        }
        let (list, total) = (&self.world.list, self.world.list.len());
        let read = snapshot.state.as_ref().map_or(0, |state| state.updates.len());
        let list = list[total - read..].to_vec();
        let World { went_ms, updates, .. } = &self.world;
        let (now_ms, pushed) = (self.world.now_ms(), updates.len());
        Ok((snapshot, Place { now_ms, went_ms: *went_ms, stream_ms, entries, total, pushed, list }))
    }

    fn attach(&mut self) -> Result<(), String> {
        let wants = self.desk.wants(UPDATES_READ, ENTRIES_READ);
        let (mut snapshot, mut place) = self.read_both(wants)?;
        // What was read first will do where there is no second answer.
        if self.desk.reads_on(&snapshot) && self.random.random_bool(0.8) {
            for _ in 0..self.random.random_range(0..3) {
                self.worker_step();
            }
            let wants = self.desk.wants(UPDATES_READ_ON, ENTRIES_READ_ON);
            (snapshot, place) = self.read_both(wants)?;
        }
        self.desk.bring_to_end(&snapshot);
        let copies = !self.plan.without_copies;
        let (found, batch) = self.desk.settle(&mut snapshot, &place, copies);
        let mut viewer = Viewer::new(&self.world, place, &snapshot, &found, batch);
        viewer.leaves =
            self.plan.residual == Some(Residual::Leaves) && self.random.random_bool(0.5);
        viewer.without_copies = !copies;
        // In the thread layout that cannot always be known again.
        viewer.waited_for = self.waited_for.filter(|_| self.plan.layout == Layout::Task);
        let texts = |numbers: &[usize]| -> Vec<_> {
            numbers.iter().map(|number| self.world.updates[*number].text.clone()).collect()
        };
        let state = snapshot.state.unwrap_or_default();
        self.world.story.push(format!("a viewer attaches: {viewer:?}"));
        if state.updates != texts(&viewer.shown)
            || state.updates_total + viewer.withheld.len() as u64 != viewer.place.total as u64
        {
            return Err(format!("the state is {state:?}"));
        }
        if self.plan.in_one_step && !viewer.withheld.is_empty() {
            return Err("something is withheld, though its entry came in the same step".into());
        }
        self.viewers.push(viewer);
        Ok(())
    }

    fn read_again(&mut self) -> Result<(), String> {
        let (wants, began_ms) = (self.desk.wants_again(), self.world.went_ms);
        let (snapshot, place) = self.read_both(wants)?;
        self.desk.bring_to_end(&snapshot);
        if self.random.random_bool(0.3) {
            // More comes before it is judged.
            self.worker_step();
            self.worker_step();
            self.read_tail()?;
        }
        for (number, told) in self.desk.read_again(&snapshot, &place, began_ms) {
            self.world.story.push(format!("read again for {number}: {place:?}, told {told:?}"));
            for viewer in &mut self.viewers {
                if viewer.batch == Some(number) {
                    self.waited_for = viewer.place.list.last().copied();
                    viewer.again =
                        Some(Again { place: place.clone(), began_ms, told: told.clone() });
                }
            }
        }
        // Re-reads of one topic are so far apart.
        self.world.wait(WAIT_MS / 20);
        Ok(())
    }
}
