//! The account: one sum of all memory that grows with what viewers, HTTP clients or Redis send.
//!
//! What is held is charged as long as it is held: a [`Charge`] goes with it and gives back what it
//! stands for when it is dropped, so the sum is exact by construction. There are two ways in.
//! [`Account::charge`] is for what is there already and cannot be refused; it may go over the limit.
//! [`Account::reserve`] is for what is about to be read, and says no where there is no room.
//!
//! Beyond [`Account::is_tight`] whoever holds something that can be read again lets it go.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Encoded entries, gaps and states: recent logs, pages, what viewers wait for.
    Chunks,
    /// What is left of frames that sockets took in part.
    Rests,
    /// What viewers sent and is not understood yet: messages that are not complete.
    Input,
    /// Subscriptions of sockets that may have many.
    Subscriptions,
    /// Topics, without what they hold.
    Topics,
    /// Answers of Redis that are being received or encoded.
    Answers,
    /// Bodies of HTTP requests.
    Bodies,
    /// Bodies of HTTP responses.
    Responses,
    /// What sockets are known by: their passes.
    Passes,
    /// What the application is asked and shown, and what it answered.
    Questions,
    /// TLS sessions, and what connections hold of theirs before they are sockets.
    Sessions,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Chunks,
        Self::Rests,
        Self::Input,
        Self::Subscriptions,
        Self::Topics,
        Self::Answers,
        Self::Bodies,
        Self::Responses,
        Self::Passes,
        Self::Questions,
        Self::Sessions,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chunks => "chunks",
            Self::Rests => "rests",
            Self::Input => "input",
            Self::Subscriptions => "subscriptions",
            Self::Topics => "topics",
            Self::Answers => "answers",
            Self::Bodies => "bodies",
            Self::Responses => "responses",
            Self::Passes => "passes",
            Self::Questions => "questions",
            Self::Sessions => "sessions",
        }
    }
}

/// How much of the account something that is about to be read may fill.
///
/// The less can be done without a thing, the more of the account it may use: so those who come
/// later cannot take from those who are there what they need to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Up to half: more than is needed, by those who make do with less. It makes nobody let go of
    /// anything, and to be told no does not count as refused.
    Spare,
    /// Up to three quarters: new bodies, pages and states, of which more can come at any time.
    Usual,
    /// Up to seven eighths: the tail's reads, on which all who are live wait.
    Live,
    /// All of it: the small things by which something else ends and gives back what it holds.
    Last,
}

/// The account of a process. Cheap to clone; every clone is the same account.
#[derive(Clone)]
pub struct Account(Arc<Inner>);

struct Inner {
    bytes_max: usize,
    sum: AtomicUsize,
    by_kind: [AtomicUsize; Kind::ALL.len()],
    outside: AtomicUsize,
    refused: AtomicU64,
    starved: AtomicU64,
}

