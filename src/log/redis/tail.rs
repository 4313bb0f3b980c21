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
use super::resp::{Cursor, Value};
use super::waiter::Waiter;
use super::wire::{Message, Wire, WireError};
use super::xread;
use crate::id::StreamId;
use crate::log::LogError;
use crate::log::tail::{Beginning, Hinted, Hints, Question, Read};

/// A longer string in the answer to `XINFO STREAM` is let go.
const INFO_STRING_BYTES_MAX: usize = 4096;

/// How often the Sentinels are asked who the master is.
const MASTER_CHECK: Duration = Duration::from_secs(1);

/// How the hints come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailMode {
    /// Redis tells (`CLIENT TRACKING`).
    Tracking,
    /// We ask (`XREAD BLOCK`).
    Block,
}

impl TailMode {
    /// The name in logs, metrics and `stream-info`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tracking => "tracking",
            Self::Block => "block",
        }
    }
}

/// The connection of one worker that reads what changed.
pub struct RedisTail {
    wire: Wire,
    /// How hints come on this connection.
    pub mode: TailMode,
    /// Keys that Redis told of. Bounded by the number of watched streams: it tells of a key once
    /// per read.
    keys: HashSet<Bytes>,
    everything: bool,
    string_bytes_max: usize,
    /// What others find out: that the connection is lost, and in [`TailMode::Block`] the keys.
    hints: Hints,
    waiter: Option<Waiter>,
    /// Behind Sentinels: sees that the master is another one before the old one says so.
    _master_watch: Option<AbortOnDrop>,
}

impl RedisTail {
    /// Connects. `preferred` is tried; where Redis refuses tracking, it is [`TailMode::Block`]. An
    /// entry with a longer value than `string_bytes_max` is [`Read::TooLarge`].
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn connect(
        connector: &Arc<Connector>,
        preferred: TailMode,
        string_bytes_max: usize,
    ) -> Result<Self, LogError> {
        let hints = Hints::default();
        let tail = |wire, mode, waiter, master_watch| Self {
            wire,
            mode,
            keys: HashSet::new(),
            everything: false,
            string_bytes_max,
            hints: hints.clone(),
            waiter,
            _master_watch: master_watch,
        };
        let master_watch = watch_master(connector, &hints).await;
        if preferred == TailMode::Tracking {
            match connector.wire(true, string_bytes_max).await {
                Ok(mut wire) => match wire.ask(&["CLIENT", "TRACKING", "ON"]).await {
                    Ok(()) => return Ok(tail(wire, TailMode::Tracking, None, master_watch)),
                    Err(WireError::Refused(error)) => {
                        tracing::warn!(%error, "tracking_refused");
                    }
                    Err(error) => return Err(error.into()),
                },
                Err(LogError::Refused(error)) if is_resp3_refusal(&error) => {
                    tracing::warn!(%error, "resp3_refused");
                }
                Err(error) => return Err(error),
            }
        }
        let wire = connector.wire(false, string_bytes_max).await?;
        let waiter = Waiter::start(connector.wire(false, string_bytes_max).await?, hints.clone());
        Ok(tail(wire, TailMode::Block, Some(waiter), master_watch))
    }

