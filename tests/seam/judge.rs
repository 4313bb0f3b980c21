//! What a viewer is owed, and whether it got it: per class where updates of one class look the same.
//!
//! Every entry behind the viewer's position comes, whenever it is added. Of the updates that were read
//! for it, the newest ten of those that do not come in time are owed in the state or as derived frames.

use std::collections::BTreeMap;

use bytes::Bytes;
use taskcast::core::seam::WAIT_MS;

use crate::counts::Counts;
use crate::excuses::Excuses;
use crate::viewer::Viewer;
use crate::words::Times;
use crate::world::{Number, Update, World};

const SHOWN_MAX: usize = 10;

/// Updates that look the same to whoever compares what was written of them: their class, and their time
/// where all of the class have it in list and stream.
type Look = (usize, Option<i64>);

/// How often those of one look were owed, and came.
#[derive(Debug, Default)]
struct Account {
    owed: usize,
    /// They may be shown or told: their entries are not behind the position, or there are none.
    may: usize,
    /// The same, as their entries came later than the wait: that is a repeat that is allowed.
    late: usize,
    got: usize,
}

/// What is owed to a viewer, by what the workers did.
pub struct Truth<'a> {
    pub world: &'a World,
    pub viewer: &'a Viewer,
}

impl Truth<'_> {
    /// Whether its entry is sent to the viewer.
    pub fn comes(&self, number: Number) -> bool {
        self.world.updates[number].entry.is_some_and(|entry| entry >= self.viewer.place.entries)
    }

    pub fn comes_late(&self, number: Number) -> bool {
        let update = &self.world.updates[number];
        self.comes(number) && update.added_ms - update.pushed_ms >= WAIT_MS
    }

    pub fn comes_in_time(&self, number: Number) -> bool {
        self.comes(number) && !self.comes_late(number)
    }

    fn owed(&self) -> Vec<Number> {
        let left = self.viewer.place.list.iter().rev().copied();
        let newest = left.filter(|&number| !self.comes_in_time(number)).take(SHOWN_MAX);
        newest.filter(|&number| !self.comes(number)).collect()
    }

    /// What was shown, and told later.
    fn got(&self) -> Vec<Number> {
        let told = self.viewer.again.iter().flat_map(|again| &again.told);
        let told = told.filter(|_| !self.viewer.leaves);
        let any_of =
            |text: &Bytes| self.world.updates.iter().position(|update| update.text == *text);
        self.viewer.shown.iter().copied().chain(told.filter_map(any_of)).collect()
    }

    fn look(&self, number: Number) -> Look {
        let Update { class, time_us, .. } = self.world.updates[number];
        (class, time_us.filter(|_| self.world.times_of(class) != Times::Vary))
    }
}

/// Holds what a viewer got against what it was owed.
pub fn check(world: &World, viewer: &Viewer, counts: &mut Counts) -> Result<(), String> {
    let truth = Truth { world, viewer };
    if viewer.batch.is_some() && viewer.again.is_none() {
        return Err("nobody read again for a batch".into());
    }
    check_shown_at_once(&truth)?;
    check_waited_for(&truth)?;
    let mut looks: BTreeMap<Look, Account> = BTreeMap::new();
    // Of older ones nothing can come but entries.
    for &number in viewer.shown.iter().chain(&viewer.withheld) {
        let account = looks.entry(truth.look(number)).or_default();
        account.may += usize::from(!truth.comes(number));
        account.late += usize::from(truth.comes_late(number));
    }
    for number in truth.owed() {
        looks.entry(truth.look(number)).or_default().owed += 1;
    }
    for number in truth.got() {
        looks.entry(truth.look(number)).or_default().got += 1;
    }
    let (mut losses, mut repeats, mut late) = (Vec::new(), Vec::new(), 0);
    for ((class, _), Account { owed, may, late: may_be_late, got }) in looks {
        losses.extend((got..owed).map(|_| class));
        repeats.extend((may + may_be_late..got).map(|_| class));
        late += got.clamp(may, may + may_be_late) - may;
    }
    let told = viewer.again.as_ref().map_or(0, |again| again.told.len());
    for (what, number) in [
        ("viewers", 1),
        ("updates shown", viewer.shown.len()),
        ("updates withheld", viewer.withheld.len()),
        ("updates told later", told),
        ("repeat that is allowed, the entry came later than the wait", late),
    ] {
        counts.add_many(what, number);
    }
    check_pushed_since(&truth)?;
    if losses.is_empty() && repeats.is_empty() {
        return Ok(());
    }
    let mut excuses = Excuses::of(&truth);
    for class in repeats {
        let excuse = excuses.for_repeat(class);
        counts.add(excuse.ok_or(format!("a repeat in class {class}: {viewer:?}"))?);
    }
    for class in losses {
        let excuse = excuses.for_loss(class);
        counts.add(excuse.ok_or(format!("a loss in class {class}: {viewer:?}"))?);
    }
    Ok(())
}

