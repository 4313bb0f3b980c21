//! What a viewer is owed, and whether he got it: per class where updates of one class look the same.

use taskcast_core::seam::WAIT_MS;

use crate::plan::Time;
use crate::run::Attached;
use crate::world::World;

/// Updates that went wrong, or were late.
#[derive(Debug, Default)]
pub(crate) struct Wrong {
    pub(crate) losses: u64,
    pub(crate) repeats: u64,
    pub(crate) undecidable: u64,
    pub(crate) unseen: u64,
    pub(crate) late: u64,
    pub(crate) delayed: u64,
}

/// `got` is what was shown or told as a derived frame, `now_ms` is the time of the
/// re-read, which began at update number `read_again` of the list. Every entry behind the position
/// comes as well, whenever it is added.
pub(crate) fn all(
    attached: &Attached,
    world: &World<'_>,
    (now_ms, read_again): (u64, usize),
    got: &[usize],
    shown_max: usize,
) -> Wrong {
    let plan = world.plan;
    let comes = |number: usize| {
        let is_behind = |id| id > attached.position;
        plan[number].has_entry && world.entry_of(number).is_none_or(is_behind)
    };
    let is_late = |number: usize| {
        let added_ms = world.entry_of(number).map_or(now_ms + 1, |id| id.ms);
        comes(number) && added_ms - world.pushed_ms[number] >= WAIT_MS
    };
    // The newest of those that have not come in time are owed; of these, not those that come later.
    let has_come =
        |number: usize| comes(number) && world.entry_of(number).is_some() && !is_late(number);
    let left: Vec<usize> =
        attached.read.iter().copied().filter(|&number| !has_come(number)).collect();
    let owed = &left[left.len().saturating_sub(shown_max)..];

    let mut wrong = Wrong::default();
    // With the agent's times no two look the same.
    let all_differ = plan.iter().all(|update| update.time == Time::Same);
    let class_of = |number: usize| if all_differ { number } else { plan[number].class };
    for class in 0..plan.len() {
        let of_class = |number: &&usize| class_of(**number) == class;
        let count = |those: &[usize], is: &dyn Fn(usize) -> bool| {
            those.iter().filter(of_class).filter(|number| is(**number)).count()
        };
        let got = count(got, &|_| true);
        let owed = count(owed, &|number| !comes(number));
        let may = count(&attached.read, &|number| !comes(number));
        let late = count(&attached.read, &is_late);
        let losses = owed.saturating_sub(got) as u64;
        let pushed_unread = attached.pushed..read_again.max(attached.pushed);
        let has_come = |number| world.entry_of(number).is_some();
        let unseen = losses.min(count(&world.pushed[pushed_unread], &has_come) as u64);
        wrong.unseen += unseen;
        wrong.losses += losses - unseen;
        wrong.late += got.min(may + late).saturating_sub(may) as u64;
        let repeats = got.saturating_sub(may + late) as u64;
        let pushed_since = count(&world.pushed[attached.pushed..], &|_| true);
        let without_time = count(&world.pushed, &|number| plan[number].time != Time::Same);
        let undecidable = pushed_since > 0 && without_time > 0;
        if undecidable {
            wrong.undecidable += repeats;
        } else {
            wrong.repeats += repeats;
        }
    }
    // What was pushed since is owed as its entry, so that must not be before the position.
    let is_before =
        |number: &&usize| world.entry_of(**number).is_some_and(|id| id <= attached.position);
    wrong.losses += world.pushed[attached.pushed..].iter().filter(is_before).count() as u64;
    let withheld = attached.found.withheld.iter().map(|&at| attached.read[at]);
    wrong.delayed = withheld.filter(|&number| !comes(number)).count() as u64;
    wrong
}
