//! Room in the account for what a desk is about to read: no more may come than is held for it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::{Desk, Waiter, send_overdue_away, wait_while_wanted};
use crate::core::account::{Charge, Kind, Priority};
use crate::shared::Shared;
use crate::topic::Size;

/// What a state usually takes at most, in bytes.
const STATE_BYTES_USUAL: usize = 64 * 1024;

/// Where there is no room for more, a page is as small as this, in bytes,
const LITTLE_PAGE_BYTES: usize = 16 * 1024;

/// and its answer no larger than this: the entry at which it is full, and the next one.
const LITTLE_ANSWER_BYTES: usize = 128 * 1024;

/// How long until the first in a queue looks again.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// Pages that are read at once: more would hold room and come no sooner.
const PAGES_AT_ONCE: usize = 16;

/// The desks that wait for room, in the order in which they came: only the first of a queue, and of
/// those who want pages as many as are read at once, look whether there is some. States may stay half sent for long, and pages never: those who want a page
/// do not wait for those who want a state, and small states not for large ones.
pub(crate) struct Rooms {
    pages: Arc<Semaphore>,
    small: tokio::sync::Mutex<()>,
    usual: tokio::sync::Mutex<()>,
    large: tokio::sync::Mutex<()>,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            pages: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
            small: Default::default(),
            usual: Default::default(),
            large: Default::default(),
        }
    }
}

/// What there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fits {
    /// In all; none where it may be of any size.
    pub(super) bytes_max: Option<usize>,
    /// A page ends with the entry that brings it to this size.
    pub(super) page_bytes_max: usize,
}

/// Room, and for what.
pub(super) struct Room {
    /// What is larger than this does not fit.
    pub(super) size: Size,
    pub(super) charge: Charge,
    pub(super) fits: Fits,
    /// Others wait for it to end.
    pub(super) turn: Option<OwnedSemaphorePermit>,
}

/// What the reads of a desk mostly bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) bytes: usize,
    has_state: bool,
}

impl Expected {
    /// For those who wait.
    pub(super) fn of<'a>(waiting: impl Iterator<Item = &'a Waiter>, page_bytes_max: usize) -> Self {
        let (mut has_page, mut has_state) = (false, false);
        for waiter in waiting {
            let wants_page = waiter.wants_page();
            has_page |= wants_page;
            has_state |= waiter.needs_state || !wants_page;
        }
        // A page ends behind the entry with which it is full.
        let page_bytes = if has_page { page_bytes_max / 2 * 3 } else { 0 };
        Self { bytes: STATE_BYTES_USUAL + page_bytes, has_state }
    }
}

/// Waits for room for what is about to be read. Nothing where all have gone who waited for it.
pub(super) async fn wait(shared: &Shared, desk: &Mutex<Desk>, size: Size) -> Option<Room> {
    let limits = &shared.config.limits;
    let account = &shared.account;
    let expected = Expected::of(desk.lock().waiting.values(), limits.page_bytes_max);
    let pages_only = size <= Size::Usual && !expected.has_state;
    let turn = if pages_only {
        let turn = shared.rooms.pages.clone().acquire_owned();
        wait_while_wanted(shared, desk, turn).await?.ok()
    } else {
        None
    };
    let usual_bytes_max = limits.answer_bytes_max();
    let fits = |bytes_max| Fits { bytes_max, page_bytes_max: limits.page_bytes_max };
    let spare = || account.reserve(Kind::Answers, usual_bytes_max, Priority::Spare);
    if let Some(charge) = (size <= Size::Usual).then(spare).flatten() {
        // As much as there is room for at the second try, where it is not to spare.
        let fits = fits(Some(usual_bytes_max));
        return Some(Room { size: Size::Usual, charge, fits, turn });
    }
    let large_bytes_max = account.bytes_max() / 8;
    let (bytes_max, held_bytes) = match size {
        // Where the account is small, less is known to fit than may come.
        Size::Expected => (Some(expected.bytes), expected.bytes.min(large_bytes_max)),
        Size::Usual => (Some(usual_bytes_max), usual_bytes_max.min(large_bytes_max)),
        Size::Large => (Some(large_bytes_max), large_bytes_max),
        Size::Huge => (None, 0),
    };
    let (queue, priority) = match size {
        Size::Large | Size::Huge => (Some(&shared.rooms.large), Priority::Usual),
        _ if pages_only => (None, Priority::Live),
        // Those who attach to something small do not wait for what large pages fill.
        _ if held_bytes <= STATE_BYTES_USUAL => (Some(&shared.rooms.small), Priority::Last),
        _ => (Some(&shared.rooms.usual), Priority::Usual),
    };
    let _first = match queue {
        Some(queue) => Some(wait_while_wanted(shared, desk, queue.lock()).await?),
        None => None,
    };
    loop {
        send_overdue_away(shared, desk);
        if desk.lock().waiting.is_empty() {
            return None;
        }
        // Of what is too large for the account, one is held at a time.
        let charge = match bytes_max {
            Some(_) => account.reserve(Kind::Answers, held_bytes, priority),
            None if account.bytes_outside() == 0 => Some(account.outside(Kind::Answers)),
            None => None,
        };
        if let Some(charge) = charge {
            return Some(Room { size, charge, fits: fits(bytes_max), turn });
        }
        let little = || account.reserve(Kind::Answers, LITTLE_ANSWER_BYTES, Priority::Last);
        if let Some(charge) = (pages_only && size == Size::Expected).then(little).flatten() {
            let page_bytes_max = LITTLE_PAGE_BYTES.min(limits.page_bytes_max);
            let fits = Fits { bytes_max: Some(LITTLE_ANSWER_BYTES), page_bytes_max };
            return Some(Room { size, charge, fits, turn });
        }
        sleep(ROOM_PAUSE).await;
    }
}