impl Account {
    /// An account with a limit, `memory_bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Inner {
            bytes_max,
            sum: AtomicUsize::new(0),
            by_kind: Default::default(),
            outside: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            starved: AtomicU64::new(0),
        }))
    }

    /// Charges what is there already.
    pub fn charge(&self, kind: Kind, bytes: usize) -> Charge {
        self.0.add(kind, bytes);
        Charge { account: self.clone(), kind, bytes, outside: 0 }
    }

    /// Charges what is about to be read, or nothing where there is no room for it. Whoever is told
    /// so asks again a little later; for what [`Account::exceeds`] there never is room.
    pub fn reserve(&self, kind: Kind, bytes: usize, priority: Priority) -> Option<Charge> {
        let within =
            |bound: usize| move |held: usize| held.checked_add(bytes).filter(|held| *held <= bound);
        let of_kind = &self.0.by_kind[kind as usize];
        let kind_bound = self.0.bound_of(kind, priority);
        if of_kind.fetch_update(Relaxed, Relaxed, within(kind_bound)).is_ok() {
            let bound = self.0.bound(priority);
            if self.0.sum.fetch_update(Relaxed, Relaxed, within(bound)).is_ok() {
                return Some(Charge { account: self.clone(), kind, bytes, outside: 0 });
            }
            of_kind.fetch_sub(bytes, Relaxed);
            self.0.starved.fetch_add(u64::from(priority != Priority::Spare), Relaxed);
        }
        None
    }

    /// Whether something is so large that it is read alone, one at a time, outside the account.
    pub fn exceeds(&self, bytes: usize) -> bool {
        bytes > self.0.bytes_max / 2
    }

    /// A charge of nothing, for what is to be held outside the account.
    pub fn outside(&self, kind: Kind) -> Charge {
        Charge { account: self.clone(), kind, bytes: 0, outside: 0 }
    }

    /// What is held outside the account: it takes no room from anybody, but what can be read again is let go.
    pub fn hold_outside(&self, kind: Kind, bytes: usize) -> Charge {
        self.0.outside.fetch_add(bytes, Relaxed);
        Charge { account: self.clone(), kind, bytes: 0, outside: bytes }
    }

    /// What is held outside the account, in bytes.
    pub fn bytes_outside(&self) -> usize {
        self.0.outside.load(Relaxed)
    }

    /// Whether what can be read again should be let go: more than half is held.
    pub fn is_tight(&self) -> bool {
        self.bytes() + self.bytes_outside() > self.0.bound(Priority::Spare)
    }

    /// Whether there is no room for anything that is about to be read.
    pub fn is_full(&self) -> bool {
        self.bytes() + self.bytes_outside() >= self.0.bound(Priority::Usual)
    }

    /// Whether an eighth more is held than all of it. Only what brings next to nothing is read then.
    pub fn is_spent(&self) -> bool {
        self.bytes() > self.0.bytes_max / 8 * 9
    }

    /// The most that there can be of a kind, in bytes.
    pub fn most_of(&self, kind: Kind) -> usize {
        self.0.bound_of(kind, Priority::Usual)
    }

    /// Whether nothing more is taken of messages that are not complete: all is full, or they hold an eighth.
    pub fn is_full_of_input(&self) -> bool {
        self.is_full() || self.bytes_of(Kind::Input) > self.0.bytes_max / 8
    }

    /// The limit, in bytes.
    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max
    }

    /// All that is held, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.sum.load(Relaxed)
    }

    /// What is held of a kind, in bytes.
    pub fn bytes_of(&self, kind: Kind) -> usize {
        self.0.by_kind[kind as usize].load(Relaxed)
    }

    /// How often there was no room for whatever kind of thing: while it grows, somebody waits.
    pub fn starved(&self) -> u64 {
        self.0.starved.load(Relaxed)
    }

    /// Somebody was sent away because there was no room.
    pub fn count_refused(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }

    /// How many were sent away because there was no room.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({} of {} bytes)", self.bytes(), self.bytes_max())
    }
}

impl Inner {
    fn bound(&self, priority: Priority) -> usize {
        match priority {
            Priority::Spare => self.bytes_max / 2,
            Priority::Usual => self.bytes_max / 4 * 3,
            Priority::Live => self.bytes_max / 8 * 7,
            Priority::Last => self.bytes_max,
        }
    }

    /// How much of it may be of one kind.
    fn bound_of(&self, kind: Kind, priority: Priority) -> usize {
        match (kind, priority) {
            // Anybody sends bodies, takes responses and shakes hands as slowly as their time allows:
            // they leave those who watch room to attach and to be served. Small bodies that are half
            // read have an eighth to themselves.
            (Kind::Bodies, Priority::Last) => self.bytes_max / 8 * 3,
            (Kind::Bodies | Kind::Responses | Kind::Sessions, _) => self.bytes_max / 4,
            _ => self.bytes_max,
        }
    }

    fn add(&self, kind: Kind, bytes: usize) {
        self.sum.fetch_add(bytes, Relaxed);
        self.by_kind[kind as usize].fetch_add(bytes, Relaxed);
    }

    fn subtract(&self, kind: Kind, bytes: usize) {
        self.sum.fetch_sub(bytes, Relaxed);
        self.by_kind[kind as usize].fetch_sub(bytes, Relaxed);
    }
}

/// What is charged for something as long as it is held; dropping it gives that back.
#[must_use]
pub struct Charge {
    account: Account,
    kind: Kind,
    bytes: usize,
    outside: usize,
}

