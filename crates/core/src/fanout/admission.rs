//! Whom a socket is of, and what it may watch (protocol §5). When that ends is [`expiry`](super::expiry)'s.

use std::sync::Arc;

use super::attach::Purpose;
use super::expiry::ends_soon;
use super::leases::Beginning;
use super::owed::Paused;
use super::{Effect, Fanout, Io, Socket, SocketState, Topic, Watching};
use crate::access::{Pass, Verb};
use crate::account::{Charge, Kind};
use crate::encode;
use crate::id::ThreadId;
use crate::slots::Key;

/// Close codes.
const UNAUTHENTICATED: u16 = 4001;
const FORBIDDEN: u16 = 4003;
const UNAVAILABLE: u16 = 1013;

/// What a pass takes, beside its grants.
const PASS_BYTES: usize = 512;

/// With what a socket comes.
#[derive(Debug, Clone)]
pub enum Admission {
    /// Nobody is asked who he is.
    Open,
    /// With a pass.
    Granted(Granted),
    /// With a token that does not count.
    Refused(Denied),
}

/// A pass that was given to somebody.
#[derive(Debug, Clone)]
pub struct Granted {
    /// What it grants.
    pub pass: Arc<Pass>,
    /// When it ends, by the clock of the fan-out; none: never.
    pub ends_ms: Option<u64>,
    /// He said who he is.
    pub is_known: bool,
    /// The application is asked where the pass does not suffice.
    pub asks: bool,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The close code.
    pub code: u16,
    /// The reason, in words.
    pub why: &'static str,
}

impl Denied {
    /// Whether it says that he may not, for good.
    pub(super) fn is_a_no(self) -> bool {
        self.code == FORBIDDEN
    }

    /// There is no token that counts.
    pub fn unauthenticated(why: &'static str) -> Self {
        Self { code: UNAUTHENTICATED, why }
    }

    /// He may not have this.
    pub fn forbidden(why: &'static str) -> Self {
        Self { code: FORBIDDEN, why }
    }

    /// It cannot be known now.
    pub fn unavailable(why: &'static str) -> Self {
        Self { code: UNAVAILABLE, why }
    }
}

/// What a socket is known by.
pub(super) struct Admitted {
    pub(super) granted: Granted,
    /// It was told that its pass ends soon.
    pub(super) was_warned: bool,
    /// A token of it is being looked at, or whether it may have what it asks for.
    pub(super) is_checking: bool,
    /// What it is to begin with, if the application says so.
    pub(super) beginning: Option<Beginning>,
    /// What it came for, and may not have without a token.
    pub(super) awaits: Option<Purpose>,
    /// What of it stands in the queue.
    pub(super) due_ms: Option<u64>,
    charge: Charge,
}

impl<T: Topic> Fanout<T> {
    /// Lets a socket in, or not: what it is for is begun, awaits a token, or is refused.
    pub(super) fn admit(
        &mut self,
        key: Key,
        purpose: Purpose,
        admission: Admission,
        io: &mut impl Io<Topic = T>,
    ) {
        let granted = match admission {
            Admission::Open => return self.start(key, purpose, io),
            Admission::Refused(denied) => return self.deny(key, denied, purpose.thread(), io),
            Admission::Granted(granted) => granted,
        };
        let charge = self.account.charge(Kind::Passes, bytes_of(&granted));
        let was_warned = ends_soon(&granted, self.now_ms);
        let admitted = Admitted {
            granted,
            was_warned,
            is_checking: false,
            beginning: None,
            awaits: None,
            due_ms: None,
            charge,
        };
        let Some(socket) = self.sockets.get_mut(key) else { return };
        socket.admitted = Some(Box::new(admitted));
        self.start_if_granted(key, purpose, io);
    }

    /// Begins what a socket is for, where its pass grants that; else the application is asked, or it awaits a
    /// token, or is refused.
    fn start_if_granted(&mut self, key: Key, purpose: Purpose, io: &mut impl Io<Topic = T>) {
        let Some(admitted) = self.admitted(key) else { return };
        let Granted { asks, is_known, .. } = admitted.granted;
        if purpose.is_granted_by(&admitted.granted) {
            self.start(key, purpose, io);
        } else if let (true, Purpose::Task { thread: Ok(thread), .. }) = (asks, &purpose) {
            let thread = thread.clone();
            admitted.awaits = Some(purpose);
            self.ask_to_begin(key, thread, None);
        } else if is_known {
            return self.deny(key, FORBIDDEN_TASK, purpose.thread(), io);
        } else {
            admitted.awaits = Some(purpose);
        }
        self.schedule(key);
    }

