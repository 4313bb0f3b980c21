//! Verifies what one viewer of one task receives: every update once, in order, chained.

use super::counters::Counters;
use super::fields::{Seen, StreamId};

/// How far one viewer of one task has come.
pub(crate) struct Track {
    /// The update that must come next; 0 when the viewer came in the middle and takes any.
    next_seq: u32,
    /// The last position that the viewer was told, or zero.
    last: StreamId,
    /// Whether it was told one: at the start of a stream that is zero too.
    told: bool,
    /// Updates that were skipped and may still come.
    skipped: Vec<u32>,
}

impl Track {
    pub(crate) fn starting_at(next_seq: u32) -> Self {
        Self { next_seq, last: StreamId::ZERO, told: false, skipped: Vec::new() }
    }

    /// The last position, or zero.
    pub(crate) fn last(&self) -> StreamId {
        self.last
    }

    /// The position to resume from.
    pub(crate) fn since(&self) -> Option<StreamId> {
        self.told.then_some(self.last)
    }

    /// `initial_state` or `caught_up` told the viewer its position, if the server tells any.
    pub(crate) fn placed_at(&mut self, position: Option<StreamId>) {
        (self.last, self.told) = (position.unwrap_or_default(), position.is_some());
    }

    /// An update came.
    pub(crate) fn update(&mut self, seen: &Seen, counters: &mut Counters) {
        self.chain(seen.stream_id, seen.prev_stream_id, counters);
        self.number(seen.stamp.seq, counters);
    }

    /// An update with this number came; the chain is somebody else's.
    pub(crate) fn number(&mut self, seq: u32, counters: &mut Counters) {
        counters.delivered += 1;
        if seq == self.next_seq || self.next_seq == 0 {
            self.next_seq = seq + 1;
        } else if seq > self.next_seq {
            self.skipped.extend(self.next_seq..seq);
            counters.missing += u64::from(seq - self.next_seq);
            self.next_seq = seq + 1;
        } else {
            self.late(seq, counters);
        }
    }

    fn late(&mut self, seq: u32, counters: &mut Counters) {
        match self.skipped.iter().position(|skipped| *skipped == seq) {
            Some(at) => {
                self.skipped.swap_remove(at);
                counters.missing -= 1;
                counters.out_of_order += 1;
            }
            None => counters.repeated += 1,
        }
    }

    /// An entry came that names the one before it, which must be the last one that came.
    pub(crate) fn chain(
        &mut self,
        stream_id: Option<StreamId>,
        prev_stream_id: Option<StreamId>,
        counters: &mut Counters,
    ) {
        match prev_stream_id {
            Some(prev) if prev == self.last => {}
            // The first entry of a viewer that was told no position has nothing to match.
            _ if self.last == StreamId::ZERO => {}
            None | Some(StreamId::ZERO) => counters.unchained += 1,
            Some(_) => counters.broken_chains += 1,
        }
        if let Some(id) = stream_id {
            (self.last, self.told) = (id, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Stamp;

    #[test]
    fn who_was_told_the_start_of_a_stream_comes_back_to_it() {
        let mut track = Track::starting_at(1);
        assert_eq!(track.since(), None);
        track.placed_at(Some(StreamId::ZERO));
        assert_eq!(track.since(), Some(StreamId::ZERO));
    }

    fn seen(seq: u32, id: u64, prev: u64) -> Seen {
        Seen {
            stamp: Stamp { task: 0, seq, due_ns: 0 },
            stream_id: Some(StreamId { ms: id, seq: 0 }),
            prev_stream_id: Some(StreamId { ms: prev, seq: 0 }),
        }
    }

    /// Feeds updates given as (sequence number, stream id, previous stream id).
    fn feed(updates: &[(u32, u64, u64)]) -> Counters {
        let (mut track, mut counters) = (Track::starting_at(1), Counters::default());
        for (seq, id, prev) in updates {
            track.update(&seen(*seq, *id, *prev), &mut counters);
        }
        counters
    }

    #[test]
    fn a_faultless_sequence_passes() {
        let counters = feed(&[(1, 10, 9), (2, 11, 10), (3, 12, 11)]);
        assert_eq!(counters, Counters { delivered: 3, ..Counters::default() });
        assert!(counters.faultless());
    }

    #[test]
    fn a_missing_update_fails_even_when_the_chain_looks_whole() {
        let counters = feed(&[(1, 10, 9), (3, 12, 10)]);
        assert_eq!((counters.missing, counters.broken_chains), (1, 0));
        assert!(!counters.faultless());
    }

    #[test]
    fn a_missing_first_update_fails() {
        assert_eq!(feed(&[(3, 12, 11)]).missing, 2);
    }

    #[test]
    fn a_repeated_update_fails() {
        let counters = feed(&[(1, 10, 9), (1, 10, 9)]);
        assert_eq!((counters.repeated, counters.delivered), (1, 2));
        assert!(!counters.faultless());
    }

    #[test]
    fn updates_in_the_wrong_order_fail() {
        let counters = feed(&[(1, 10, 9), (3, 12, 11), (2, 11, 10)]);
        assert_eq!((counters.out_of_order, counters.missing, counters.repeated), (1, 0, 0));
        assert_eq!(counters.broken_chains, 2);
        assert!(!counters.faultless());
    }

    #[test]
    fn a_broken_chain_fails_even_when_the_sequence_is_whole() {
        let counters = feed(&[(1, 10, 9), (2, 11, 8)]);
        assert_eq!((counters.broken_chains, counters.missing), (1, 0));
        assert!(!counters.faultless());
    }

    #[test]
    fn the_first_update_must_follow_the_position_of_the_initial_state() {
        let (mut track, mut counters) = (Track::starting_at(0), Counters::default());
        track.placed_at(Some(StreamId { ms: 20, seq: 0 }));
        track.update(&seen(7, 22, 21), &mut counters);
        assert_eq!(counters.broken_chains, 1);
    }

    #[test]
    fn a_viewer_that_came_in_the_middle_takes_any_first_update_and_no_gap_after() {
        let (mut track, mut counters) = (Track::starting_at(0), Counters::default());
        track.update(&seen(7, 22, 21), &mut counters);
        track.update(&seen(8, 23, 22), &mut counters);
        assert!(counters.faultless());
        track.update(&seen(10, 25, 23), &mut counters);
        assert_eq!(counters.missing, 1);
    }
}
