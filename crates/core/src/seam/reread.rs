//! What of the withheld updates is told, when the time is over in which their entries would have come.

use std::collections::HashMap;

use bytes::Bytes;

use super::Limits;
use super::attach::{Attach, Read};
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
        let withheld: Vec<_> = attach.withheld.iter().map(|&at| &read.list.updates[at]).collect();
        if withheld.is_empty() {
            return None;
        }
        Some(Self {
            position,
            due_ms: memory.old_at_ms(&read.list, read.now_ms),
            task_id: read.list.task_id.map(Bytes::copy_from_slice),
            withheld: withheld.iter().map(|&it| (Said::by_update(it), it.clone())).collect(),
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
        self.withheld.iter().map(|(_, update)| update.len() + size_of::<(Said, Bytes)>()).sum()
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
    // Of those that have the same time as well, the new ones come first: what they leave is of the
    // withheld.
    let pushed = pushed.iter().map(|update| Said::by_update(update));
    let withheld = batch.withheld.iter().map(|(said, _)| *said);
    let pushed_len = pushed.len();
    let updates: Vec<Said> = pushed.chain(withheld).collect();
    let (partners, taken) = exact(&updates, &came);

    // Entries of a class that more of them came of than new updates: they are of the withheld.
    let without_partner = |at: &usize| partners[*at].is_none();
    let surplus = |class: Class| {
        let of_class = |at: &usize| updates[*at].class == Some(class);
        let left = (0..came.len()).filter(|&at| !taken[at] && came[at].class == class).count();
        left.saturating_sub((0..pushed_len).filter(without_partner).filter(of_class).count())
    };
    let mut came_of: HashMap<Class, usize> = HashMap::new();
    let mut told = Vec::new();
    for at in (pushed_len..updates.len()).filter(without_partner) {
        if let Some(class) = updates[at].class.filter(|_| are_all) {
            let left = came_of.entry(class).or_insert_with(|| surplus(class));
            if *left > 0 {
                *left -= 1;
                continue;
            }
        }
        told.push(batch.withheld[at - pushed_len].1.clone());
    }
    told.split_off(told.len().saturating_sub(limits.shown_max))
}
