//! The seam between state and stream: which updates an `initial_state` shows, and which are told
//! later.
//!
//! A worker writes an update to the task's list first and adds its entry to the stream a moment later,
//! if it lives. A state that is read in between holds an update whose entry comes behind the state's
//! position: shown, it comes twice; left out, it is lost where the entry never comes. So an update is
//! shown only when it is proven to have its entry up to the position, or to be older than
//! [`WAIT_MS`]; all others are withheld, and what of them did not come until then is told as a
//! *derived* frame. Doubt costs a delay, never a loss.
//!
//! One is lost: a withheld update of which no copy is kept, as it is large or memory is scarce, and
//! which has left the list (or its newest [`UPDATES_READ_ON`]) two seconds later, before it was told.
//!
//! | file | what it owns |
//! |---|---|
//! | `said` | what an update or an entry says, as far as it identifies it |
//! | `pairs` | which update has which entry, and where that cannot be told |
//! | `attach` | what is shown and what withheld, of one read |
//! | `list` | a part of a task's list, and where in it a known update stands |
//! | `memory` | what this server saw in a list, and when |
//! | `reread` | what of the withheld is told, two seconds later |
//! | `sieve` | which entries matter for that |
//!
//! The order of a list is exact, as Redis orders the pushes; that of a stream says nothing of the list,
//! as workers overtake each other. Ids of entries and `now_ms` are of one clock, that of the stream's
//! node; no worker's clock decides anything but how alike two times are that it wrote itself.

mod attach;
mod list;
mod memory;
mod pairs;
mod reread;
mod said;
mod sieve;

pub use attach::{Attach, Read, attach};
pub use list::{List, Mark};
pub use memory::Memory;
pub use reread::{Batch, Reread, reread};
pub use said::Told;
pub use sieve::Sieve;

/// How many of a list's newest updates a read for viewers brings.
pub const UPDATES_READ: u64 = 32;

/// How many of a stream's newest entries come with them.
pub const ENTRIES_READ: u64 = 32;

/// How many updates are read where something is withheld and there are more; for a re-read as well.
pub const UPDATES_READ_ON: u64 = 100;

/// How many entries are read on to. Beyond, a delay is accepted.
pub const ENTRIES_READ_ON: u64 = 256;

/// An entry that has not come so long after its update counts as one that never comes: its worker
/// died in between, or adds none. The one that comes later still is the only repeat there is.
pub const WAIT_MS: u64 = 2_000;

/// What the rule takes the newest of; other sizes than the usual ones are for tests, where every
/// history of a few updates is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many updates are shown, and told later, at most; of those told, beside who is in doubt.
    pub shown_max: usize,
    /// Of a list that was not read whole, only so many of the newest entries are compared without
    /// equal timestamps: an older entry's update may be one that was not read, and then proves
    /// nothing of an equal one that was. Less than the updates that are read, by as many as may be
    /// written while an entry is on its way.
    pub loose_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { shown_max: crate::encode::INITIAL_UPDATES_MAX, loose_max: 16 }
    }
}

#[cfg(test)]
mod tests;
