//! When passes end, and what is told of that (protocol §5).
//!
//! There is no timer per viewer: what comes next of each socket's pass stands in one ordered queue. A pass
//! that ends takes its socket's viewers with it at once, so that no frame begins after it; the closings of many
//! are spread, so that they do not come back as one herd.

use std::collections::{BTreeSet, VecDeque};

use super::admission::{Denied, Granted};
use super::{Fanout, Io, Socket, Topic};
use crate::access::Pass;
use crate::encode;
use crate::slots::Key;

/// So long before the end it is told.
const EXPIRING_MS: u64 = 60_000;

/// Who may nothing without a token has so long to send one.
const AUTH_MS: u64 = 5_000;

/// Within so long all are closed whose passes ended together,
const ENDED_SPREAD_MS: u64 = 4_000;
/// in so many steps.
const ENDED_STEP_MS: u64 = 100;

/// What is due of the passes of a worker's sockets.
#[derive(Default)]
pub(super) struct Expiry {
    /// What comes next of each, and when.
    due: BTreeSet<(u64, Key)>,
    /// Sockets that may watch nothing any more, and are to be closed:
    ended: VecDeque<(Key, Denied)>,
    /// so many in a step,
    per_step: usize,
    /// and the next ones then.
    next_ms: u64,
}

impl<T: Topic> Fanout<T> {
    /// Does what is due of passes.
    pub(super) fn look_at_passes(&mut self, io: &mut impl Io<Topic = T>) {
        while let Some((due_ms, key)) =
            self.expiry.due.first().copied().filter(|(due_ms, _)| *due_ms <= self.now_ms)
        {
            self.expiry.due.remove(&(due_ms, key));
            self.pass_is_due(key, io);
        }
        self.look_at_leases(io);
        self.close_ended(io);
    }

    fn pass_is_due(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        let (now_ms, is_open) = (self.now_ms, self.is_open(key));
        let Some(admitted) = self.admitted(key) else { return };
        admitted.due_ms = None;
        if !is_open {
            return;
        }
        if admitted.awaits.is_some() {
            // A token that is being looked at came in time.
            if admitted.is_checking {
                return;
            }
            let denied = Denied::unauthenticated("a token is needed");
            return self.deny(key, denied, None, io);
        }
        let Some(ends_ms) = admitted.granted.ends_ms else { return };
        if ends_ms <= now_ms {
            return self.end_all_of(key, Denied::unauthenticated(EXPIRED), io);
        }
        if !std::mem::replace(&mut admitted.was_warned, true) {
            self.tell(key, &encode::auth_expiring((ends_ms - now_ms).div_ceil(1000)), io);
        }
        self.schedule(key);
    }

    /// A socket may watch nothing any more. From here on no frame begins; it is closed in its turn.
    pub(super) fn end_all_of(&mut self, key: Key, denied: Denied, io: &mut impl Io<Topic = T>) {
        self.remove_viewers_of(key, io);
        if self.expiry.ended.is_empty() {
            (self.expiry.per_step, self.expiry.next_ms) = (1, self.now_ms);
        }
        self.expiry.ended.push_back((key, denied));
        let steps = (ENDED_SPREAD_MS / ENDED_STEP_MS) as usize;
        self.expiry.per_step = self.expiry.per_step.max(self.expiry.ended.len().div_ceil(steps));
    }

    /// Passes were taken back: who came with one of them is closed, and no frame begins for him from here on.
    pub fn revoke(&mut self, is_revoked: impl Fn(&Pass) -> bool, io: &mut impl Io<Topic = T>) {
        let is_one = |socket: &Socket| {
            let admitted = socket.admitted.as_ref();
            admitted.is_some_and(|admitted| is_revoked(&admitted.granted.pass))
        };
        let keys = self.sockets.keys();
        let revoked = keys.filter(|key| self.sockets.get(*key).is_some_and(is_one));
        for key in revoked.collect::<Vec<_>>() {
            self.remove_viewers_of(key, io);
            self.deny(key, Denied::forbidden(REVOKED), None, io);
        }
    }

    fn close_ended(&mut self, io: &mut impl Io<Topic = T>) {
        if self.expiry.ended.is_empty() || self.expiry.next_ms > self.now_ms {
            return;
        }
        self.expiry.next_ms = self.now_ms + ENDED_STEP_MS;
        for _ in 0..self.expiry.per_step {
            let Some((key, denied)) = self.expiry.ended.pop_front() else { break };
            self.deny(key, denied, None, io);
        }
    }

    /// When something of passes is due next.
    pub(super) fn passes_due_ms(&self) -> Option<u64> {
        let ended_ms = (!self.expiry.ended.is_empty()).then_some(self.expiry.next_ms);
        let due_ms = self.expiry.due.first().map(|(due_ms, _)| *due_ms);
        ended_ms.into_iter().chain(due_ms).chain(self.leases.due_ms()).min()
    }

    /// The next thing of a socket's pass stands in the queue.
    pub(super) fn schedule(&mut self, key: Key) {
        let now_ms = self.now_ms;
        let Some(admitted) = self.sockets.get_mut(key).and_then(|it| it.admitted.as_mut()) else {
            return;
        };
        let next_ms = match (&admitted.awaits, admitted.granted.ends_ms) {
            (Some(_), _) => Some(now_ms + AUTH_MS),
            (None, Some(ends_ms)) if !admitted.was_warned => Some(ends_ms - EXPIRING_MS),
            (None, ends_ms) => ends_ms,
        };
        let before_ms = std::mem::replace(&mut admitted.due_ms, next_ms);
        if let Some(before_ms) = before_ms {
            self.expiry.due.remove(&(before_ms, key));
        }
        if let Some(next_ms) = next_ms {
            self.expiry.due.insert((next_ms, key));
        }
    }

    /// A socket is gone: nothing of its pass is due any more.
    pub(super) fn forget_pass(&mut self, key: Key, socket: &Socket) {
        if let Some(due_ms) = socket.admitted.as_ref().and_then(|admitted| admitted.due_ms) {
            self.expiry.due.remove(&(due_ms, key));
        }
    }
}

/// Whether a pass ends so soon that who gets it need not be told later.
pub(super) fn ends_soon(granted: &Granted, now_ms: u64) -> bool {
    granted.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms + EXPIRING_MS)
}

/// What somebody is told whose pass was taken back.
const REVOKED: &str = "the token was revoked";

/// What somebody is told whose pass has ended.
const EXPIRED: &str = "the token has expired: get a new one, and come back with since";
