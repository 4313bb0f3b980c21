//! Which update of a list has which entry of the stream, and where that cannot be told.

use std::collections::{HashMap, HashSet, VecDeque};

use super::said::{Class, Said, Told};

/// Times of an update and its entry that one worker's clock wrote differ by so much at most.
const APART_US_MAX: i64 = 2_000_000;

/// What a list's updates and a stream's entries say of each other.
pub(super) struct Pairs {
    /// For each update, whether it is proven to have its entry.
    pub(super) settled: Vec<bool>,
    /// For each update, whether that entry has its very time.
    pub(super) exact: Vec<bool>,
    /// Updates, each with an entry that came no sooner than it or an older update of the list.
    pub(super) pairs: Vec<(usize, usize)>,
}

impl Pairs {
    /// Both are oldest first. `loose` is the number of the first entry that may be compared without
    /// equal times.
    pub(super) fn of(updates: &[Said], entries: &[Told], loose: usize) -> Self {
        let (partners, taken) = exact_for_sure(updates, entries);
        let exact: Vec<bool> = partners.iter().map(Option::is_some).collect();
        let pairs = partners.iter().enumerate().filter_map(|(at, entry)| Some((at, (*entry)?)));
        let mut found = Self { settled: exact.clone(), exact, pairs: pairs.collect() };
        if found.pairs.len() == updates.len() {
            return found;
        }
        let rest: Vec<usize> = (loose..entries.len()).filter(|&entry| !taken[entry]).collect();
        let left = |at: &usize| partners[*at].is_none();
        let mut looked_at: Vec<Class> = Vec::new();
        for at in (0..updates.len()).filter(left) {
            let Some(class) = updates[at].class.filter(|class| !looked_at.contains(class)) else {
                continue;
            };
            looked_at.push(class);
            let is_ours = |at: &usize| left(at) && updates[*at].class == Some(class);
            let ours: Vec<usize> = (at..updates.len()).filter(is_ours).collect();
            found.add_loose(&ours, updates, &rest, entries, class);
        }
        found
    }

    /// Updates and entries of one class that have no exact partners.
    fn add_loose(
        &mut self,
        ours: &[usize],
        updates: &[Said],
        rest: &[usize],
        entries: &[Told],
        class: Class,
    ) {
        let fits = |entry: &usize| {
            let told = &entries[*entry];
            told.class == class && ours.iter().any(|&at| may_be(&updates[at], told))
        };
        let theirs: Vec<usize> = rest.iter().copied().filter(fits).collect();
        // Where there are fewer entries than updates, nothing tells which update lacks its own: of
        // two workers, the one that pushed last may add first.
        if all_have_one(ours, updates, &theirs, entries) {
            ours.iter().for_each(|&at| self.settled[at] = true);
        }
        // So many of these updates have their entries, so the oldest were pushed before them.
        self.pairs.extend(ours.iter().copied().zip(theirs));
    }
}

/// The entry of each update that says the same and has the same time, each entry for one update, the
/// oldest first; and which entries those are.
pub(super) fn exact(updates: &[Said], entries: &[Told]) -> (Vec<Option<usize>>, Vec<bool>) {
    let mut free: HashMap<(Class, i64), VecDeque<usize>> = HashMap::new();
    for (entry, told) in entries.iter().enumerate() {
        if let Some(at_us) = told.at_us {
            free.entry((told.class, at_us)).or_default().push_back(entry);
        }
    }
    let mut taken = vec![false; entries.len()];
    let partner = |said: &Said| {
        let found = free.get_mut(&(said.class?, said.at_us?))?.pop_front()?;
        taken[found] = true;
        Some(found)
    };
    (updates.iter().map(partner).collect(), taken)
}

/// The same, but for updates that say the same at the same time where not all of them have an entry:
/// nothing tells which has one.
fn exact_for_sure(updates: &[Said], entries: &[Told]) -> (Vec<Option<usize>>, Vec<bool>) {
    let (mut partners, mut taken) = exact(updates, entries);
    let is_left = |at: &usize| partners[*at].is_none() && updates[*at].at_us.is_some();
    let left: HashSet<Said> = (0..updates.len()).filter(is_left).map(|at| updates[at]).collect();
    for (partner, said) in partners.iter_mut().zip(updates) {
        if left.contains(said)
            && let Some(entry) = partner.take()
        {
            taken[entry] = false;
        }
    }
    (partners, taken)
}

/// Whether the times of an update and an entry of one class speak for one worker's writing both.
fn may_be(said: &Said, told: &Told) -> bool {
    said.at_us.zip(told.at_us).is_none_or(|(said, told)| said.abs_diff(told) <= APART_US_MAX as u64)
}

/// Whether the updates of one class can each have an entry of their own.
fn all_have_one(ours: &[usize], updates: &[Said], theirs: &[usize], entries: &[Told]) -> bool {
    if theirs.len() < ours.len() {
        return false;
    }
    let mut said: Vec<i64> = ours.iter().filter_map(|&at| updates[at].at_us).collect();
    let mut told: Vec<i64> = theirs.iter().filter_map(|&entry| entries[entry].at_us).collect();
    let without_time = theirs.len() - told.len();
    said.sort_unstable();
    told.sort_unstable();
    // Most pairs of those with times: in their order, as all may be equally far apart.
    let (mut at, mut entry, mut paired) = (0, 0, 0);
    while at < said.len() && entry < told.len() {
        let (ours, theirs) = (said[at], told[entry]);
        if ours.abs_diff(theirs) <= APART_US_MAX as u64 {
            paired += 1;
        }
        // The one that is too early for the other fits none of the later ones either.
        if theirs <= ours.saturating_add(APART_US_MAX) {
            entry += 1;
        }
        if ours <= theirs.saturating_add(APART_US_MAX) {
            at += 1;
        }
    }
    // Those without times go with anything.
    said.len() - paired <= without_time
}