    /// Says which streams are watched, and from where; only [`TailMode::Block`] needs to know.
    pub fn watch<'a>(&self, streams: impl Iterator<Item = (&'a Bytes, StreamId)>) {
        if let Some(waiter) = &self.waiter {
            waiter.watch(streams);
        }
    }

    /// Waits for a hint, and takes all there are. May be dropped: what came stays.
    pub async fn hinted(&mut self, keys: &mut Vec<Bytes>) -> Hinted {
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
    pub fn keep_still(&self, still: bool) {
        self.wire.keep_still(still);
    }

    /// Whether the connection still answers: a peer that vanished says nothing by itself.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where it does not within the response timeout.
    pub async fn ping(&mut self) -> Result<(), LogError> {
        super::wire::put_head(self.wire.out(), 1);
        super::wire::put_word(self.wire.out(), b"PING");
        self.wire.send().await?;
        self.reply().await?;
        Ok(())
    }

    /// Reads streams, at most `entries_max` entries of each. The answers stand in the order of the
    /// questions.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`]: nothing of it was read.
    pub async fn read(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, LogError> {
        match self.read_together(questions, entries_max).await {
            Err(LogError::Refused(error)) if error.starts_with("WRONGTYPE") => {}
            result => return result,
        }
        // One key of a wrong type fails the whole command: ask for each by itself.
        let mut reads = Vec::with_capacity(questions.len());
        for question in questions {
            match self.read_together(std::slice::from_ref(question), entries_max).await {
                Ok(read) => reads.extend(read),
                Err(LogError::Refused(error)) if error.starts_with("WRONGTYPE") => {
                    reads.push(Read::WrongType);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(reads)
    }

    async fn read_together(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, LogError> {
        let streams = questions.iter().map(|question| (&question.key, question.after));
        xread::put(self.wire.out(), streams, entries_max, None);
        for question in questions.iter().filter(|question| question.asks_beginning) {
            xread::put_info(self.wire.out(), &question.key);
        }
        self.wire.send().await?;
        let reply = self.reply().await?;
        let beginnings = self.beginnings(questions).await?;
        let reply = match reply {
            Answer::Whole(reply) => reply,
            Answer::Cut(part) => return find_too_large(questions, &part),
        };
        let mut found = xread::streams(&reply).map_err(WireError::Refused)?.into_iter().peekable();
        let read = |(question, beginning): (&Question, _)| {
            let entries = found.next_if(|(key, _)| *key == question.key);
            let entries = entries.map(|(_, entries)| entries).unwrap_or_default();
            Read::Entries { entries, beginning }
        };
        Ok(questions.iter().zip(beginnings).map(read).collect())
    }

    /// How those streams began that are asked for it. They are asked after the entries were read:
    /// what is taken out between makes the answer look worse, never better.
    async fn beginnings(&mut self, questions: &[Question]) -> Result<Vec<Beginning>, LogError> {
        let mut beginnings = vec![Beginning::Unknown; questions.len()];
        // That comes before the entries that are in the answer too, however large they are.
        self.wire.take_strings_up_to(INFO_STRING_BYTES_MAX);
        for (question, beginning) in questions.iter().zip(&mut beginnings) {
            if question.asks_beginning {
                let (Answer::Whole(reply) | Answer::Cut(reply)) = self.reply().await?;
                *beginning = xread::beginning(&reply);
            }
        }
        self.wire.take_strings_up_to(self.string_bytes_max);
        Ok(beginnings)
    }

    /// The next reply; pushes that come before it are taken.
    async fn reply(&mut self) -> Result<Answer, LogError> {
        loop {
            match self.wire.reply().await? {
                Message::Reply(reply) => return Ok(Answer::Whole(reply)),
                Message::Cut(beginning) => return Ok(Answer::Cut(beginning)),
                push @ Message::Push(_) => self.take(push),
            }
        }
    }

    /// Takes what Redis says unasked. Replies are asked for; one that comes here is of no use.
    fn take(&mut self, message: Message) {
        let Message::Push(push) = message else { return };
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

enum Answer {
    Whole(Bytes),
    Cut(Bytes),
}

/// An answer broke off at an entry that is too large: it is the last stream in it.
fn find_too_large(questions: &[Question], part: &Bytes) -> Result<Vec<Read>, LogError> {
    let too_large = xread::last_key(part);
    let is_it = |question: &Question| Some(&question.key) == too_large.as_ref();
    if !questions.iter().any(is_it) {
        return Err(LogError::Unavailable("an answer that is too large".into()));
    }
    let read = |question| if is_it(question) { Read::TooLarge } else { Read::NotRead };
    Ok(questions.iter().map(read).collect())
}

/// An old server or a proxy that does not know `HELLO 3`, as opposed to one that wants a password.
fn is_resp3_refusal(error: &str) -> bool {
    let error = error.to_ascii_lowercase();
    ["hello", "resp3", "noproto", "unknown command", "unsupported"]
        .iter()
        .any(|word| error.contains(word))
        && !error.contains("auth")
}

/// Behind Sentinels, a task that says the connection is lost when they name another master.
async fn watch_master(connector: &Arc<Connector>, hints: &Hints) -> Option<AbortOnDrop> {
    let master = connector.master().await?;
    let (connector, hints) = (connector.clone(), hints.clone());
    Some(AbortOnDrop(tokio::spawn(async move {
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