    /// The application did not say yes. Who has shown nothing may still send a token.
    pub(super) fn deny_or_await(&mut self, key: Key, denied: Denied, io: &mut impl Io<Topic = T>) {
        let Some(admitted) = self.admitted(key) else { return };
        if denied.is_a_no() && !admitted.granted.is_known {
            return self.schedule(key);
        }
        let purpose = admitted.awaits.take();
        self.deny(key, denied, purpose.as_ref().and_then(Purpose::thread), io);
    }

    /// Whether what a socket sends waits until it is known whom it is of.
    pub(super) fn is_checking(&self, key: Key) -> bool {
        let admitted = self.sockets.get(key).and_then(|socket| socket.admitted.as_ref());
        admitted.is_some_and(|admitted| admitted.is_checking)
    }

    /// Whether a socket may watch a task.
    pub(super) fn may_watch(&self, key: Key, thread: &ThreadId) -> bool {
        let admitted = self.sockets.get(key).and_then(|socket| socket.admitted.as_ref());
        admitted.is_none_or(|admitted| admitted.granted.pass.may(Verb::Watch, thread))
    }

    /// Whether neither side has closed.
    pub(super) fn is_open(&self, key: Key) -> bool {
        self.sockets.get(key).is_some_and(|socket| socket.state == SocketState::Open)
    }

    /// A viewer sends a token.
    pub(super) fn take_token(&mut self, key: Key, token: &str, io: &mut impl Io<Topic = T>) {
        let charge = self.account.charge(Kind::Input, token.len());
        match self.admitted(key) {
            Some(admitted) => {
                admitted.is_checking = true;
                let token = token.into();
                self.effects.push_back(Effect::Authenticate { socket: key, token, charge });
            }
            // Nobody is asked here.
            None => self.tell(key, &encode::auth(None), io),
        }
    }

    /// What came of a token.
    pub fn authenticated(
        &mut self,
        key: Key,
        result: Result<Granted, Denied>,
        io: &mut impl Io<Topic = T>,
    ) {
        if !self.is_open(key) {
            return;
        }
        self.is_checked(key);
        let now_ms = self.now_ms;
        let granted = match result {
            Ok(granted) => granted,
            Err(denied) => return self.deny(key, denied, None, io),
        };
        let Some(admitted) = self.admitted(key) else { return };
        let left_s = granted.ends_ms.map(|ends_ms| ends_ms.saturating_sub(now_ms) / 1000);
        admitted.was_warned = ends_soon(&granted, now_ms);
        admitted.charge.set(bytes_of(&granted));
        admitted.granted = granted;
        let awaits = admitted.awaits.take();
        self.tell(key, &encode::auth(left_s), io);
        match awaits {
            Some(purpose) => self.start_if_granted(key, purpose, io),
            None => {
                self.look_at_all_of(key, io);
                self.schedule(key);
            }
        }
    }

