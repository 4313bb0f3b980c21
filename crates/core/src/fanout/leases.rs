//! What viewers may watch because the application said so, and not because of their pass (protocol §5): until
//! when, and that it is asked again then.
//!
//! There is no timer per viewer: what comes next of each lease stands in one ordered queue. While the application
//! is asked again frames go on, for as long as a question may take and no longer: who says nothing by then has
//! not said yes. Each question has a number, so that an answer counts only for the question that it is of.

use std::collections::{BTreeSet, HashMap};

use super::admission::Denied;
use super::{Effect, Fanout, Io, Socket, Topic, Watching};
use crate::account::{Account, Charge, Kind};
use crate::encode;
use crate::id::ThreadId;
use crate::since::Since;
use crate::slots::Key;

/// What a lease takes: its places in a map and in a queue.
const LEASE_BYTES: usize = 128;

/// So many are looked at before the others have their turn: those of a herd end together.
const LEASES_PER_TURN: usize = 256;

/// What somebody is told of whose task nobody says whether he may watch it.
const UNDECIDED: Denied =
    Denied { code: 1013, why: "the application does not answer, try again later" };

/// A question to the application: whether a socket may watch a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// The socket.
    pub socket: Key,
    /// Whose lease is over; none: the socket is to begin to watch.
    viewer: Option<Key>,
    number: u64,
}

/// What a socket is to begin with, if it may. What it sends waits meanwhile.
pub(super) struct Beginning {
    number: u64,
    /// A task of many; none: what it came for.
    subscription: Option<(ThreadId, Option<Since>)>,
}

/// The leases of a worker's viewers.
pub(super) struct Leases {
    of: HashMap<Key, Lease>,
    /// What comes next of each, and when.
    due: BTreeSet<(u64, Key)>,
    /// How many questions there were.
    questions: u64,
    charge: Charge,
}

#[derive(Default)]
struct Lease {
    due_ms: u64,
    /// The question that is under way.
    asked: Option<u64>,
}

impl Leases {
    pub(super) fn new(account: &Account) -> Self {
        Self {
            of: HashMap::new(),
            due: BTreeSet::new(),
            questions: 0,
            charge: account.charge(Kind::Questions, 0),
        }
    }

    /// When something is due next.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.due.first().map(|(due_ms, _)| *due_ms)
    }

    fn next_question(&mut self) -> u64 {
        self.questions += 1;
        self.questions
    }

    /// Something is due of a viewer's lease then: a question that is to be asked, or the end of one.
    fn set(&mut self, viewer: Key, due_ms: u64, asked: Option<u64>) {
        let lease = self.of.entry(viewer).or_default();
        self.due.remove(&(lease.due_ms, viewer));
        *lease = Lease { due_ms, asked };
        self.due.insert((due_ms, viewer));
        self.charge.set(self.of.len() * LEASE_BYTES);
    }

    /// A viewer is gone, or may watch by its pass.
    pub(super) fn forget(&mut self, viewer: Key) {
        if let Some(lease) = self.of.remove(&viewer) {
            self.due.remove(&(lease.due_ms, viewer));
            self.charge.set(self.of.len() * LEASE_BYTES);
        }
    }
}

impl<T: Topic> Fanout<T> {
    /// Whether the application is asked where the pass of a socket does not suffice.
    pub(super) fn may_ask(&self, key: Key) -> bool {
        let admitted = self.sockets.get(key).and_then(|socket| socket.admitted.as_ref());
        admitted.is_some_and(|admitted| admitted.granted.asks)
    }

    /// Asks whether a socket may have a task that it begins with: what it came for, or one of many.
    pub(super) fn ask_to_begin(
        &mut self,
        key: Key,
        thread: ThreadId,
        subscription: Option<Option<Since>>,
    ) {
        let number = self.leases.next_question();
        let Some(admitted) = self.admitted(key) else { return };
        admitted.is_checking = true;
        let subscription = subscription.map(|since| (thread.clone(), since));
        admitted.beginning = Some(Beginning { number, subscription });
        let question = Question { socket: key, viewer: None, number };
        self.effects.push_back(Effect::Decide { question, thread });
    }

