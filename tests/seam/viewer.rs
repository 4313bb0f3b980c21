//! What was read for a viewer, and what it was sent.

use bytes::Bytes;
use taskcast::core::seam::{Attach, Limits};
use taskcast::id::StreamId;
use taskcast::log::Snapshot;

use crate::desk::BatchNumber;
use crate::server::Layout;
use crate::world::{Added, Number, THREAD_UPDATES_KEPT, World};

/// Where list and stream were when they were read.
#[derive(Debug, Clone)]
pub struct Place {
    /// When the list was, by the log's clock and by the time that went by; and when the stream was.
    pub now_ms: u64,
    pub went_ms: u64,
    pub stream_ms: u64,
    /// How many entries there had been.
    pub entries: usize,
    /// How many updates the list had, and how many had ever been pushed.
    pub total: usize,
    pub pushed: usize,
    /// Those that were read, oldest first.
    pub list: Vec<Number>,
}

/// What was read again.
#[derive(Debug)]
pub struct Again {
    pub place: Place,
    /// When that began.
    pub began_ms: u64,
    pub told: Vec<Bytes>,
}

#[derive(Debug)]
pub struct Viewer {
    pub place: Place,
    pub task: usize,
    /// When the stream was read, by the log's clock.
    pub now_ms: u64,
    /// The entries that were read, and those of them that were compared without equal times.
    pub read: Vec<usize>,
    pub compared: Vec<usize>,
    pub shown: Vec<Number>,
    pub withheld: Vec<Number>,
    pub batch: Option<BatchNumber>,
    pub again: Option<Again>,
    /// Up to here updates were waited for before.
    pub waited_for: Option<Number>,
    /// An update that was read stands where one like it stood in a list that was deleted.
    pub looks_like_a_dropped_one: bool,
    /// It is on another server when its batch is told.
    pub leaves: bool,
    /// No copies are kept of what is withheld.
    pub without_copies: bool,
}

impl Viewer {
    pub fn new(
        world: &World,
        place: Place,
        snapshot: &Snapshot,
        found: &Attach,
        batch: Option<BatchNumber>,
    ) -> Self {
        let read: Vec<usize> = entries(world, snapshot).collect();
        let total = world.list.len();
        let is_full = world.layout == Layout::Thread && total >= THREAD_UPDATES_KEPT;
        let is_cut = total > place.list.len() || is_full;
        let counts = if is_cut { Limits::default().loose_max } else { usize::MAX };
        let compared = read[read.len().saturating_sub(counts)..].to_vec();
        let numbers = |places: &[usize]| places.iter().map(|&at| place.list[at]).collect();
        Self {
            task: world.task,
            now_ms: snapshot.now_ms,
            read,
            compared,
            shown: numbers(&found.shown),
            withheld: numbers(&found.withheld),
            looks_like_a_dropped_one: place
                .list
                .iter()
                .any(|number| world.looks_like_a_dropped_one(*number)),
            place,
            batch,
            again: None,
            waited_for: None,
            leaves: false,
            without_copies: false,
        }
    }

    /// The oldest update that was shown or withheld.
    pub fn oldest(&self) -> Option<Number> {
        self.shown.first().into_iter().chain(self.withheld.first()).min().copied()
    }
}

/// Which of the entries that tell of the task's updates were read.
fn entries(world: &World, snapshot: &Snapshot) -> impl Iterator<Item = usize> {
    let ids: Vec<StreamId> = snapshot.newest.iter().map(|entry| entry.id).collect();
    let of_task = |added: &Added| added.task == world.task;
    let known = world.entries.iter().enumerate().skip(world.begins);
    let found = known.filter(move |(_, added)| ids.contains(&added.id) && of_task(added));
    found.map(|(at, _)| at)
}
