//! Losses and repeats that nobody who sees list and stream alone can tell from something else, as
//! `taskcast_core::seam` and ARCHITECTURE.md name them, each held against what makes it one.

use std::collections::BTreeSet;

use taskcast::core::seam::WAIT_MS;

use crate::judge::Truth;
use crate::viewer::Viewer;
use crate::words::Times;
use crate::world::{Added, Number, World};

/// A name, of which class (none is of any), and how often it may be used.
struct Excuse(&'static str, Option<usize>, usize);

pub struct Excuses {
    losses: Vec<Excuse>,
    repeats: Vec<Excuse>,
    /// Repeats that took the places of others.
    crowded: usize,
}

impl Excuses {
    pub fn of(truth: &Truth<'_>) -> Self {
        let classes: BTreeSet<usize> =
            truth.world.updates.iter().map(|update| update.class).collect();
        let looks_old = look_old(truth);
        let mut found = Self { losses: Vec::new(), repeats: Vec::new(), crowded: 0 };
        for class in classes {
            let of = Of { truth, class };
            of.losses(&mut found.losses, !looks_old.is_empty());
            of.repeats(&mut found.repeats);
        }
        found.repeats.extend(looks_old.into_iter().map(|name| Excuse(name, None, usize::MAX)));
        found
    }

    pub fn for_repeat(&mut self, class: usize) -> Option<&'static str> {
        let excuse = take(&mut self.repeats, class)?;
        self.crowded += 1;
        Some(excuse)
    }

    /// To be asked for behind all repeats.
    pub fn for_loss(&mut self, class: usize) -> Option<&'static str> {
        take(&mut self.losses, class).or_else(|| {
            self.crowded = self.crowded.checked_sub(1)?;
            Some("loss, a repeat takes its place among the newest")
        })
    }
}

fn take(excuses: &mut [Excuse], class: usize) -> Option<&'static str> {
    let fits = |Excuse(_, of, left): &&mut Excuse| *left > 0 && of.is_none_or(|of| of == class);
    let Excuse(name, _, left) = excuses.iter_mut().find(fits)?;
    *left -= 1;
    Some(name)
}

/// What there is of one class.
struct Of<'a> {
    truth: &'a Truth<'a>,
    class: usize,
}

impl Of<'_> {
    fn world(&self) -> &World {
        self.truth.world
    }

    fn viewer(&self) -> &Viewer {
        self.truth.viewer
    }

    /// Entries of the class that came between the viewer's position and that of the re-read.
    fn came(&self) -> impl Iterator<Item = &Added> {
        let from = self.viewer().place.entries;
        let to = self.viewer().again.as_ref().map_or(from, |again| again.place.entries);
        let of_class = |added: &&Added| added.class == self.class && self.is_of_task(added);
        self.world().entries[from..to].iter().filter(of_class)
    }

    fn is_of_task(&self, added: &Added) -> bool {
        added.task == self.viewer().task
    }

    fn is_read_again(&self, number: Number) -> bool {
        self.viewer().again.as_ref().is_some_and(|again| again.place.list.contains(&number))
    }

    fn is_pushed_since(&self, number: Number) -> bool {
        number >= self.viewer().place.pushed
    }

    /// It was pushed before, and was not read: newer ones were, or it has left the list.
    fn is_unread(&self, number: Number) -> bool {
        !self.is_pushed_since(number) && !self.viewer().place.list.contains(&number)
    }

    fn is_of_class(&self, number: &&Number) -> bool {
        self.world().updates[**number].class == self.class
    }

    /// Entries that were taken to be of a withheld update, and are of another one.
    fn losses(&self, found: &mut Vec<Excuse>, looks_old: bool) {
        let mut add = |name, number| found.push(Excuse(name, Some(self.class), number));
        let count = |is: &dyn Fn(Number) -> bool| {
            self.came().filter(|added| added.update.is_some_and(is)).count()
        };
        let is_withheld = |number| self.viewer().withheld.contains(&number);
        add(
            "loss, overtaken: an entry came of an equal update that was not read",
            count(&|number| self.is_unread(number)),
        );
        add(
            "loss, an entry came of an equal update that was pushed since and not read again",
            count(&|number| self.is_pushed_since(number) && !self.is_read_again(number)),
        );
        // What is read again may look like what was there before.
        let had_more = (self.viewer().place.pushed..self.world().updates.len())
            .any(|number| self.is_read_again(number) && !self.is_read_again(number - 1));
        let time_of = |number: Number| self.world().updates[number].time_us;
        let is_hidden = |number| {
            let of_class = self.viewer().withheld.iter().filter(|it| self.is_of_class(it));
            self.world().times_of(self.class) == Times::Vary
                || of_class.into_iter().any(|withheld| time_of(*withheld) == time_of(number))
        };
        add(
            "loss, more was pushed than is read again, and looks like what was there before",
            count(&|number| had_more && self.is_read_again(number) && is_hidden(number)),
        );
        let newest = self.viewer().place.list.last();
        let is_dropped = newest.is_some_and(|newest| self.world().is_dropped(*newest));
        add(
            "loss, the list was deleted, and the new one looks like what was there before",
            count(&|number| is_dropped && self.is_read_again(number)),
        );
        let was_there = |number| !self.is_pushed_since(number) && !is_withheld(number);
        add(
            "loss, an entry came of an equal update later than the wait",
            count(&|number| was_there(number) && self.truth.comes_late(number)),
        );
        add(
            "loss, an entry came of an equal update that looked old",
            count(&|number| was_there(number) && looks_old),
        );
        add("loss, a stray came", self.came().filter(|added| added.update.is_none()).count());
        let withheld = || self.viewer().withheld.iter().filter(|number| self.is_of_class(number));
        if self.viewer().without_copies {
            add(
                "loss, no copy is kept and the update has left the list",
                withheld().filter(|number| !self.is_read_again(**number)).count(),
            );
        }
        if self.viewer().leaves {
            add("loss, on another server when it was told", withheld().count());
        }
    }

    /// Entries that might have been of other updates.
    fn repeats(&self, found: &mut Vec<Excuse>) {
        let mut add = |name, number| found.push(Excuse(name, Some(self.class), number));
        let of_class = || counted(self.truth).filter(|added| added.class == self.class);
        let is_unread = |added: &Added| added.update.is_some_and(|it| self.is_unread(it));
        add(
            "repeat, overtaken: an equal update that was not read has its entry among the newest",
            of_class().filter(is_unread).count(),
        );
        add("repeat, a stray was there", of_class().filter(|it| it.update.is_none()).count());
        if self.world().times_of(self.class) == Times::Tell {
            return;
        }
        let Some(again) = &self.viewer().again else { return };
        let again = || again.place.list.iter().filter(|number| self.is_of_class(number));
        add(
            "repeat, undecidable: an equal update was pushed since",
            again().filter(|number| self.is_pushed_since(**number)).count(),
        );
        let oldest = self.viewer().oldest();
        let is_older = |number: &&Number| oldest.is_some_and(|oldest| **number < oldest);
        let list = || self.viewer().place.list.iter().filter(|number| self.is_of_class(number));
        add(
            "repeat, undecidable: an equal update was too old to be shown",
            list().filter(is_older).count(),
        );
    }
}