    /// It is known whom a socket is of, or what it may have: what it sent meanwhile was left for now.
    pub(super) fn is_checked(&mut self, key: Key) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        if let Some(admitted) = &mut socket.admitted {
            admitted.is_checking = false;
        }
        if let Some(busy) = &mut socket.busy
            && busy.paused.take_if(|paused| *paused == Paused::Resting).is_some()
        {
            self.effects.push_back(Effect::Read(key));
        }
    }

    /// What a socket may no longer watch ends, or is asked about.
    fn look_at_all_of(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        if self.may_ask(key) {
            return self.ask_about_all_of(key);
        }
        let Some(socket) = self.sockets.get(key) else { return };
        let lost: Vec<ThreadId> = match &socket.watching {
            Watching::One(viewer) => {
                let viewer = self.viewers.get(*viewer);
                let local = viewer.and_then(|viewer| self.topics.get(viewer.topic));
                match local.map(|local| local.topic.thread()) {
                    Some(thread) if !self.may_watch(key, thread) => {
                        let thread = thread.clone();
                        return self.deny(
                            key,
                            FORBIDDEN_TASK,
                            Some((thread.as_str(), thread.source_name())),
                            io,
                        );
                    }
                    _ => return,
                }
            }
            Watching::Many(many) => {
                many.viewers.keys().filter(|thread| !self.may_watch(key, thread)).cloned().collect()
            }
            Watching::Nothing | Watching::Echo => return,
        };
        let mut frames = Vec::new();
        for thread in &lost {
            frames.extend_from_slice(&encode::error(
                FORBIDDEN_TASK.why,
                thread.as_str(),
                thread.source_name(),
            ));
            self.unsubscribe(key, thread, io);
        }
        if !frames.is_empty() {
            self.put_error(key, &frames, io);
        }
    }

    /// What its pass does not grant is asked about; all else needs no leave of the application.
    fn ask_about_all_of(&mut self, key: Key) {
        let viewers: Vec<Key> = match self.sockets.get(key).map(|socket| &socket.watching) {
            Some(Watching::One(viewer)) => vec![*viewer],
            Some(Watching::Many(many)) => many.viewers.values().copied().collect(),
            _ => return,
        };
        for viewer in viewers {
            let local = self.viewers.get(viewer).and_then(|it| self.topics.get(it.topic));
            match local.map(|local| self.may_watch(key, local.topic.thread())) {
                Some(false) => self.ask_to_go_on(viewer),
                Some(true) | None => self.leases.forget(viewer),
            }
        }
    }

    /// Tells somebody why he is not let in, and closes.
    pub(super) fn deny(
        &mut self,
        key: Key,
        denied: Denied,
        thread: Option<(&str, Option<&str>)>,
        io: &mut impl Io<Topic = T>,
    ) {
        // Behind our own Close nothing is said.
        if !self.is_open(key) {
            return;
        }
        let (id, source) = thread.unzip();
        self.tell_of_refusal(key, id, denied.why);
        let frame = encode::refusal(denied.why, id, source.flatten());
        if self.sockets.get(key).is_some_and(Socket::is_free) {
            self.put(key, &frame, io);
        }
        self.close(key, denied.code, denied.why, io);
    }

    /// Whoever keeps a record is told of it.
    pub(super) fn tell_of_refusal(&mut self, key: Key, task: Option<&str>, why: &'static str) {
        let pass = self.admitted(key).map(|admitted| admitted.granted.pass.clone());
        let task = task.map(Into::into);
        self.effects.push_back(Effect::Refused { socket: key, pass, task, why });
    }

    /// Tells something of a pass; where the socket is full, the newest later.
    pub(super) fn tell(&mut self, key: Key, frame: &[u8], io: &mut impl Io<Topic = T>) {
        if self.sockets.get(key).is_some_and(Socket::is_free) {
            self.put(key, frame, io);
        } else if let Some(busy) = self.busy(key) {
            busy.owed.pass = Some(frame.into());
        }
    }

    pub(super) fn admitted(&mut self, key: Key) -> Option<&mut Admitted> {
        self.sockets.get_mut(key)?.admitted.as_deref_mut()
    }
}

/// What somebody is told who may not have a task.
const FORBIDDEN_TASK: Denied = Denied { code: FORBIDDEN, why: NOT_THIS };

/// The same in words.
pub(super) const NOT_THIS: &str = "the token does not grant to watch this task";

/// What a socket's pass takes. That of everybody is there once.
fn bytes_of(granted: &Granted) -> usize {
    let pass = &granted.pass;
    let own = if granted.is_known { pass.grants.bytes_len() + pass.identities_len() } else { 0 };
    PASS_BYTES + own
}

impl Purpose {
    /// Whether a pass lets one in for this. Of many tasks, each is looked at when it is asked for.
    fn is_granted_by(&self, granted: &Granted) -> bool {
        let pass = &granted.pass;
        match self {
            Self::Task { thread: Ok(thread), .. } => pass.may(Verb::Watch, thread),
            // There can be no such task.
            Self::Task { thread: Err(_), .. } | Self::Tasks => {
                granted.asks || pass.grants.may_some(Verb::Watch)
            }
            Self::Echo => true,
        }
    }

    /// The task, and its source where that is not the agent's.
    fn thread(&self) -> Option<(&str, Option<&str>)> {
        match self {
            Self::Task { thread: Ok(thread), .. } => Some((thread.as_str(), thread.source_name())),
            Self::Task { thread: Err(given), .. } => Some((&given.id, given.source.as_deref())),
            Self::Tasks | Self::Echo => None,
        }
    }
}
