//! The tail: which streams changed, and what is new in them.
//!
//! Redis is asked to tell of changes (`CLIENT TRACKING`): each read of a stream makes it tell once
//! of the next change. What it tells is a hint; it only ever makes a read come sooner. Where
//! tracking is refused, a second connection waits with `XREAD BLOCK` and makes the hints itself.

mod read;
mod states;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use super::connection::Connector;
use super::error::Failure;
use super::history;
use super::resp::{Cursor, Value};
use super::tracking::{self, Tracked};
use super::waiter::Waiter;
use super::wire::{Bounds, Received, TooLong, Wire};
use super::xread;
use crate::core::account::Charge;
use crate::core::history::History;
use crate::id::StreamId;
use crate::log::tail::{HintMode, Hinted, Hints, NoTracking};
use crate::supervise::on_panic;

/// How often the Sentinels are asked who the master is.
const MASTER_CHECK: Duration = Duration::from_secs(1);

/// The connection of one worker that reads what changed.
pub(in crate::log) struct RedisTail {
    wire: Wire,
    /// How hints come on this connection.
    pub(in crate::log) mode: HintMode,
    /// Where it reads.
    pub(in crate::log) history: History,
    /// Whether Redis lets this user do several things in one step, as far as is known.
    may_multi: bool,
    /// Whether it lets this user run scripts, as far as is known.
    may_eval: bool,
    /// Why it is not tracking, where that was wanted, and what Redis said.
    pub(in crate::log) no_tracking: Option<(NoTracking, String)>,
    /// Keys that Redis told of. Bounded by the number of watched streams: it tells of a key once
    /// per read.
    keys: HashSet<Bytes>,
    everything: bool,
    bounds: Bounds,
    /// What others find out: that the connection is lost, and in [`HintMode::Block`] the keys.
    hints: Hints,
    waiter: Option<Waiter>,
    /// Behind Sentinels: sees that the master is another one before the old one says so.
    _master_watch: Option<AbortOnDrop>,
}

impl RedisTail {
    /// Connects. `preferred` is tried; where tracking is not to be had, it is [`HintMode::Block`].
    /// An entry that is longer than `bounds` is [`Read::TooLarge`].
    ///
    /// # Errors
    /// Where Redis cannot be used now, or refuses to be used at all.
    pub(in crate::log) async fn connect(
        connector: &Arc<Connector>,
        preferred: HintMode,
        bounds: Bounds,
    ) -> Result<Self, Failure> {
        let hints = Hints::default();
        let master_watch = watch_master(connector, &hints).await;
        let mut no_tracking = None;
        let mut tracked = None;
        if preferred == HintMode::Tracking {
            match tracking::connect(connector, bounds).await? {
                Tracked::Yes(wire) => tracked = Some(*wire),
                Tracked::No(why, error) => no_tracking = Some((why, error)),
            }
        }
        let (wire, mode, waiter) = match tracked {
            Some(wire) => (wire, HintMode::Tracking, None),
            None => {
                let wire = connector.wire(false, bounds).await?;
                let waiting = connector.wire(false, bounds).await?;
                (wire, HintMode::Block, Some(Waiter::start(waiting, hints.clone())))
            }
        };
        let mut tail = Self {
            wire,
            mode,
            history: History::default(),
            may_multi: true,
            may_eval: true,
            no_tracking,
            keys: HashSet::new(),
            everything: false,
            bounds,
            hints,
            waiter,
            _master_watch: master_watch,
        };
        tail.renew_history().await?;
        Ok(tail)
    }

    /// Asks which history the server has now.
    ///
    /// # Errors
    /// Where it does not answer within the response timeout.
    pub(in crate::log) async fn renew_history(&mut self) -> Result<(), Failure> {
        history::SECTIONS.iter().for_each(|section| self.wire.put(&["INFO", section]));
        self.wire.send().await?;
        let mut sections = [None, None];
        for section in &mut sections {
            let (reply, _) = self.reply().await?.parts();
            *section = Cursor::new(&reply).text();
        }
        self.history = history::of(sections).unwrap_or_else(history::unknown);
        Ok(())
    }

