//! What was revoked, as this server knows it: read from the log when it starts, and again and again.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock;
use crate::core::access::{Identity, Pass, Revocation, Revoked};
use crate::core::account::{Account, Charge, Kind};
use crate::core::backoff::Backoff;
use crate::id::StreamId;
use crate::log::{Log, LogError};

/// How often the log is asked for new ones: each is to be in force within a second.
const READ_PAUSE: Duration = Duration::from_millis(300);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Read at a time.
const READ_MAX: u64 = 1_000;
/// What one takes, beside its text.
const REVOCATION_BYTES: usize = 128;

/// Everything that is revoked.
pub(super) struct Revocations {
    known: RwLock<Known>,
    /// Whether what was there at the start has been read.
    has_read: watch::Sender<bool>,
}

#[derive(Default)]
struct Known {
    /// Each with the time before which a token has to be issued, and when that was said.
    all: HashMap<Revoked, (Option<u64>, u64)>,
    charge: Option<Charge>,
}

impl Revocations {
    pub(super) fn new() -> Self {
        Self { known: RwLock::default(), has_read: watch::Sender::new(false) }
    }

    /// Whether a pass came of a token that was taken back.
    pub(super) fn have(&self, pass: &Pass) -> bool {
        let known = self.known.read();
        !known.all.is_empty() && pass.identities.iter().any(|identity| known.take(identity))
    }

    /// Resolves when it is known what was revoked before the server started. May be dropped.
    pub(super) async fn read(&self) {
        // An error means that nobody reads any more: the server ends.
        _ = self.has_read.subscribe().wait_for(|has_read| *has_read).await;
    }

    pub(super) fn are_read(&self) -> bool {
        *self.has_read.borrow()
    }

    /// Reads what is revoked for as long as the server runs, and tells when there is something new.
    pub(super) async fn follow(
        &self,
        log: &Log,
        account: &Account,
        kept: Duration,
        tell: impl Fn(),
    ) {
        let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let mut position = StreamId { ms: clock::now_ms().saturating_sub(kept_ms), seq: 0 };
        let mut retry = Backoff::new(READ_PAUSE, RETRY_PAUSE_MAX);
        let mut failing = false;
        loop {
            match self.read_to_end(log, account, position, kept_ms, &tell).await {
                Ok(end) => {
                    (failing, retry) = (false, Backoff::new(READ_PAUSE, RETRY_PAUSE_MAX));
                    // What is ahead of the clock would hide what comes: it is read again.
                    position = end.min(StreamId { ms: clock::now_ms(), seq: 0 });
                    self.has_read.send_replace(true);
                    sleep(READ_PAUSE).await;
                }
                Err(error) => {
                    // What is known stays in force.
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "revocations_unreadable");
                    }
                    sleep(retry.next_bound()).await;
                }
            }
        }
    }

    /// Reads what is behind a position: where that ends.
    async fn read_to_end(
        &self,
        log: &Log,
        account: &Account,
        mut position: StreamId,
        kept_ms: u64,
        tell: impl Fn(),
    ) -> Result<StreamId, LogError> {
        loop {
            let read = log.revocations(position, READ_MAX).await?;
            let is_last = (read.len() as u64) < READ_MAX;
            if let Some((last, _)) = read.last() {
                position = *last;
                let oldest_ms = clock::now_ms().saturating_sub(kept_ms);
                if self.known.write().add(read, oldest_ms, account) {
                    tell();
                }
            }
            if is_last {
                return Ok(position);
            }
        }
    }
}

impl Known {
    fn take(&self, identity: &Identity) -> bool {
        let of_subject = identity.subject.clone().map(Revoked::Subject);
        let of_token = identity.token_id.clone().map(Revoked::Token);
        of_subject.into_iter().chain(of_token).any(|of| {
            let found = self.all.get(&of);
            found.is_some_and(|&(issued_before_ms, _)| {
                Revocation { of, issued_before_ms }.takes(identity)
            })
        })
    }

    /// Whether there is anything new among them.
    fn add(
        &mut self,
        read: Vec<(StreamId, Option<Revocation>)>,
        oldest_ms: u64,
        account: &Account,
    ) -> bool {
        let mut is_news = false;
        for (id, revocation) in read {
            let Some(Revocation { of, issued_before_ms }) = revocation else { continue };
            // Whatever takes more back is in force.
            let before = self.all.get(&of).copied();
            let wider = before.map_or(issued_before_ms, |(earlier_ms, _)| {
                earlier_ms.zip(issued_before_ms).map(|(one, other)| one.max(other))
            });
            is_news |= before.is_none_or(|(earlier_ms, _)| earlier_ms != wider);
            self.all.insert(of, (wider, id.ms));
        }
        self.all.retain(|_, (_, said_ms)| *said_ms >= oldest_ms);
        let text = |of: &Revoked| match of {
            Revoked::Subject(text) | Revoked::Token(text) => text.len(),
        };
        let bytes = self.all.keys().map(|of| REVOCATION_BYTES + text(of)).sum();
        self.charge.get_or_insert_with(|| account.charge(Kind::Passes, 0)).set(bytes);
        is_news
    }
}