    /// Asks whether a viewer may go on. Frames go on meanwhile.
    pub(super) fn ask_to_go_on(&mut self, key: Key) {
        let Some(viewer) = self.viewers.get(key) else { return self.leases.forget(key) };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        let number = self.leases.next_question();
        let question = Question { socket: viewer.socket, viewer: Some(key), number };
        let thread = local.topic.thread().clone();
        let in_time_ms = self.now_ms + self.settings.decision_timeout_ms;
        // Who makes that it is asked anew, by one token after the other, gains no time by it.
        let asked = self.leases.of.get(&key).filter(|lease| lease.asked.is_some());
        let due_ms = asked.map_or(in_time_ms, |lease| lease.due_ms.min(in_time_ms));
        self.leases.set(key, due_ms, Some(number));
        self.effects.push_back(Effect::Decide { question, thread });
    }

    /// What the application said: yes, until then by the clock of the fan-out; or why it is none.
    pub fn decided(
        &mut self,
        question: Question,
        decision: Result<u64, Denied>,
        io: &mut impl Io<Topic = T>,
    ) {
        let Question { socket, viewer, number } = question;
        let Some(viewer) = viewer else { return self.may_begin(socket, number, decision, io) };
        if self.leases.of.get(&viewer).is_none_or(|lease| lease.asked != Some(number)) {
            return;
        }
        match decision {
            Ok(ends_ms) => self.leases.set(viewer, ends_ms, None),
            Err(denied) => self.end_of_lease(viewer, denied, io),
        }
    }

    fn may_begin(
        &mut self,
        key: Key,
        number: u64,
        decision: Result<u64, Denied>,
        io: &mut impl Io<Topic = T>,
    ) {
        let is_it = |beginning: &mut Beginning| beginning.number == number;
        let Some(admitted) = self.admitted(key) else { return };
        let Some(Beginning { subscription, .. }) = admitted.beginning.take_if(is_it) else {
            return;
        };
        if !self.is_open(key) {
            return;
        }
        self.is_checked(key);
        let has_many = self.sockets.get_mut(key).and_then(Socket::many).is_some();
        match (subscription, decision) {
            // Its pass has ended meanwhile.
            (Some(_), _) if !has_many => {}
            (Some((thread, since)), Ok(ends_ms)) => {
                self.subscribe_one_of_many(key, thread.clone(), since, io);
                let many = self.sockets.get_mut(key).and_then(Socket::many);
                if let Some(viewer) = many.and_then(|many| many.viewers.get(&thread)).copied() {
                    self.leases.set(viewer, ends_ms, None);
                }
            }
            (Some((thread, _)), Err(denied)) => self.tell_denied(key, &thread, denied, io),
            (None, Ok(ends_ms)) => {
                let Some(purpose) = self.admitted(key).and_then(|it| it.awaits.take()) else {
                    return;
                };
                self.start(key, purpose, io);
                let watching = self.sockets.get(key).map(|socket| &socket.watching);
                if let Some(&Watching::One(viewer)) = watching {
                    self.leases.set(viewer, ends_ms, None);
                }
                self.schedule(key);
            }
            (None, Err(denied)) => self.deny_or_await(key, denied, io),
        }
    }

    /// Does what is due of leases.
    pub(super) fn look_at_leases(&mut self, io: &mut impl Io<Topic = T>) {
        for _ in 0..LEASES_PER_TURN {
            let due = self.leases.due.first().copied();
            let Some((_, viewer)) = due.filter(|(due_ms, _)| *due_ms <= self.now_ms) else {
                return;
            };
            let lease = self.leases.of.get(&viewer);
            match lease.and_then(|lease| lease.asked) {
                None => self.ask_to_go_on(viewer),
                Some(_) => self.end_of_lease(viewer, UNDECIDED, io),
            }
        }
    }

    /// A viewer may watch no more: from here on no frame begins.
    fn end_of_lease(&mut self, key: Key, denied: Denied, io: &mut impl Io<Topic = T>) {
        self.leases.forget(key);
        let Some(viewer) = self.viewers.get(key) else { return };
        let (socket, topic) = (viewer.socket, viewer.topic);
        if self.sockets.get_mut(socket).and_then(Socket::many).is_none() {
            return self.end_all_of(socket, denied, io);
        }
        if let Some(thread) = self.topics.get(topic).map(|local| local.topic.thread().clone()) {
            self.unsubscribe(socket, &thread, io);
            self.tell_denied(socket, &thread, denied, io);
        }
    }

    /// Tells why one of many tasks is not to be had.
    fn tell_denied(
        &mut self,
        key: Key,
        thread: &ThreadId,
        denied: Denied,
        io: &mut impl Io<Topic = T>,
    ) {
        self.tell_of_refusal(key, Some(thread.as_str()), denied.why);
        let frame = encode::error(denied.why, thread.as_str(), thread.source_name());
        self.put_error(key, &frame, io);
    }
}
