//! Of the entries that come behind the positions of batches, those that matter for them: a bounded
//! number of the newest, whatever the stream does.
//!
//! Entries are looked at one by one, as they are read. They are kept by class, and where a withheld
//! update of that class has the same time, by class and time: of each of these kinds the newest
//! [`EACH_MAX`]. Nothing else of them matters, for every batch the sieve is for:
//!
//! Of a batch's class, let there be `u` updates in all (pushed since, others, withheld), `w` of them
//! withheld. A verdict depends on entries by two counts only: for each withheld time `t`, how many have
//! that very time, of which at most `u` find a partner; and for each class how many find no partner,
//! less the others that have none, of which at most `w` cancel a withheld update. `EACH_MAX` is at
//! least `u + w`. Say that an entry behind the batch's position was dropped. Then `EACH_MAX` newer ones
//! of its kind were kept, which are behind the position as well. So:
//!
//! - If it has the time `t`, those kept are enough for all `u` updates, and for each withheld update of
//!   that time there is a partner, with and without the dropped entry. If its time is no withheld
//!   one's, it is no withheld update's partner.
//! - Of the class, at least `u + w` entries are kept. Each is a partner, or stands against one of
//!   the others without a partner, for at most `u` updates; so at least `w` are left, which cancel all
//!   the withheld that have no partner. The dropped one could not cancel more.
//!
//! Where none of a batch's class was dropped, nothing has changed for it. What was dropped and is not
//! behind a batch's position does not count for it at all. Entries that are of another task count for
//! some batches only, so each task has its own.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::UPDATES_READ_ON;
use super::reread::Batch;
use super::said::{Class, Told};

/// As many as there are updates to which an entry may belong, and the withheld once more: those that
/// were read for the batch, at most [`UPDATES_READ_ON`], and those that are read again, as many.
const EACH_MAX: usize = 3 * UPDATES_READ_ON as usize;

/// Entries that matter for some batches.
#[derive(Debug, Clone)]
pub struct Sieve {
    tasks: Vec<OfTask>,
    each_max: usize,
    /// How many are kept.
    number: usize,
}

/// Those that may be of one task's updates.
#[derive(Debug, Clone)]
struct OfTask {
    task_id: Option<Bytes>,
    classes: HashMap<Class, OfClass>,
}

/// Oldest first.
#[derive(Debug, Clone, Default)]
struct OfClass {
    /// With the time of a withheld update.
    at_us: HashMap<i64, VecDeque<Told>>,
    others: VecDeque<Told>,
}

impl Default for Sieve {
    fn default() -> Self {
        Self::of_each(EACH_MAX)
    }
}

impl Sieve {
    /// For no batch yet, so many entries of each kind.
    pub(super) fn of_each(each_max: usize) -> Self {
        Self { tasks: Vec::new(), each_max, number: 0 }
    }

    /// For this batch, too, behind whose position the next entry comes.
    pub fn add(&mut self, batch: &Batch) {
        let found = self.tasks.iter().position(|task| task.task_id == batch.task_id);
        let at = found.unwrap_or_else(|| {
            let task_id = batch.task_id.clone();
            self.tasks.push(OfTask { task_id, classes: HashMap::new() });
            self.tasks.len() - 1
        });
        for (class, at_us) in batch.said() {
            let of_class = self.tasks[at].classes.entry(class).or_default();
            if let Some(at_us) = at_us {
                of_class.at_us.entry(at_us).or_default();
            }
        }
    }

    /// For these batches alone.
    pub fn retain<'a>(&mut self, batches: impl IntoIterator<Item = &'a Batch>) {
        let mut only = Self::of_each(self.each_max);
        batches.into_iter().for_each(|batch| only.add(batch));
        self.tasks.retain_mut(|task| {
            let Some(needed) = only.tasks.iter().find(|it| it.task_id == task.task_id) else {
                return false;
            };
            task.classes.retain(|class, _| needed.classes.contains_key(class));
            true
        });
        let kept = |of_class: &OfClass| {
            of_class.others.len() + of_class.at_us.values().map(VecDeque::len).sum::<usize>()
        };
        self.number = self.tasks.iter().flat_map(|task| task.classes.values()).map(kept).sum();
    }

    /// The next entry.
    pub fn take(&mut self, told: Told) {
        for task in &mut self.tasks {
            let Some(of_class) = task.classes.get_mut(&told.class) else { continue };
            if !told.is_of(task.task_id.as_deref()) {
                continue;
            }
            let at_its_time = told.at_us.and_then(|at_us| of_class.at_us.get_mut(&at_us));
            let kept = at_its_time.unwrap_or(&mut of_class.others);
            if kept.len() == self.each_max {
                kept.pop_front();
                self.number -= 1;
            }
            kept.push_back(told);
            self.number += 1;
        }
    }

    /// What is kept for a batch, and for others with the same classes, in no order.
    pub fn kept_for(&self, batch: &Batch) -> Vec<Told> {
        let Some(task) = self.tasks.iter().find(|task| task.task_id == batch.task_id) else {
            return Vec::new();
        };
        let classes: HashSet<Class> = batch.said().map(|(class, _)| class).collect();
        let kept = classes.iter().filter_map(|class| task.classes.get(class));
        kept.flat_map(|kept| kept.at_us.values().chain([&kept.others]).flatten()).copied().collect()
    }

    /// What it takes, in bytes.
    pub fn bytes_len(&self) -> usize {
        self.number * size_of::<Told>()
    }
}
