//! What of the withheld updates is told, when the time is over in which their entries would have come.

use std::collections::HashMap;

use bytes::Bytes;

use super::Limits;
use super::attach::{Attach, Other, Read};
use super::list::{List, Mark, Stands};
use super::memory::Memory;
use super::pairs::exact;
use super::said::{Class, Said, Told};
use crate::id::StreamId;

/// What is kept of an attach for those who attached with it, until it is read again: at most the
/// updates that were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The position of the state that they were sent.
    pub position: StreamId,
    /// When it is to be read again, by the log's clock, in milliseconds since the epoch.
    pub due_ms: u64,
    /// In the task layout, whose list it was.
    task_id: Option<Bytes>,
    withheld: Vec<(Said, Bytes)>,
    others: Vec<Other>,
    newest: Mark,
}

/// What was read again: the stream, and then, or in the same step, the list.
#[derive(Debug, Clone, Copy)]
pub struct Reread<'a> {
    /// The newest updates.
    pub list: List<'a>,
    /// What came behind the batch's position: all of it up to this read's. What is before that may be
    /// there as well.
    pub entries: &'a [Told],
    /// The position of this read. Who has everything up to it is told what is found.
    pub position: StreamId,
}

impl Batch {
    /// None where nothing is withheld: nothing is owed. `memory` is what was known before this read.
    pub fn of(
        attach: &Attach,
        read: &Read<'_>,
        position: StreamId,
        memory: &Memory,
    ) -> Option<Self> {
        if attach.withheld.is_empty() {
            return None;
        }
        let withheld = attach.withheld.iter().map(|&at| read.list.updates[at].clone());
        Some(Self {
            position,
            due_ms: memory.old_at_ms(&read.list, read.now_ms),
            task_id: read.list.task_id.map(Bytes::copy_from_slice),
            withheld: attach.said.iter().copied().zip(withheld).collect(),
            others: attach.others.clone(),
            newest: read.list.newest()?,
        })
    }

    /// The newest update there was: once the batch was read again, all up to it are old.
    pub fn newest(&self) -> Mark {
        self.newest
    }

    /// The withheld updates, oldest first.
    pub fn withheld(&self) -> impl Iterator<Item = &Bytes> {
        self.withheld.iter().map(|(_, update)| update)
    }

    /// The withheld updates, in bytes.
    pub fn bytes_len(&self) -> usize {
        let others = self.others.len() * size_of::<Other>();
        let size = |update: &Bytes| update.len() + size_of::<(Said, Bytes)>();
        self.withheld.iter().map(|(_, update)| size(update)).sum::<usize>() + others
    }

    /// The updates that were pushed since, and whether those are all.
    fn pushed_since<'a>(&self, list: &List<'a>) -> (&'a [Bytes], bool) {
        if list.task_id != self.task_id.as_deref() {
            // The thread has another task; of what this one pushed nothing is known.
            return (&[], false);
        }
        match list.find(self.newest) {
            Stands::At(at) => (&list.updates[at + 1..], true),
            Stands::Before => (list.updates, false),
            Stands::Nowhere => (list.updates, !list.has_more()),
        }
    }
}

/// The withheld updates that are told as derived frames, oldest first: those that did not come as
/// entries. Where that cannot be told, one more is told rather than one less.
pub fn reread(batch: &Batch, read: &Reread<'_>, limits: Limits) -> Vec<Bytes> {
    let (pushed, are_all) = batch.pushed_since(&read.list);
    let (behind, up_to) = (batch.position, read.position);
    let is_new = |told: &&Told| told.id > behind && told.id <= up_to;
    let is_ours = |told: &&Told| told.is_of(batch.task_id.as_deref());
    let came: Vec<Told> = read.entries.iter().filter(is_new).filter(is_ours).copied().collect();
    // Of those that have the same time as well, the new ones and those that were not withheld come
    // first: what they leave is of the withheld.
    let pushed: Vec<Said> = pushed.iter().map(|update| Said::by_update(update)).collect();
    let may_come = pushed.iter().map(|_| true).chain(batch.others.iter().map(|it| it.may_come));
    let may_come: Vec<bool> = may_come.collect();
    let others = batch.others.iter().map(|other| other.said);
    let withheld = batch.withheld.iter().map(|(said, _)| *said);
    let updates: Vec<Said> = pushed.into_iter().chain(others).chain(withheld).collect();
    let (partners, taken) = exact(&updates, &came);

    // Of a class, entries beyond one for each of the others are of the withheld.
    let surplus = |class: Class| {
        let is_left = |at: &usize| partners[*at].is_none() && updates[*at].class == Some(class);
        let entries = (0..came.len()).filter(|&at| !taken[at] && came[at].class == class).count();
        let others = (0..may_come.len()).filter(|at| may_come[*at] && is_left(at)).count();
        entries.saturating_sub(others)
    };
    let mut came_of: HashMap<Class, usize> = HashMap::new();
    let mut told = Vec::new();
    let mut in_doubt = 0;
    for at in (may_come.len()..updates.len()).filter(|&at| partners[at].is_none()) {
        if let Some(class) = updates[at].class.filter(|_| are_all) {
            let left = came_of.entry(class).or_insert_with(|| surplus(class));
            if *left > 0 {
                *left -= 1;
                in_doubt += 1;
                continue;
            }
        }
        told.push(batch.withheld[at - may_come.len()].1.clone());
    }
    // Of an entry that is of one or another update, the other one is told: it takes no one's place.
    told.split_off(told.len().saturating_sub(limits.shown_max + in_doubt))
}
