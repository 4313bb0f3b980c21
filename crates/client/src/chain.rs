//! The chain of a followed task: which entry has to come next, proved by `prev_stream_id`.
//!
//! Takes the text of each frame and says what it means for the viewer. Knows no socket, no clock
//! and no task; whoever owns a connection feeds it.

use std::fmt;

use super::frame::{self, Kind};
use taskcast_core::id::StreamId;
use taskcast_core::since::Since;

/// What a frame means to one who follows a task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Update {
    /// `initial_state`: the task as it is at a position.
    Initial {
        /// The position; entries after it follow.
        stream_id: Option<StreamId>,
        /// The server jumped to this position without a `gap`, so entries may be missing.
        lost: bool,
    },
    /// An entry of the task's stream, the next one in the chain.
    Entry {
        /// The entry's own id.
        stream_id: StreamId,
        /// The id of the entry before it.
        prev_stream_id: StreamId,
    },
    /// `caught_up`: everything that was retained has been sent; what follows is live.
    CaughtUp,
    /// `gap`: entries after the position are gone. An `initial_state` follows.
    Gap(Gap),
    /// What the task's keys tell and no entry does. No part of the chain: the position stays.
    Derived,
    /// `end`: the last entry, as its source describes them, ended the task. Others may still come, and may
    /// take it back. No part of the chain either.
    End {
        /// Whether it failed.
        failed: bool,
    },
    /// The server does not know the task, or its id is malformed.
    NotFound,
    /// Any other frame, such as `pong`.
    Other,
}

/// What the server says about entries that it could not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The position that was asked for.
    pub requested: Option<StreamId>,
    /// The first entry that is still retained.
    pub first: Option<StreamId>,
    /// The last entry of the stream.
    pub last: Option<StreamId>,
    /// `trimmed`, `deleted` or `reset`.
    pub reason: String,
}

/// The position of one who follows a task, over any number of connections.
///
/// Call [`connect`](Self::connect) before each connection, then [`take`](Self::take) with every
/// text frame of it. Where `take` fails, the connection is of no more use: connect again.
#[derive(Debug)]
pub struct Chain {
    /// The last position that was proved; none before the first `initial_state`.
    at: Option<StreamId>,
    /// Nothing has come yet of whatever is retained, which is wanted.
    retained: bool,
    next: Next,
    repeats: u64,
}

/// What the next frame has to be.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// An `initial_state`; an entry would hang in the air.
    Snapshot,
    /// The first entry that is retained, whatever came before it.
    First,
    /// The entry right after `at`.
    Link,
}

impl Chain {
    /// Follows from the state that the server will send first.
    pub fn new() -> Self {
        Self { at: None, retained: false, next: Next::Snapshot, repeats: 0 }
    }

    /// Follows from a position that was seen before, or from the first entry that is retained.
    pub fn since(since: Since) -> Self {
        Self { at: Some(since.position()), retained: since == Since::Retained, ..Self::new() }
    }

    /// A connection begins. Returns the `since` to ask for, if any.
    pub fn connect(&mut self) -> Option<Since> {
        self.next = match self.at {
            None => Next::Snapshot,
            Some(_) if self.retained => Next::First,
            Some(_) => Next::Link,
        };
        self.at.map(|at| if self.retained { Since::Retained } else { Since::After(at) })
    }

    /// Takes a text frame. `None` is an entry that was seen before; it is counted, and is to be
    /// passed over.
    ///
    /// # Errors
    /// The entry is not the next one. The position stays where it was.
    pub fn take(&mut self, frame: &[u8]) -> Result<Option<Update>, Broken> {
        let update = match frame::kind(frame) {
            Kind::Entry { stream_id, prev_stream_id } => {
                return self.link(stream_id, prev_stream_id);
            }
            Kind::Initial { stream_id } => self.settle(stream_id),
            Kind::CaughtUp { stream_id } => {
                // With nothing retained, this is the first position there is.
                if self.next == Next::First && stream_id > self.at {
                    self.at = stream_id;
                    self.retained = false;
                    self.next = Next::Link;
                }
                Update::CaughtUp
            }
            Kind::Gap { requested, first, last, reason } => {
                self.next = Next::Snapshot;
                Update::Gap(Gap { requested, first, last, reason: reason.into_owned() })
            }
            Kind::Derived => Update::Derived,
            Kind::End { failed } => Update::End { failed },
            Kind::Error => Update::NotFound,
            Kind::Other => Update::Other,
        };
        Ok(Some(update))
    }

    /// The last position that was proved.
    pub fn position(&self) -> Option<StreamId> {
        self.at
    }

    /// How many entries came more than once.
    pub fn repeats(&self) -> u64 {
        self.repeats
    }

    fn settle(&mut self, stream_id: Option<StreamId>) -> Update {
        let lost = self.next != Next::Snapshot && self.at != stream_id;
        self.at = stream_id;
        self.retained = false;
        // A server that gives no position gives nothing to hold the first entry against.
        self.next = if stream_id.is_some() { Next::Link } else { Next::First };
        Update::Initial { stream_id, lost }
    }

    fn link(
        &mut self,
        stream_id: Option<StreamId>,
        prev_stream_id: Option<StreamId>,
    ) -> Result<Option<Update>, Broken> {
        let (Some(stream_id), Some(prev_stream_id)) = (stream_id, prev_stream_id) else {
            return Err(Broken::NoStreamId);
        };
        if self.next == Next::Snapshot {
            return Err(Broken::NoState { stream_id });
        }
        if self.at.is_some_and(|at| stream_id <= at) {
            self.repeats += 1;
            return Ok(None);
        }
        let linked = self.next == Next::First || self.at == Some(prev_stream_id);
        if !linked || prev_stream_id >= stream_id {
            let at = self.at.unwrap_or(StreamId::ZERO);
            return Err(Broken::Skipped { at, stream_id, prev_stream_id });
        }
        self.at = Some(stream_id);
        self.retained = false;
        self.next = Next::Link;
        Ok(Some(Update::Entry { stream_id, prev_stream_id }))
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

/// The entry that came is not the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broken {
    /// Its `prev_stream_id` is not the last entry that was seen.
    Skipped {
        /// The last entry that was seen.
        at: StreamId,
        /// The entry that came.
        stream_id: StreamId,
        /// The one before it.
        prev_stream_id: StreamId,
    },
    /// It came where an `initial_state` was due.
    NoState {
        /// The entry that came.
        stream_id: StreamId,
    },
    /// Its `stream_id` or `prev_stream_id` is missing or no stream id.
    NoStreamId,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped { at, stream_id, prev_stream_id } => write!(
                f,
                "entry {stream_id} follows {prev_stream_id}, but the last one that came is {at}"
            ),
            Self::NoState { stream_id } => {
                write!(f, "entry {stream_id} came before the task's initial_state")
            }
            Self::NoStreamId => f.write_str("an entry came without a valid stream_id"),
        }
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests;