impl Charge {
    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How much is charged, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What is held has grown or shrunk to so many bytes.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.account.0.add(self.kind, bytes - self.bytes);
        } else {
            self.account.0.subtract(self.kind, self.bytes - bytes);
        }
        self.bytes = bytes;
    }

    /// What is held is to grow to so many bytes, if there is room. Whether there is.
    pub fn grow(&mut self, bytes: usize, priority: Priority) -> bool {
        if bytes <= self.bytes {
            return true;
        }
        let more = bytes - self.bytes;
        let Some(mut charge) = self.account.reserve(self.kind, more, priority) else {
            return false;
        };
        // The sum stays: it is charged here from now on.
        charge.bytes = 0;
        self.bytes = bytes;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.0.subtract(self.kind, self.bytes);
        }
        if self.outside > 0 {
            self.account.0.outside.fetch_sub(self.outside, Relaxed);
        }
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").field("kind", &self.kind).field("bytes", &self.bytes).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_charged_and_given_back() {
        let account = Account::new(1000);
        let mut held = account.charge(Kind::Rests, 400);
        let more = account.charge(Kind::Chunks, 300);
        assert_eq!((account.bytes(), account.bytes_of(Kind::Rests)), (700, 400));
        held.set(100);
        assert_eq!((account.bytes(), account.bytes_of(Kind::Rests)), (400, 100));
        held.set(200);
        drop(more);
        assert_eq!((account.bytes(), account.bytes_of(Kind::Chunks)), (200, 0));
        drop(held);
        assert!(Kind::ALL.iter().all(|kind| account.bytes_of(*kind) == 0));
        assert_eq!(account.bytes(), 0);
    }

    #[test]
    fn what_is_about_to_be_read_waits_for_room_by_its_priority() {
        let account = Account::new(1000);
        let first = account.reserve(Kind::Answers, 700, Priority::Usual).unwrap();
        assert!(account.is_tight() && !account.is_full());
        assert!(account.reserve(Kind::Answers, 100, Priority::Usual).is_none());
        let live = account.reserve(Kind::Answers, 100, Priority::Live).unwrap();
        assert!(account.is_full());
        assert!(account.reserve(Kind::Bodies, 201, Priority::Last).is_none());
        let mut last = account.reserve(Kind::Bodies, 150, Priority::Last).unwrap();
        assert!(!last.grow(201, Priority::Last) && last.bytes() == 150);
        assert!(last.grow(200, Priority::Last));
        assert!(account.bytes() == 1000 && !account.is_spent());
        let news = account.charge(Kind::Chunks, 150);
        assert!(account.is_spent());
        drop(news);
        drop((first, live, last));
        assert_eq!(account.bytes(), 0);
    }

    #[test]
    fn what_is_to_spare_makes_it_neither_tight_nor_counts() {
        let account = Account::new(1000);
        let spare = account.reserve(Kind::Answers, 500, Priority::Spare).unwrap();
        assert!(
            !account.is_tight() && account.reserve(Kind::Answers, 1, Priority::Spare).is_none()
        );
        assert_eq!((account.starved(), account.bytes()), (0, 500));
        assert!(account.reserve(Kind::Answers, 1, Priority::Usual).is_some());
        drop(spare);
    }

    #[test]
    fn bodies_leave_room_for_those_who_watch() {
        let account = Account::new(1000);
        let large = account.reserve(Kind::Bodies, 250, Priority::Usual).unwrap();
        assert!(account.reserve(Kind::Bodies, 1, Priority::Usual).is_none());
        let small = account.reserve(Kind::Bodies, 125, Priority::Last).unwrap();
        assert!(account.reserve(Kind::Bodies, 1, Priority::Last).is_none());
        assert!(account.reserve(Kind::Answers, 125, Priority::Usual).is_some());
        drop((large, small));
        assert_eq!((account.bytes(), account.bytes_of(Kind::Bodies)), (0, 0));
    }

    #[test]
    fn for_what_is_too_large_there_is_never_room() {
        let account = Account::new(1000);
        assert!(account.exceeds(501) && !account.exceeds(500));
        assert!(account.reserve(Kind::Answers, 5000, Priority::Last).is_none());
        assert!(account.reserve(Kind::Answers, usize::MAX, Priority::Last).is_none());
        assert_eq!(account.outside(Kind::Answers).bytes() + account.bytes(), 0);
        let large = account.hold_outside(Kind::Chunks, 800);
        assert_eq!((account.bytes(), account.bytes_outside()), (0, 800));
        assert!(
            account.is_full() && account.reserve(Kind::Answers, 500, Priority::Usual).is_some()
        );
        drop(large);
        assert!(account.bytes_outside() == 0 && !account.is_full());
    }
}
