//! Every history of a plan: the workers' steps in any order, a pause, a trim, an attach anywhere, and
//! the re-read anywhere after it; and what its viewer got in the end.

use taskcast_core::id::StreamId;
use taskcast_core::seam::{Attach, Batch, Limits, Read, Reread, attach, reread};

use crate::judge;
use crate::plan::{Time, Update, plans};
use crate::world::World;

/// What a history's steps take at most, but for the pause.
const STEPS_MS: u64 = 20;

/// Which histories there are.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) updates: usize,
    pub(crate) workers: usize,
    pub(crate) times: &'static [Time],
    pub(crate) pause: bool,
    pub(crate) trim: bool,
    /// Somebody attached before.
    pub(crate) seen: bool,
    /// Updates are pushed after the attach as well.
    pub(crate) pushes_after: bool,
    /// The list is read after the stream, not in one step.
    pub(crate) stream_first: bool,
    /// How many updates and entries are read.
    pub(crate) updates_read: usize,
    pub(crate) entries_read: usize,
    /// How many updates are read again.
    pub(crate) updates_read_again: usize,
    pub(crate) limits: Limits,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            updates: 3,
            workers: 2,
            times: &[Time::Same, Time::Another, Time::None],
            pause: true,
            trim: true,
            seen: false,
            pushes_after: false,
            stream_first: false,
            updates_read: 32,
            entries_read: 32,
            updates_read_again: 32,
            limits: Limits::default(),
        }
    }
}

/// What was found.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) attaches: u64,
    pub(crate) histories: u64,
    pub(crate) losses: u64,
    pub(crate) repeats: u64,
    /// Repeats of the residual that cannot be decided: one entry came of two equal updates, one of
    /// which was pushed after the attach, without equal times.
    pub(crate) undecidable: u64,
    /// Losses of the residual where more was pushed since than is read again: the entry of an equal
    /// update that was not read is taken to be of one that is withheld.
    pub(crate) unseen: u64,
    /// Attaches in which the entry of an update that was not read counts: a residual.
    pub(crate) overtaken: u64,
    /// Updates that were told later although nothing came of them any more.
    pub(crate) delayed: u64,
    /// Updates that were told and came all the same, later than the wait.
    pub(crate) late: u64,
}

struct Search {
    run: Run,
    found: Found,
    first_wrong: Option<String>,
}

/// What a viewer was sent when he attached.
pub(crate) struct Attached {
    pub(crate) found: Attach,
    batch: Option<Batch>,
    pub(crate) position: StreamId,
    /// The updates that were read, by number.
    pub(crate) read: Vec<usize>,
    /// How many had been pushed.
    pub(crate) pushed: usize,
}

impl Run {
    /// Tries all, and says the first one that went wrong.
    pub(crate) fn all(self, name: &str) -> Found {
        let plans = plans(self.updates, self.workers, self.times);
        self.of(name, &plans)
    }

    pub(crate) fn of(self, name: &str, plans: &[Vec<Update>]) -> Found {
        let mut search = Search { run: self, found: Found::default(), first_wrong: None };
        plans.iter().for_each(|plan| search.before(&World::new(plan)));
        println!("{name}: {:?}", search.found);
        if let Some(wrong) = search.first_wrong {
            println!("the first one that went wrong: {wrong}");
        }
        search.found
    }
}

impl Search {
    /// Whatever may happen before the attach.
    fn before(&mut self, world: &World<'_>) {
        let updates_read = self.run.updates_read;
        for worker in 0..2 {
            world.step(worker, true).into_iter().for_each(|then| self.before(&then));
        }
        if world.list.is_empty() {
            return;
        }
        if self.run.pause && !world.paused {
            self.before(&world.pause());
        }
        if self.run.trim && !world.trimmed {
            (0..world.kept().len().min(2)).for_each(|kept| self.before(&world.trim(kept)));
        }
        if self.run.seen && !world.seen {
            self.before(&world.see(updates_read));
        }
        self.between(world, world);
    }