/// What was pushed behind what was read is owed as its entry, so that must not be before the position.
fn check_pushed_since(truth: &Truth<'_>) -> Result<(), String> {
    let Truth { world, viewer } = truth;
    for number in viewer.place.pushed..world.updates.len() {
        if world.updates[number].entry.is_some() && !truth.comes(number) {
            return Err(format!("{number} is in neither: {viewer:?}"));
        }
    }
    Ok(())
}

/// An update has its time to come, whatever it looks like. Only a clock that jumps, or a list that is
/// deleted, cuts that short.
fn check_waited_for(truth: &Truth<'_>) -> Result<(), String> {
    let Truth { world, viewer } = truth;
    let is_cut_short = world.jumped_ms.is_some() || viewer.looks_like_a_dropped_one;
    let Some(again) = viewer.again.as_ref().filter(|_| !is_cut_short) else { return Ok(()) };
    let is_too_soon =
        |number: &&Number| world.updates[**number].pushed_ms + WAIT_MS > again.began_ms;
    match viewer.withheld.iter().find(is_too_soon) {
        Some(number) => Err(format!("{number} is told too soon: {viewer:?}")),
        None => Ok(()),
    }
}

/// What is proven is no reason to wait.
fn check_shown_at_once(truth: &Truth<'_>) -> Result<(), String> {
    let Truth { world, viewer } = truth;
    let is_proven = |number: &Number| {
        let is_read = |entry: &usize| viewer.read.contains(entry);
        let update = &world.updates[*number];
        let has_its_own = world.times_of(update.class) == Times::Tell;
        update.entry.filter(|entry| has_its_own && is_read(entry))
    };
    let is_old = |number: &&Number| {
        let update = &world.updates[**number];
        let came_ms = is_proven(number).map(|entry| world.entries[entry].id.ms);
        came_ms.is_some_and(|ms| ms + WAIT_MS <= viewer.now_ms) || update.is_long_ago(viewer.now_ms)
    };
    let newest_old = viewer.place.list.iter().rev().find(is_old).max(viewer.waited_for.as_ref());
    for number in &viewer.withheld {
        if is_proven(number).is_some() {
            return Err(format!("{number} has its entry, and is withheld: {viewer:?}"));
        }
        if newest_old.is_some_and(|old| number <= old) {
            return Err(format!("{number} is old, and is withheld: {viewer:?}"));
        }
        if each_has_its_entry(truth, world.updates[*number].class) {
            return Err(format!("all like {number} have entries, and it is withheld: {viewer:?}"));
        }
    }
    Ok(())
}

/// Whether all updates of a class have their entries among those that were compared.
fn each_has_its_entry(truth: &Truth<'_>, class: usize) -> bool {
    let Truth { world, viewer } = truth;
    let has_its_entry = |number: Number| {
        let entry = world.updates[number].entry.filter(|entry| viewer.compared.contains(entry));
        entry.is_some_and(|entry| world.may_be(&world.entries[entry], number))
    };
    let of_class = |number: &&Number| world.updates[**number].class == class;
    viewer.place.list.iter().filter(of_class).all(|&number| has_its_entry(number))
}
