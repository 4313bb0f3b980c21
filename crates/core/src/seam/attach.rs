//! What one read for a viewer proves: which updates `initial_state` shows, and which are withheld.

use super::list::List;
use super::memory::Memory;
use super::pairs::Pairs;
use super::said::{Said, Told};
use super::{Limits, WAIT_MS};
use crate::entry::Entry;
use crate::snapshot::Snapshot;
use crate::state::State;

/// An update whose own time is so long ago is old, however wrong its worker's clock is: this is the
/// task that ended long ago, whose stream has expired.
const LONG_AGO_US: i64 = 24 * 60 * 60 * 1_000_000;

/// What was read for a viewer: all in one step, or the stream before the list. (The list first loses
/// an update that is pushed and gets its entry in between: it is in neither, nor behind the position.)
#[derive(Debug, Clone, Copy)]
pub struct Read<'a> {
    /// The newest updates.
    pub list: List<'a>,
    /// The stream's newest entries, oldest first.
    pub entries: &'a [Entry],
    /// How many the stream has.
    pub entries_total: u64,
    /// The log's clock, in milliseconds since the epoch.
    pub now_ms: u64,
    /// State and stream change in one step: no entry is ever on its way.
    pub one_step: bool,
}

/// What becomes of the updates that were read. Numbers are places in the list as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attach {
    /// Those that are shown, oldest first.
    pub shown: Vec<usize>,
    /// Those that may come as entries and are told otherwise, oldest first.
    pub withheld: Vec<usize>,
    /// How many updates there are beside the withheld.
    pub updates_total: u64,
    /// Something is withheld, and list or stream have more that may prove it: it is worth to read
    /// [`UPDATES_READ_ON`](super::UPDATES_READ_ON) and [`ENTRIES_READ_ON`](super::ENTRIES_READ_ON),
    /// once.
    pub reads_on: bool,
    /// What the withheld say.
    pub(super) said: Vec<Said>,
    /// Others that say the same as some withheld ones, and may be what an entry of these words is of.
    pub(super) others: Vec<Other>,
}

/// An update that is not withheld, without an entry of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Other {
    pub(super) said: Said,
    /// It is older than those that are shown, and its entry may come in time as well.
    pub(super) may_come: bool,
    /// It is old. Of it and a withheld one that is equal in all, a viewer has both with one entry,
    /// whosever that is.
    pub(super) is_shown: bool,
}

impl<'a> Read<'a> {
    /// None where there is no state.
    pub fn of(snapshot: &'a Snapshot) -> Option<Self> {
        Some(Self {
            list: List::of(snapshot.state.as_ref()?),
            entries: &snapshot.newest,
            entries_total: snapshot.stream.length,
            now_ms: snapshot.now_ms,
            one_step: snapshot.one_step,
        })
    }
}

impl Attach {
    /// Leaves what is shown in the state that was read.
    pub fn leave_shown(&self, state: &mut State) {
        state.updates =
            self.shown.iter().filter_map(|&at| state.updates.get(at)).cloned().collect();
        state.updates_total = self.updates_total;
    }
}

/// Which updates are shown. Remember what was seen ([`Memory::saw`]) after it.
pub fn attach(read: &Read<'_>, memory: &Memory, limits: Limits) -> Attach {
    let list = &read.list;
    let len = list.updates.len();
    let seen_old = memory.old_in(list, read.now_ms);
    if seen_old == len || read.one_step {
        // Nothing was pushed for a while. Most often it is so, and costs nothing.
        let shown = (len.saturating_sub(limits.shown_max)..len).collect();
        return Attach { shown, updates_total: list.total, ..Attach::default() };
    }
    let updates: Vec<Said> = list.updates.iter().map(|update| Said::by_update(update)).collect();
    let is_ours = |told: &Told| told.is_of(list.task_id);
    let entries: Vec<Told> = read.entries.iter().filter_map(Told::by).filter(is_ours).collect();
    let loose = if list.is_cut() { entries.len().saturating_sub(limits.loose_max) } else { 0 };
    let Pairs { settled, exact, pairs } = Pairs::of(&updates, &entries, loose);

    // What stands before an update that is old is older.
    let waited = |entry: &usize| read.now_ms.saturating_sub(entries[*entry].id.ms) >= WAIT_MS;
    let with_old_entry = pairs.iter().filter(|(_, entry)| waited(entry)).map(|(at, _)| at + 1);
    let now_us = i64::try_from(read.now_ms).unwrap_or(i64::MAX).saturating_mul(1000);
    let is_long_ago = |said: &Said| said.at_us.is_some_and(|at| at < now_us - LONG_AGO_US);
    let long_ago = updates.iter().rposition(is_long_ago).map(|at| at + 1);
    let old = with_old_entry.chain(long_ago).chain([seen_old]).max().unwrap_or_default();

    let mut found = Attach::default();
    let mut walked = len;
    while walked > 0 && found.shown.len() < limits.shown_max {
        walked -= 1;
        let is_shown = settled[walked] || walked < old;
        if is_shown { found.shown.push(walked) } else { found.withheld.push(walked) }
    }
    found.shown.reverse();
    found.withheld.reverse();
    found.said = found.withheld.iter().map(|&at| updates[at]).collect();
    let says_the_same =
        |said: &Said| found.said.iter().any(|withheld| withheld.class == said.class);
    let is_other = |at: &usize| !exact[*at] && !found.withheld.contains(at);
    found.others = (0..len)
        .filter(|at| is_other(at) && says_the_same(&updates[*at]))
        .map(|at| Other {
            said: updates[at],
            may_come: at < walked && at >= old && !settled[at],
            is_shown: at >= walked,
        })
        .collect();
    found.updates_total = list.total.saturating_sub(found.withheld.len() as u64);
    let has_more = list.has_more() || (read.entries.len() as u64) < read.entries_total;
    found.reads_on = has_more && !found.withheld.is_empty();
    found
}
