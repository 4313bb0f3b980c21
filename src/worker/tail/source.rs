//! What a tail reads from: the log's own way of telling what changed, and of reading it.

use bytes::Bytes;

use super::Share;
use crate::log::redis::tail::{RedisTail, TailMode};
use crate::log::tail::{Beginning, Hinted, Hints, Question, Read};
use crate::log::{Log, LogError};
use crate::worker::shared::Shared;

pub(super) enum Source {
    Redis(Box<RedisTail>),
    Embedded(Hints),
}

impl Source {
    /// Connects, in the mode that is preferred where that works.
    pub(super) async fn connect(
        shared: &Shared,
        number: usize,
        preferred: TailMode,
        share: &Share,
    ) -> Result<Self, LogError> {
        match &shared.log {
            Log::Redis(log) => {
                let connector = log.connector();
                let tail = RedisTail::connect(&connector, preferred, share.string_bytes_max);
                Ok(Self::Redis(Box::new(tail.await?)))
            }
            Log::Embedded(_) => Ok(Self::Embedded(shared.embedded_hints[number].clone())),
        }
    }

    /// How the hints come; none in the embedded log, which has one way only.
    pub(super) fn mode(&self) -> Option<TailMode> {
        match self {
            Self::Redis(tail) => Some(tail.mode),
            Self::Embedded(_) => None,
        }
    }

    /// Waits for a hint, and takes all there are. May be dropped: what came stays.
    pub(super) async fn hinted(&mut self, keys: &mut Vec<Bytes>) -> Hinted {
        match self {
            Self::Redis(tail) => tail.hinted(keys).await,
            Self::Embedded(hints) => hints.next(keys).await,
        }
    }

    /// Has hints wake nobody up, or do so again; none is lost.
    pub(super) fn keep_still(&self, still: bool) {
        if let Self::Redis(tail) = self {
            tail.keep_still(still);
        }
    }

    /// Whether Redis still answers.
    pub(super) async fn check(&mut self) -> Result<(), LogError> {
        match self {
            Self::Redis(tail) => tail.ping().await,
            Self::Embedded(_) => Ok(()),
        }
    }

    /// The answers stand in the order of the questions.
    pub(super) async fn read(
        &mut self,
        shared: &Shared,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, LogError> {
        match (self, &shared.log) {
            (Self::Redis(tail), _) => tail.read(questions, entries_max).await,
            (Self::Embedded(_), Log::Embedded(log)) => {
                let read = |question: &Question| {
                    let entries = log.read(&question.thread, question.after, entries_max as u64).1;
                    Read::Entries { entries, beginning: Beginning::Unknown }
                };
                Ok(questions.iter().map(read).collect())
            }
            (Self::Embedded(_), Log::Redis(_)) => Ok(Vec::new()),
        }
    }
}
