//! What of the withheld updates is told, when the time is over in which their entries would have come.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::OnceLock;

use bytes::Bytes;

use super::Limits;
use super::attach::{Attach, Other, Read};
use super::list::{List, Mark, Stands, hash_of};
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
    pub(super) task_id: Option<Bytes>,
    withheld: Vec<Withheld>,
    others: Vec<Other>,
    newest: Mark,
    /// What all that were read are known by, in the thread layout.
    seen: Box<[u64]>,
}

/// An update that is withheld. Where there is no copy of it, it is looked for in the list that is read
/// again, and is not told where it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Withheld {
    said: Said,
    hash: u64,
    len: usize,
    copy: Option<Bytes>,
}

/// What was read again: the stream, and then, or in the same step, the list.
#[derive(Debug)]
pub struct Reread<'a> {
    list: List<'a>,
    position: StreamId,
    /// What is known of each update of the list, once a batch has asked for it: of large ones it takes
    /// long, and several batches ask.
    known: Vec<Known>,
}

#[derive(Debug, Default)]
struct Known {
    said: OnceLock<Said>,
    hash: OnceLock<u64>,
}

impl Withheld {
    fn is_as(&self, other: &Self) -> bool {
        (self.said, self.hash, self.len) == (other.said, other.hash, other.len)
    }

    /// Its bytes, where they are still to be had.
    fn bytes(&self, read: &Reread<'_>) -> Option<Bytes> {
        let updates = read.list.updates;
        let is_this = |at: &usize| updates[*at].len() == self.len && read.hash_at(*at) == self.hash;
        let in_list = || (0..updates.len()).rev().find(is_this).map(|at| updates[at].clone());
        self.copy.clone().or_else(in_list)
    }
}

impl<'a> Reread<'a> {
    /// The list's newest updates, at most [`UPDATES_READ_ON`](super::UPDATES_READ_ON), and the
    /// position of this read: who has everything up to it is told what is found.
    pub fn new(list: List<'a>, position: StreamId) -> Self {
        let known = list.updates.iter().map(|_| Known::default()).collect();
        Self { list, position, known }
    }

    fn said_at(&self, at: usize) -> Said {
        *self.known[at].said.get_or_init(|| Said::by_update(&self.list.updates[at]))
    }

    fn hash_at(&self, at: usize) -> u64 {
        *self.known[at].hash.get_or_init(|| self.list.hash_at(at))
    }
}

impl Batch {
    /// None where nothing is withheld: nothing is owed. `memory` is what was known before this read;
    /// `copy` gives the copy of an update that is to be kept, if any.
    pub fn of(
        attach: &Attach,
        read: &Read<'_>,
        position: StreamId,
        memory: &Memory,
        mut copy: impl FnMut(&Bytes) -> Option<Bytes>,
    ) -> Option<Self> {
        if attach.withheld.is_empty() {
            return None;
        }
        let list = &read.list;
        // There the oldest leave the list, and it takes many to know it again.
        let seen = if list.task_id.is_none() { list.hashes() } else { Box::default() };
        let withheld = attach.withheld.iter().zip(&attach.said).map(|(&at, &said)| {
            let update = &list.updates[at];
            let hash = seen.get(at).copied().unwrap_or_else(|| list.hash_at(at));
            Withheld { said, hash, len: update.len(), copy: copy(update) }
        });
        Some(Self {
            position,
            due_ms: memory.old_at_ms(list, read.now_ms),
            task_id: list.task_id.map(Bytes::copy_from_slice),
            withheld: withheld.collect(),
            others: attach.others.clone(),
            newest: list.newest()?,
            seen,
        })
    }

    /// Whether those of another batch are owed the very same, for the same reasons.
    pub fn is_as(&self, other: &Self) -> bool {
        let withheld = || self.withheld.iter().zip(&other.withheld);
        self.position == other.position
            && self.newest.is_surely(other.newest)
            && self.task_id == other.task_id
            && self.others == other.others
            && self.withheld.len() == other.withheld.len()
            && withheld().all(|(ours, theirs)| ours.is_as(theirs))
    }

    /// The newest update there was: once the batch was read again, all up to it are old.
    pub fn newest(&self) -> Mark {
        self.newest
    }

    /// Whether an update is withheld from it.
    pub fn withholds(&self, update: &Bytes) -> bool {
        let hash = hash_of(self.task_id.as_deref(), update);
        self.withheld.iter().any(|withheld| withheld.hash == hash)
    }

    /// Whether all that is withheld from another one is withheld from it too.
    pub fn covers(&self, other: &Self) -> bool {
        let is_here = |theirs: &Withheld| self.withheld.iter().any(|ours| ours.hash == theirs.hash);
        other.withheld.iter().all(is_here)
    }