    /// Says which streams are watched, and from where; only [`HintMode::Block`] needs to know.
    pub(in crate::log) fn watch<'a>(&self, streams: impl Iterator<Item = (&'a Bytes, StreamId)>) {
        if let Some(waiter) = &self.waiter {
            waiter.watch(streams);
        }
    }

    /// Waits for a hint, and takes all there are. May be dropped: what came stays.
    pub(in crate::log) async fn hinted(&mut self, keys: &mut Vec<Bytes>) -> Hinted {
        loop {
            // All that is there: hints that came with the last reply, and those behind it.
            while let Some(message) = self.wire.message().now_or_never() {
                if let Err(error) = message.map(|message| self.take(message)) {
                    tracing::debug!(%error, "tail_broken");
                    return Hinted::ConnectionLost;
                }
            }
            if std::mem::take(&mut self.everything) {
                return Hinted::Everything;
            }
            if !self.keys.is_empty() {
                keys.extend(self.keys.drain());
                return Hinted::Keys;
            }
            tokio::select! {
                // Dropped: what came stays in the wire.
                message = self.wire.message() => match message {
                    Ok(message) => self.take(message),
                    Err(error) => {
                        tracing::debug!(%error, "tail_broken");
                        return Hinted::ConnectionLost;
                    }
                },
                // Dropped: hints stay until they are taken.
                hinted = self.hints.next(keys) => return hinted,
            }
        }
    }

    /// Between reads, has hints wake nobody up; they are there afterwards.
    pub(in crate::log) fn keep_still(&self, still: bool) {
        self.wire.keep_still(still);
    }

    /// Whether the connection still answers: a peer that vanished says nothing by itself.
    ///
    /// # Errors
    /// Where it does not within the response timeout.
    pub(in crate::log) async fn ping(&mut self) -> Result<(), Failure> {
        self.wire.put(&["PING"]);
        self.wire.send().await?;
        // Not as `ask` does: hints that come before the reply are taken.
        let (reply, _) = self.reply().await?.parts();
        match Cursor::new(&reply).value() {
            Some(Value::Error(error)) => Err(Failure::answered(&String::from_utf8_lossy(&error))),
            _ => Ok(()),
        }
    }

    /// What is received from now on is charged here.
    pub(in crate::log) fn charge(&mut self, charge: Charge) {
        self.wire.charge(charge);
    }

    /// What was received is charged by somebody else from now on.
    pub(in crate::log) fn take_charge(&mut self) -> Option<Charge> {
        self.wire.take_charge()
    }

    /// The next reply; pushes that come before it are taken.
    async fn reply(&mut self) -> Result<Reply, Failure> {
        loop {
            match self.wire.reply().await? {
                Received::Reply(reply) => return Ok(Reply::Whole(reply)),
                Received::Cut(part, what) => return Ok(Reply::Cut(part, what)),
                push @ Received::Push(_) => self.take(push),
            }
        }
    }

    /// Takes what Redis says unasked. Replies are asked for; one that comes here is of no use.
    fn take(&mut self, message: Received) {
        let Received::Push(push) = message else { return };
        let mut cursor = Cursor::new(&push);
        let kind = cursor.values().and_then(|_| cursor.text());
        if kind.as_deref() != Some(b"invalidate") {
            return;
        }
        match cursor.value() {
            Some(Value::Values(number)) => {
                // Copied, so that a key does not hold on to all that came with it.
                let keys = (0..number).map_while(|_| cursor.text());
                self.keys.extend(keys.map(|key| Bytes::copy_from_slice(&key)));
            }
            _ => self.everything = true,
        }
    }
}

enum Reply {
    Whole(Bytes),
    Cut(Bytes, TooLong),
}

impl Reply {
    /// What has come of it, and why no more.
    fn parts(self) -> (Bytes, Option<TooLong>) {
        match self {
            Self::Whole(reply) => (reply, None),
            Self::Cut(part, what) => (part, Some(what)),
        }
    }
}

/// Behind Sentinels, a task that says the connection is lost when they name another master.
async fn watch_master(connector: &Arc<Connector>, hints: &Hints) -> Option<AbortOnDrop> {
    let master = connector.master().await?;
    let (connector, hints) = (connector.clone(), hints.clone());
    Some(AbortOnDrop(tokio::spawn(async move {
        let _lost = on_panic(|| hints.lose());
        loop {
            tokio::time::sleep(MASTER_CHECK).await;
            if connector.master().await.is_some_and(|now| now != master) {
                return hints.lose();
            }
        }
    })))
}

pub(super) struct AbortOnDrop(pub(super) tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
