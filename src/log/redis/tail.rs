//! The tail: which streams changed, and what is new in them.
//!
//! Redis is asked to tell of changes (`CLIENT TRACKING`): each read of a stream makes it tell once
//! of the next change. What it tells is a hint; it only ever makes a read come sooner. Where
//! tracking is refused, a second connection waits with `XREAD BLOCK` and makes the hints itself.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use super::connection::Connector;
use super::error::{Class, Failure};
use super::resp::{Cursor, Value};
use super::tracking::{self, Tracked};
use super::waiter::Waiter;
use super::wire::{Bounds, Received, TooLong, Wire};
use super::xread;
use crate::core::account::Charge;
use crate::id::StreamId;
use crate::log::Entry;
use crate::log::tail::{Beginning, HintMode, Hinted, Hints, NoTracking, Question, Read, ReadError};
use crate::supervise::on_panic;

/// A longer string in the answer to `XINFO STREAM` is let go.
const INFO: Bounds = Bounds { string_bytes_max: 4096, message_bytes_max: usize::MAX };

/// How often the Sentinels are asked who the master is.
const MASTER_CHECK: Duration = Duration::from_secs(1);

/// The connection of one worker that reads what changed.
pub(in crate::log) struct RedisTail {
    wire: Wire,
    /// How hints come on this connection.
    pub(in crate::log) mode: HintMode,
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
        Ok(Self {
            wire,
            mode,
            no_tracking,
            keys: HashSet::new(),
            everything: false,
            bounds,
            hints,
            waiter,
            _master_watch: master_watch,
        })
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
        let (Reply::Whole(reply) | Reply::Cut(reply, _)) = self.reply().await?;
        match Cursor::new(&reply).value() {
            Some(Value::Error(error)) => Err(Failure::answered(&String::from_utf8_lossy(&error))),
            _ => Ok(()),
        }
    }

    /// Reads streams, at most `entries_max` entries of each. The answers stand in the order of the
    /// questions.
    ///
    /// # Errors
    /// Nothing of it was read.
    pub(in crate::log) async fn read(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, ReadError> {
        match self.read_together(questions, entries_max).await {
            Err(failure) if is_of_one_stream(&failure) => {}
            result => return Ok(result?),
        }
        // One key fails the whole command: ask for each by itself.
        let mut reads = Vec::with_capacity(questions.len());
        for question in questions {
            match self.read_together(std::slice::from_ref(question), entries_max).await {
                Ok(read) => reads.extend(read),
                Err(failure) if failure.class == Class::WrongType => reads.push(Read::WrongType),
                Err(failure) if is_of_one_stream(&failure) => {
                    reads.push(Read::Refused(failure.text));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(reads)
    }

    /// Reads the one entry behind the head, and asks for the head by itself: each answer holds one
    /// entry at the most. As of the head, the answer has only that it is still there.
    ///
    /// # Errors
    /// Nothing was read.
    pub(in crate::log) async fn read_one(
        &mut self,
        question: &Question,
        head: StreamId,
    ) -> Result<Read, ReadError> {
        match self.try_read_one(&question.key, head).await {
            Ok(entries) => {
                let more = entries.len() > 1 || (head == StreamId::ZERO && !entries.is_empty());
                Ok(Read::Entries { entries, beginning: Beginning::Unknown, more })
            }
            Err(failure) if failure.class == Class::WrongType => Ok(Read::WrongType),
            Err(failure) if is_of_one_stream(&failure) => Ok(Read::Refused(failure.text)),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn try_read_one(&mut self, key: &Bytes, head: StreamId) -> Result<Vec<Entry>, Failure> {
        xread::put(self.wire.out(), [(key, head)].into_iter(), 1, None);
        self.wire.send().await?;
        let (Reply::Whole(reply) | Reply::Cut(reply, _)) = self.reply().await?;
        let streams = xread::streams(&reply).map_err(|error| Failure::answered(&error))?;
        let next = streams.into_iter().flat_map(|(_, entries)| entries);
        if head == StreamId::ZERO {
            return Ok(next.collect());
        }
        // After the read: if the head is there now, it was there then.
        xread::put(self.wire.out(), [(key, head.predecessor())].into_iter(), 1, None);
        self.wire.send().await?;
        self.wire.take_up_to(INFO);
        let reply = self.reply().await;
        self.wire.take_up_to(self.bounds);
        let (Reply::Whole(reply) | Reply::Cut(reply, _)) = reply?;
        let first = xread::first_id(&reply);
        Ok(first.map(|id| Entry { id, fields: Vec::new() }).into_iter().chain(next).collect())
    }

    /// What is received from now on is charged here.
    pub(in crate::log) fn charge(&mut self, charge: Charge) {
        self.wire.charge(charge);
    }

    /// What was received is charged by somebody else from now on.
    pub(in crate::log) fn take_charge(&mut self) -> Option<Charge> {
        self.wire.take_charge()
    }

    async fn read_together(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, Failure> {
        let streams = questions.iter().map(|question| (&question.key, question.after));
        xread::put(self.wire.out(), streams, entries_max, None);
        for question in questions.iter().filter(|question| question.asks_beginning) {
            xread::put_info(self.wire.out(), &question.key);
        }
        self.wire.send().await?;
        let reply = self.reply().await?;
        let beginnings = self.beginnings(questions).await?;
        let reply = match reply {
            Reply::Whole(reply) => reply,
            Reply::Cut(part, what) => {
                return Ok(part_of(questions, &beginnings, &part, what, self.bounds));
            }
        };
        let found = xread::streams(&reply).map_err(|error| Failure::answered(&error))?;
        let mut found = found.into_iter().peekable();
        let read = |(question, beginning): (&Question, _)| {
            let entries = found.next_if(|(key, _)| *key == question.key);
            let entries = entries.map(|(_, entries)| entries).unwrap_or_default();
            let more = entries.len() == entries_max;
            Read::Entries { entries, beginning, more }
        };
        Ok(questions.iter().zip(beginnings).map(read).collect())
    }

    /// How those streams began that are asked for it. They are asked after the entries were read:
    /// what is taken out between makes the answer look worse, never better.
    async fn beginnings(&mut self, questions: &[Question]) -> Result<Vec<Beginning>, Failure> {
        let mut beginnings = vec![Beginning::Unknown; questions.len()];
        // That comes before the entries that are in the answer too, however large they are.
        self.wire.take_up_to(INFO);
        for (question, beginning) in questions.iter().zip(&mut beginnings) {
            if question.asks_beginning {
                let (Reply::Whole(reply) | Reply::Cut(reply, _)) = self.reply().await?;
                *beginning = xread::beginning(&reply);
            }
        }
        self.wire.take_up_to(self.bounds);
        Ok(beginnings)
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

/// Whether an error may be about one of the streams only.
fn is_of_one_stream(failure: &Failure) -> bool {
    matches!(failure.class, Class::WrongType | Class::NoRightToKey | Class::Refused)
}

/// What can be said of the streams where the answer broke off.
fn part_of(
    questions: &[Question],
    beginnings: &[Beginning],
    part: &Bytes,
    what: TooLong,
    bounds: Bounds,
) -> Vec<Read> {
    let Ok(xread::Streams { whole, broken }) = xread::answer(part) else {
        return questions.iter().map(|_| Read::NotRead).collect();
    };
    let is_long =
        |entry: &Entry| entry.fields.iter().any(|(_, value)| value.len() > bounds.string_bytes_max);
    // The string may have come whole while the answer was still incomplete.
    let any_long = whole.iter().chain(&broken).any(|(_, entries)| entries.iter().any(is_long));
    let long_in_broken = what == TooLong::String && !any_long;
    let (mut whole, mut broken) = (whole.into_iter().peekable(), broken);
    let alone = questions.len() == 1;
    let read = |(question, beginning): (&Question, &Beginning)| {
        if let Some((_, entries)) = whole.next_if(|(key, _)| *key == question.key) {
            if entries.iter().any(is_long) {
                return Read::TooLarge;
            }
            return Read::Entries { entries, beginning: *beginning, more: true };
        }
        let Some((_, entries)) = broken.take_if(|(key, _)| *key == question.key) else {
            // Nothing new, where a later stream is in the answer; else it was not reached.
            return Read::NotRead;
        };
        let news = entries.len() > usize::from(question.after != StreamId::ZERO);
        if long_in_broken || entries.iter().any(is_long) || (alone && !news) {
            Read::TooLarge
        } else if news {
            Read::Entries { entries, beginning: *beginning, more: true }
        } else {
            Read::BrokenOff
        }
    };
    questions.iter().zip(beginnings).map(read).collect()
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure.class {
            Class::Broken => Self::CutOff(text),
            Class::Silent | Class::Passing | Class::Late | Class::Redirect => {
                Self::Unavailable(text)
            }
            _ => Self::Refused(text),
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