    /// What happens between reading the stream and the list.
    fn between(&mut self, stream: &World<'_>, world: &World<'_>) {
        self.attach(stream, world);
        if self.run.stream_first {
            for worker in 0..2 {
                let then = world.step(worker, true);
                then.into_iter().for_each(|then| self.between(stream, &then));
            }
        }
    }

    fn attach(&mut self, stream: &World<'_>, world: &World<'_>) {
        if self.is_overtaken(world) {
            self.found.overtaken += 1;
            return;
        }
        self.found.attaches += 1;
        let Run { updates_read, entries_read, limits, .. } = self.run;
        let read = Read {
            list: world.read_list(updates_read),
            entries: &stream.kept()[stream.kept().len().saturating_sub(entries_read)..],
            entries_total: stream.kept().len() as u64,
            now_ms: stream.now_ms,
            one_step: false,
        };
        let found = attach(&read, &world.memory, limits);
        let batch =
            Batch::of(&found, &read, stream.position(), &world.memory, |it| Some(it.clone()));
        let pushed = world.pushed.len();
        let read = world.pushed[pushed - read.list.updates.len()..].to_vec();
        let attached = Attached { found, batch, position: stream.position(), read, pushed };
        self.after(&attached, world);
    }

    /// Whether, of a cut list, an update is not among those that are read any more, but its entry is
    /// still on its way or among the few that count: newer updates were faster, or have no entries.
    fn is_overtaken(&self, world: &World<'_>) -> bool {
        let (unread, _) =
            world.pushed.split_at(world.list.len().saturating_sub(self.run.updates_read));
        let mut newest = world.added[world.gone..].iter().rev().take(self.run.limits.loose_max);
        let is_on_its_way =
            |number: &usize| world.plan[*number].has_entry && !world.added.contains(number);
        newest.any(|number| unread.contains(number)) || unread.iter().any(is_on_its_way)
    }

    /// What happens between the attach and the re-read; where nothing is withheld, all is said.
    fn after(&mut self, attached: &Attached, world: &World<'_>) {
        self.reread(attached, world);
        if attached.batch.is_some() {
            for worker in 0..2 {
                let then = world.step(worker, self.run.pushes_after);
                then.into_iter().for_each(|then| self.after(attached, &then));
            }
        }
    }

    /// The wait is over. All that workers still add comes later than it may.
    fn reread(&mut self, attached: &Attached, world: &World<'_>) {
        self.found.histories += 1;
        let shown = attached.found.shown.iter().map(|&at| attached.read[at]);
        let mut got: Vec<usize> = shown.collect();
        let (mut now_ms, mut read_again) = (world.now_ms, 0);
        if let Some(batch) = &attached.batch {
            now_ms = now_ms.max(batch.due_ms + STEPS_MS);
            let list = world.read_list(self.run.updates_read_again);
            read_again = world.list.len() - list.updates.len();
            let read = Reread::new(list, world.position());
            let told = reread(batch, &read, &world.told, self.run.limits);
            let place = |update| world.list.iter().position(|pushed| pushed == update);
            got.extend(told.iter().filter_map(place).map(|place| world.pushed[place]));
        }
        let shown_max = self.run.limits.shown_max;
        let wrong = judge::all(attached, world, (now_ms, read_again), &got, shown_max);
        self.found.losses += u64::from(wrong.losses > 0);
        self.found.repeats += u64::from(wrong.repeats > 0);
        self.found.undecidable += u64::from(wrong.undecidable > 0);
        self.found.unseen += u64::from(wrong.unseen > 0);
        self.found.late += wrong.late;
        self.found.delayed += wrong.delayed;
        if wrong.losses + wrong.repeats > 0 && self.first_wrong.is_none() {
            self.first_wrong = Some(format!(
                "{world:?}\nread {:?}, position {}, {:?}, got {got:?}, {wrong:?}",
                attached.read, attached.position, attached.found
            ));
        }
    }
}
