//! Whom the sockets of a worker are of, and what they may: looked at beside the viewers, and told to the fan-out.

use std::sync::Arc;

use super::Worker;
use crate::access::{REVOKED, Refused, Wish};
use crate::clock;
use crate::core::access::{Pass, Verb};
use crate::core::account::Charge;
use crate::core::fanout::{Denied, Granted, Question};
use crate::core::slots::Key;
use crate::id::ThreadId;
use crate::shared::WorkerMessage;

impl Worker {
    /// A pass that was good when it was looked at may have been taken back on its way here.
    pub(super) fn check_anew(&self, pass: &Pass) -> Result<(), Denied> {
        let is_revoked = self.shared.access.has_revoked(pass);
        if is_revoked { Err(Denied::forbidden(REVOKED)) } else { Ok(()) }
    }

    /// A pass with its end by the clock of the fan-out.
    pub(super) fn granted(&self, pass: Arc<Pass>, is_known: bool, asks: bool) -> Granted {
        let now_ms = self.started.elapsed().as_millis() as u64;
        let left_ms = pass.ends_ms.map(|ends_ms| ends_ms.saturating_sub(clock::now_ms()));
        Granted { ends_ms: left_ms.map(|left_ms| now_ms + left_ms), pass, is_known, asks }
    }

    /// A time by the clock of the fan-out: its next millisecond, so that what ends then has ended.
    pub(super) fn at_ms(&self, at: std::time::Instant) -> u64 {
        at.saturating_duration_since(self.started.into_std()).as_millis() as u64 + 1
    }

    /// Finds what a token grants, beside the viewers.
    pub(super) fn authenticate(&mut self, socket: Key, token: Box<str>, charge: Charge) {
        let (shared, number) = (self.shared.clone(), self.number);
        let (certificate, shown) =
            (self.sockets.certificate_of(socket), self.sockets.shown_of(socket));
        tokio::spawn(async move {
            let admitted =
                shared.access.admit_token(&token, certificate.as_deref(), shown.as_ref());
            let result = admitted.await;
            drop((token, charge));
            shared.inboxes[number].put(WorkerMessage::Authenticated(socket, result));
        });
    }

    /// Asks the application whether a socket may watch a task.
    pub(super) fn decide(&mut self, question: Question, thread: ThreadId) {
        let Some(shown) = self.sockets.shown_of(question.socket) else { return };
        let (shared, number) = (self.shared.clone(), self.number);
        tokio::spawn(async move {
            let wish = Wish::of(Verb::Watch, &thread);
            let decision = shared.access.ask(wish, &shown).await;
            shared.inboxes[number].put(WorkerMessage::Decided(question, decision));
        });
    }
}

/// How a socket is closed whose token does not count.
pub(super) fn denied(refused: Refused) -> Denied {
    let why = refused.text();
    match refused {
        Refused::Missing | Refused::Unknown(_) | Refused::Invalid(_) | Refused::Expired => {
            Denied::unauthenticated(why)
        }
        Refused::Forbidden(_) => Denied::forbidden(why),
        Refused::Unavailable(_) => Denied::unavailable(why),
    }
}
