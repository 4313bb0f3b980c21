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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(ms: u64) -> StreamId {
        StreamId { ms, seq: 0 }
    }

    fn entry(prev: u64, ms: u64) -> String {
        format!(r#"{{"update_type":"x","stream_id":"{}","prev_stream_id":"{}"}}"#, id(ms), id(prev))
    }

    fn initial(ms: u64) -> String {
        format!(r#"{{"update_type":"initial_state","stream_id":"{}"}}"#, id(ms))
    }

    fn take(chain: &mut Chain, frame: &str) -> Result<Option<Update>, Broken> {
        chain.take(frame.as_bytes())
    }

    #[test]
    fn entries_follow_the_state_one_by_one() {
        let mut chain = Chain::new();
        assert_eq!(chain.connect(), None);
        assert_eq!(
            take(&mut chain, &entry(4, 5)),
            Err(Broken::NoState { stream_id: id(5) }),
            "an entry before the state"
        );
        let state = Update::Initial { stream_id: Some(id(5)), lost: false };
        assert_eq!(take(&mut chain, &initial(5)), Ok(Some(state)));
        let next = Update::Entry { stream_id: id(6), prev_stream_id: id(5) };
        assert_eq!(take(&mut chain, &entry(5, 6)), Ok(Some(next)));
        assert_eq!(take(&mut chain, &entry(5, 6)), Ok(None));
        assert_eq!(take(&mut chain, &entry(2, 3)), Ok(None));
        assert_eq!(chain.repeats(), 2);
        let skipped = Broken::Skipped { at: id(6), stream_id: id(8), prev_stream_id: id(7) };
        assert_eq!(take(&mut chain, &entry(7, 8)), Err(skipped));
        assert_eq!(
            chain.connect(),
            Some(id(6).into()),
            "the position stays at the last good entry"
        );
    }

    #[test]
    fn everything_retained_begins_anywhere_and_goes_on_without_a_hole() {
        let mut chain = Chain::since(Since::Retained);
        chain.connect();
        assert!(take(&mut chain, &entry(41, 42)).is_ok());
        assert!(take(&mut chain, &entry(43, 44)).is_err());
    }

    #[test]
    fn what_is_retained_is_asked_for_until_something_came() {
        let mut chain = Chain::since(Since::Retained);
        assert_eq!(chain.connect(), Some(Since::Retained));
        assert_eq!(chain.connect(), Some(Since::Retained));
        assert!(take(&mut chain, &entry(41, 42)).is_ok());
        assert_eq!(chain.connect(), Some(id(42).into()));
        let mut chain = Chain::new();
        chain.connect();
        assert!(take(&mut chain, &initial(0)).is_ok());
        assert_eq!(chain.connect(), Some(Since::After(StreamId::ZERO)));
        assert!(take(&mut chain, &entry(41, 42)).is_err());
    }

    #[test]
    fn where_nothing_is_retained_caught_up_gives_the_position() {
        let mut chain = Chain::since(Since::Retained);
        chain.connect();
        let caught_up = r#"{"update_type":"caught_up","stream_id":"7-0"}"#;
        assert_eq!(take(&mut chain, caught_up), Ok(Some(Update::CaughtUp)));
        assert_eq!(chain.position(), Some(id(7)));
        assert!(take(&mut chain, &entry(7, 9)).is_ok());
        assert_eq!(take(&mut chain, caught_up), Ok(Some(Update::CaughtUp)));
        assert_eq!(chain.position(), Some(id(9)));
    }

    #[test]
    fn after_a_gap_comes_a_state_which_may_lie_before() {
        let mut chain = Chain::since(id(9).into());
        chain.connect();
        let gap =
            r#"{"update_type":"gap","requested":"9-0","first":"1-0","last":null,"reason":"reset"}"#;
        let update = Gap {
            requested: Some(id(9)),
            first: Some(id(1)),
            last: None,
            reason: "reset".to_owned(),
        };
        assert_eq!(take(&mut chain, gap), Ok(Some(Update::Gap(update))));
        assert!(take(&mut chain, &entry(1, 2)).is_err());
        let state = Update::Initial { stream_id: Some(id(1)), lost: false };
        assert_eq!(take(&mut chain, &initial(1)), Ok(Some(state)));
        assert!(take(&mut chain, &entry(1, 2)).is_ok());
    }

    #[test]
    fn a_state_elsewhere_without_a_gap_is_a_loss() {
        let mut chain = Chain::since(id(3).into());
        chain.connect();
        let lost = |ms, lost| Ok(Some(Update::Initial { stream_id: Some(id(ms)), lost }));
        assert_eq!(take(&mut chain, &initial(3)), lost(3, false));
        assert_eq!(take(&mut chain, &initial(5)), lost(5, true));
    }

    /// What an honest server sends from `since` on: everything after it, some of it repeatedly.
    fn replay(stream: &[u64], since: Option<Since>, repeats: &[usize]) -> Vec<String> {
        let mut frames = Vec::new();
        if since.is_none() {
            frames.push(initial(0));
        }
        let after = since.map(Since::position).unwrap_or_default();
        let links = std::iter::once(0).chain(stream.iter().copied()).zip(stream.iter().copied());
        for (n, (prev, ms)) in links.filter(|(_, ms)| id(*ms) > after).enumerate() {
            let times = 1 + usize::from(repeats.contains(&n));
            frames.extend(std::iter::repeat_n(entry(prev, ms), times));
        }
        frames
    }

    fn stream() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::btree_set(1..1000_u64, 1..40)
            .prop_map(|stream| stream.into_iter().collect())
    }

    proptest! {
        #[test]
        fn over_any_cuts_and_repeats_each_entry_comes_once(
            stream in stream(),
            cuts in prop::collection::vec(0..50_usize, 0..6),
            repeats in prop::collection::vec(0..40_usize, 0..6),
        ) {
            let mut chain = Chain::new();
            let mut seen = Vec::new();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                for frame in replay(&stream, chain.connect(), &repeats).iter().take(cut) {
                    if let Some(Update::Entry { stream_id, .. }) = take(&mut chain, frame)? {
                        seen.push(stream_id.ms);
                    }
                }
            }
            prop_assert_eq!(seen, stream);
        }

        #[test]
        fn an_entry_that_is_left_out_is_missed_at_the_next_one(
            stream in stream(),
            hole in any::<prop::sample::Index>(),
        ) {
            let mut frames = replay(&stream, None, &[]);
            let hole = 1 + hole.index(stream.len());
            frames.remove(hole);
            let mut chain = Chain::new();
            chain.connect();
            let good = frames.iter().take_while(|frame| take(&mut chain, frame).is_ok()).count();
            prop_assert_eq!(good, hole);
        }

        #[test]
        fn no_bytes_and_no_values_disturb_it(
            bytes in any::<Vec<u8>>(),
            names in prop::collection::vec(
                prop::sample::select(vec![
                    "update_type", "stream_id", "prev_stream_id", "error", "reason", "message",
                ]),
                0..6,
            ),
            values in prop::collection::vec(
                prop::sample::select(vec![
                    "null", "7", "\"1-0\"", "\"gap\"", "\"initial_state\"", "{\"a\":[]}",
                    "\"\\ud800\"", "\"\\\"\"", "\"-\"", "1e999",
                ]),
                6,
            ),
        ) {
            let mut chain = Chain::since(id(1).into());
            chain.connect();
            let _ = chain.take(&bytes);
            let members: Vec<_> =
                names.iter().zip(&values).map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let _ = take(&mut chain, &format!("{{{}}}", members.join(",")));
        }
    }
}