/// Entries that were read and may be taken to be of one or another update that was.
fn counted<'a>(truth: &'a Truth<'_>) -> impl Iterator<Item = Added> + 'a {
    let Truth { world, viewer } = truth;
    let counts = move |entry: &&usize| {
        let added = &world.entries[**entry];
        let is_compared = viewer.compared.contains(entry);
        viewer.place.list.iter().any(|&number| {
            let has_its_time = added.time_us.is_some_and(|us| {
                world.updates[number].time_us == Some(us) && world.may_be(added, number)
            });
            has_its_time || is_compared && world.may_be(added, number)
        })
    };
    viewer.read.iter().filter(counts).map(|&entry| world.entries[entry])
}

/// What makes updates look old that are not, whatever they say.
fn look_old(truth: &Truth<'_>) -> Vec<&'static str> {
    let Truth { world, viewer } = truth;
    let of = Of { truth, class: 0 };
    let mut found = Vec::new();
    let mut add = |name, is: bool| found.extend(is.then_some(name));
    let looks_old = |added: &Added| added.id.ms + WAIT_MS <= viewer.now_ms;
    let no_ones = |added: &Added| added.update.is_none_or(|number| of.is_unread(number));
    add(
        "repeat, an old entry of an update that was not read looks like a new one's",
        counted(truth).any(|added| looks_old(&added) && no_ones(&added)),
    );
    let since_ms = |ms: u64| viewer.place.stream_ms.saturating_sub(ms);
    let is_new = |number: &Number| since_ms(world.updates[*number].pushed_ms) < WAIT_MS;
    let read = || viewer.read.iter().map(|&entry| world.entries[entry]);
    add(
        "repeat, an id lies behind the clock",
        world.ids_were_behind
            && read().any(|added| looks_old(&added) && added.update.as_ref().is_some_and(is_new)),
    );
    add(
        "repeat, an update stands where one like it stood in a list that was deleted",
        viewer.looks_like_a_dropped_one,
    );
    add(
        "repeat, the clock jumped ahead",
        world.jumped_ms.is_some_and(|jumped_ms| since_ms(jumped_ms) < WAIT_MS),
    );
    add(
        "repeat, a worker's clock is a day slow",
        viewer
            .place
            .list
            .iter()
            .any(|number| is_new(number) && world.updates[*number].is_long_ago(viewer.now_ms)),
    );
    found
}
