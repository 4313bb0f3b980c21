//! What a tail reads from: the log's own way of telling what changed, and of reading it.

use std::sync::Arc;

use bytes::Bytes;

use super::embedded::EmbeddedLog;
use super::redis::history as redis_history;
use super::redis::tail::RedisTail;
use super::redis::wire::Bounds;
use super::tail::{
    HintMode, Hinted, Hints, NoTracking, Question, Read, ReadError, StateKeys, StateSeen, Told,
};
use super::{Kind, Log, LogError};
use crate::core::account::Charge;
use crate::core::history::History;
use crate::id::StreamId;

/// How a tail wants to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SourceWants {
    /// How hints are to come, where that works.
    pub(crate) mode: HintMode,
    /// An entry with a longer value is [`Read::TooLarge`].
    pub(crate) string_bytes_max: usize,
    /// Of an answer that is longer, about, only the beginning is taken.
    pub(crate) answer_bytes_max: usize,
}

/// The connection of one tail.
pub(crate) struct Source(Of);

enum Of {
    Redis(Box<RedisTail>),
    Embedded { log: Arc<EmbeddedLog>, hints: Hints, charge: Option<Charge> },
}

impl Source {
    /// Connects. What the embedded log says has changed comes by `hints`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub(crate) async fn connect(
        log: &Log,
        hints: &Hints,
        wants: SourceWants,
    ) -> Result<Self, LogError> {
        Ok(Self(match &log.0 {
            Kind::Redis(log) => {
                let bounds = Bounds {
                    string_bytes_max: wants.string_bytes_max,
                    message_bytes_max: wants.answer_bytes_max,
                };
                log.check_kind().await?;
                let tail = RedisTail::connect(&log.connector(), wants.mode, bounds).await?;
                Of::Redis(Box::new(tail))
            }
            Kind::Embedded(log) => {
                Of::Embedded { log: log.clone(), hints: hints.clone(), charge: None }
            }
        }))
    }

    /// How the hints come; none in the embedded log, which has one way only.
    pub(crate) fn mode(&self) -> Option<HintMode> {
        match &self.0 {
            Of::Redis(tail) => Some(tail.mode),
            Of::Embedded { .. } => None,
        }
    }

    /// Why hints do not come by tracking although that was wanted, and what Redis said.
    pub(crate) fn no_tracking(&self) -> Option<&(NoTracking, String)> {
        match &self.0 {
            Of::Redis(tail) => tail.no_tracking.as_ref(),
            Of::Embedded { .. } => None,
        }
    }

    /// Where it is read.
    pub(crate) fn history(&self) -> History {
        match &self.0 {
            Of::Redis(tail) => tail.history,
            Of::Embedded { log, .. } => log.history(),
        }
    }

    /// Whether that is known for sure, and not only as long as this connection lasts.
    pub(crate) fn knows_history(&self) -> bool {
        match &self.0 {
            Of::Redis(tail) => tail.history != redis_history::unknown(),
            Of::Embedded { .. } => true,
        }
    }

    /// Asks where it is read now.
    ///
    /// # Errors
    /// The log does not answer.
    pub(crate) async fn renew_history(&mut self) -> Result<(), LogError> {
        match &mut self.0 {
            Of::Redis(tail) => Ok(tail.renew_history().await?),
            Of::Embedded { .. } => Ok(()),
        }
    }

    /// Waits for a hint, and takes all there are. May be dropped: what came stays.
    pub(crate) async fn hinted(&mut self, keys: &mut Vec<Bytes>) -> Hinted {
        match &mut self.0 {
            Of::Redis(tail) => tail.hinted(keys).await,
            Of::Embedded { hints, .. } => hints.next(keys).await,
        }
    }

    /// Has hints wake nobody up, or do so again; none is lost.
    pub(crate) fn keep_still(&self, still: bool) {
        if let Of::Redis(tail) = &self.0 {
            tail.keep_still(still);
        }
    }

    /// Says which streams are watched, and from where.
    pub(crate) fn watch<'a>(&self, streams: impl Iterator<Item = (&'a Bytes, StreamId)>) {
        if let Of::Redis(tail) = &self.0 {
            tail.watch(streams);
        }
    }

    /// Whether the log still answers.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) async fn check(&mut self) -> Result<(), LogError> {
        match &mut self.0 {
            Of::Redis(tail) => Ok(tail.ping().await?),
            Of::Embedded { .. } => Ok(()),
        }
    }

    /// What is received from now on is charged here.
    pub(crate) fn charge(&mut self, received: Charge) {
        match &mut self.0 {
            Of::Redis(tail) => tail.charge(received),
            Of::Embedded { charge, .. } => *charge = Some(received),
        }
    }

    /// What was received is charged by the caller from now on.
    pub(crate) fn take_charge(&mut self) -> Option<Charge> {
        match &mut self.0 {
            Of::Redis(tail) => tail.take_charge(),
            Of::Embedded { charge, .. } => charge.take(),
        }
    }

    /// Reads streams, at most `entries_max` entries of each. The answers stand in the order of the
    /// questions.
    ///
    /// # Errors
    /// Nothing of it was read.
    pub(crate) async fn read(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, ReadError> {
        match &mut self.0 {
            Of::Redis(tail) => tail.read(questions, entries_max).await,
            Of::Embedded { log, .. } => {
                let read = |question: &Question| {
                    let (facts, entries) =
                        log.read(&question.thread, question.after, entries_max as u64);
                    let more = entries.len() == entries_max;
                    Read::Entries { entries, told: Told::Facts(facts), more, large_facts: false }
                };
                Ok(questions.iter().map(read).collect())
            }
        }
    }

    /// Looks at the keys that say when a state may have changed; from then on hints tell of them, where
    /// they come by tracking. The answers stand in the order of the questions; none in the embedded log,
    /// whose every change is an entry.
    ///
    /// # Errors
    /// Nothing was looked at.
    pub(crate) async fn look_at(
        &mut self,
        states: &[StateKeys],
    ) -> Result<Vec<StateSeen>, LogError> {
        match &mut self.0 {
            Of::Redis(tail) => Ok(tail.look_at(states).await?),
            Of::Embedded { .. } => Ok(Vec::new()),
        }
    }

    /// Reads the one entry behind the head in the smallest of all answers.
    ///
    /// # Errors
    /// Nothing was read.
    pub(crate) async fn read_one(
        &mut self,
        question: &Question,
        head: StreamId,
    ) -> Result<Read, ReadError> {
        if let Of::Redis(tail) = &mut self.0 {
            return tail.read_one(question, head).await;
        }
        let read = self.read(std::slice::from_ref(question), 2).await?;
        Ok(read.into_iter().next().unwrap_or(Read::NotRead))
    }
}