    /// The copies of withheld updates, oldest first.
    pub fn copies(&self) -> impl Iterator<Item = &Bytes> {
        self.withheld.iter().filter_map(|withheld| withheld.copy.as_ref())
    }

    /// What the withheld updates say that an entry may say as well.
    pub(super) fn said(&self) -> impl Iterator<Item = (Class, Option<i64>)> {
        self.withheld
            .iter()
            .filter_map(|withheld| Some((withheld.said.class?, withheld.said.at_us)))
    }

    /// What it takes, without the copies, in bytes.
    pub fn bytes_len(&self) -> usize {
        self.withheld.len() * size_of::<Withheld>()
            + self.others.len() * size_of::<Other>()
            + size_of_val(&*self.seen)
    }

    /// Where in the list those begin that were pushed since, as far as they were read.
    fn pushed_since(&self, read: &Reread<'_>) -> usize {
        let list = &read.list;
        if list.task_id != self.task_id.as_deref() {
            // The thread has another task; of what this one pushed nothing is known.
            return list.updates.len();
        }
        match list.find_last(self.newest, &self.seen, |at| read.hash_at(at)) {
            Stands::At(at) => at + 1,
            Stands::Before | Stands::Nowhere => 0,
        }
    }
}

/// The withheld updates that are told as derived frames, oldest first: those that did not come as
/// entries. Where that cannot be told, one more is told rather than one less; but an entry is taken to
/// be of a withheld update that says the same, unless a newer one was read that does.
///
/// `entries` are those that came behind the batch's position, all of them up to this read's, or what a
/// [`Sieve`](super::Sieve) left of them. What is before that may be there as well.
pub fn reread(batch: &Batch, read: &Reread<'_>, entries: &[Told], limits: Limits) -> Vec<Bytes> {
    let pushed_from = batch.pushed_since(read);
    let (behind, up_to) = (batch.position, read.position);
    let is_new = |told: &&Told| told.id > behind && told.id <= up_to;
    let is_ours = |told: &&Told| told.is_of(batch.task_id.as_deref());
    let came: Vec<Told> = entries.iter().filter(is_new).filter(is_ours).copied().collect();
    // Of those that have the same time as well, the new ones and those that nobody was given come
    // first: what they leave is of the withheld, and only then of those that were shown.
    let pushed = (pushed_from..read.list.updates.len()).map(|at| (read.said_at(at), true));
    let others = |are_shown| batch.others.iter().filter(move |other| other.is_shown == are_shown);
    let first = others(false).map(|other| (other.said, other.may_come));
    let (mut updates, may_come): (Vec<Said>, Vec<bool>) = pushed.chain(first).unzip();
    updates.extend(batch.withheld.iter().map(|withheld| withheld.said));
    let withheld = may_come.len()..updates.len();
    updates.extend(others(true).map(|other| other.said));
    let (partners, taken) = exact(&updates, &came);

    // Of a class, entries beyond one for each of the others are of the withheld.
    let mut surplus: HashMap<Class, usize> = HashMap::new();
    for (told, _) in came.iter().zip(&taken).filter(|(_, taken)| !**taken) {
        *surplus.entry(told.class).or_default() += 1;
    }
    // What one takes may be of another one that is withheld: of one with the same time, or of any.
    let mut in_doubt_with: HashMap<(Class, Option<i64>), usize> = HashMap::new();
    for (at, said) in updates.iter().enumerate() {
        let Some(class) = said.class else { continue };
        let is_other = may_come.get(at).is_some_and(|may_come| *may_come);
        let time = match partners[at] {
            Some(_) => said.at_us,
            None if is_other && take(&mut surplus, class) => None,
            None => continue,
        };
        *in_doubt_with.entry((class, time)).or_default() += 1;
    }
    let mut told = Vec::new();
    let mut in_doubt = 0;
    for at in withheld.filter(|&at| partners[at].is_none()) {
        let Said { class, at_us } = updates[at];
        if class.is_some_and(|class| take(&mut surplus, class)) {
            in_doubt += 1;
            continue;
        }
        told.push(&batch.withheld[at - may_come.len()]);
        let is_doubted = |class| {
            let timed = at_us.is_some() && take(&mut in_doubt_with, (class, at_us));
            timed || take(&mut in_doubt_with, (class, None))
        };
        in_doubt += usize::from(class.is_some_and(is_doubted));
    }
    // Of an entry that is of one or another update, the other one is told, or both: it takes no one's
    // place.
    let told = told.split_off(told.len().saturating_sub(limits.shown_max + in_doubt));
    told.into_iter().filter_map(|withheld| withheld.bytes(read)).collect()
}

/// One of those that are left of a kind.
fn take<K: Eq + Hash>(left: &mut HashMap<K, usize>, of: K) -> bool {
    let left = left.get_mut(&of).filter(|left| **left > 0);
    left.map(|left| *left -= 1).is_some()
}
