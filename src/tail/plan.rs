//! What one read asks for: how many streams, and how many entries of each, so that the answer fits
//! `tail_read_bytes_max` by what is known of those streams.
//!
//! Entries of a stream are as large as the last ones, until they are not. So streams of which
//! nothing is known count as large, and many streams are read together only after few were, and
//! brought little: after a stall, each of them may bring anything.

use bytes::Bytes;

use super::due::{Group, Why};
use super::share::Share;

/// As large is an entry of which nothing is known.
const UNKNOWN_BYTES: usize = 128 * 1024;

/// The same on the lane, where a stream is because one of its entries was large.
const UNKNOWN_LARGE_BYTES: usize = 1024 * 1024;

/// What an entry costs beside its names and values.
const ENTRY_BYTES: usize = 64;

/// Entries that a read asks for of a stream of which nothing is known: the one at the head, which
/// is known, and the next three.
pub(super) const ENTRIES_MIN: usize = 4;

/// The fewest that make any progress: the one at the head and the next one.
pub(super) const ENTRIES_LEAST: usize = 2;

/// Streams in the first reads of all workers together after there was nothing to read: what Redis
/// makes of them at one moment is what it holds.
const STREAMS_FIRST: usize = 16;

/// Streams in the first read of each of them, at the least.
const STREAMS_FIRST_MIN: usize = 4;

/// What is known of a stream's entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// The size of the greatest of the recent entries, in bytes; 0 where none is known.
    entry_bytes: u32,
    /// The last read of it left something.
    pub(super) behind: bool,
}

impl Load {
    /// A read brought entries, of which this was the greatest.
    pub(super) fn brought(&mut self, entry_bytes: usize, more: bool) {
        let bytes = u32::try_from(entry_bytes + ENTRY_BYTES).unwrap_or(u32::MAX);
        self.entry_bytes = bytes.max(self.entry_bytes / 4 * 3);
        self.behind = more;
    }

    /// A read brought nothing new.
    pub(super) fn brought_nothing(&mut self) {
        self.behind = false;
    }

    /// Whether the smallest read of it is known to bring no more than this.
    pub(super) fn brings_at_most(self, bytes: usize) -> bool {
        self.entry_bytes().is_some_and(|entry| entry * ENTRIES_LEAST <= bytes)
    }

    /// The size of its entries, if it is known.
    pub(super) fn entry_bytes(self) -> Option<usize> {
        (self.entry_bytes > 0).then_some(self.entry_bytes as usize)
    }
}

/// A stream that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) key: Bytes,
    pub(super) why: Why,
    pub(super) load: Load,
}

/// One read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) streams: Vec<Candidate>,
    /// Those that do not fit.
    pub(super) left: Vec<Candidate>,
    /// Entries of each stream.
    pub(super) entries: usize,
    /// What the answer comes to, about.
    pub(super) bytes: usize,
}

/// How many streams may be read together.
#[derive(Debug)]
pub(super) struct Window {
    streams: usize,
    streams_first: usize,
    streams_max: usize,
    entries_max: usize,
    /// What the next read brings at most: entries of one stream,
    entries: usize,
    /// and bytes.
    bytes_max: usize,
    unknown_bytes: usize,
}

impl Window {
    pub(super) fn new(share: &Share, bytes_max: usize, workers: usize) -> Self {
        let (streams_max, entries_max) = (share.streams_max, share.entries_max);
        let streams_first = (STREAMS_FIRST / workers).max(STREAMS_FIRST_MIN).min(streams_max);
        let unknown_bytes = if share.unbounded { UNKNOWN_LARGE_BYTES } else { UNKNOWN_BYTES };
        let entries = entries_max;
        Self {
            streams: 1,
            streams_first,
            streams_max,
            entries_max,
            entries,
            bytes_max,
            unknown_bytes,
        }
    }

    /// The next reads bring so much at most, by what is known, and so many entries of one stream: where
    /// those are larger than what is known, there are few of them.
    pub(super) fn fit_in(&mut self, bytes_max: usize, entries_max: usize) {
        self.bytes_max = bytes_max;
        self.entries = entries_max.min(self.entries_max);
    }

    /// There was nothing to read for a while: nothing is known of what comes now.
    pub(super) fn begin(&mut self) {
        let of_unknown = self.bytes_max / (ENTRIES_MIN * UNKNOWN_BYTES);
        let first = of_unknown.clamp(1, self.streams_first);
        self.streams = self.streams.clamp(first, self.streams_first);
    }

    /// A read of so many streams brought so many bytes. Twice as many streams are read together
    /// only where they would have fitted: a read of few says nothing of what many bring.
    pub(super) fn brought(&mut self, streams: usize, bytes: usize, was_too_much: bool) {
        if was_too_much || bytes > self.bytes_max {
            self.streams = (self.streams / 4).max(1);
        } else if bytes * 2 <= self.bytes_max {
            self.streams = (streams * 2).clamp(self.streams, self.streams_max);
        }
    }

    /// How many streams of a group may be of use to [`Self::plan`].
    pub(super) fn streams_of(&self, group: Group) -> usize {
        match group {
            Group::Usual => self.streams,
            Group::Behind => self.streams_max,
            Group::Alone => 1,
        }
    }

    /// A read of streams of a group. Of those that are not known to have much more, as many as may
    /// be read together; of those that have, as many entries as fit of the first of them, and as
    /// many streams; of one that needs care, as little as possible.
    pub(super) fn plan(&self, group: Group, streams: Vec<Candidate>) -> Plan {
        let least = ENTRIES_MIN.min(self.entries);
        let unknown = || streams.iter().any(|it| it.load.entry_bytes().is_none());
        let entries = match group {
            Group::Usual if unknown() => least,
            Group::Usual => (self.entries / streams.len().max(1)).max(least),
            Group::Behind => self.entries,
            Group::Alone => ENTRIES_LEAST,
        };
        self.fit(streams, entries)
    }

    fn fit(&self, streams: Vec<Candidate>, entries: usize) -> Plan {
        let mut plan = Plan { entries, ..Plan::default() };
        let mut sum = 0;
        for candidate in streams {
            let entry_bytes = candidate.load.entry_bytes().unwrap_or(self.unknown_bytes);
            if plan.streams.is_empty() {
                let fits = self.bytes_max / entry_bytes;
                plan.entries = plan.entries.min(fits).max(ENTRIES_LEAST);
            } else if (sum + entry_bytes) * plan.entries > self.bytes_max {
                plan.left.push(candidate);
                continue;
            }
            sum += entry_bytes;
            plan.streams.push(candidate);
        }
        plan.bytes = sum * plan.entries;
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn window(bytes_max: usize) -> Window {
        let mut window = Window::new(&Share::OF_WORKER, bytes_max, 1);
        window.begin();
        window
    }

    fn streams(number: usize, entry_bytes: usize) -> Vec<Candidate> {
        let mut load = Load::default();
        if entry_bytes > 0 {
            load.brought(entry_bytes, true);
        }
        let candidate = |number: usize| {
            let key = Bytes::from(number.to_string());
            Candidate { key, why: Why::Other, load }
        };
        (0..number).map(candidate).collect()
    }

    /// Of very many streams.
    fn plan(window: &Window, group: Group, entry_bytes: usize) -> Plan {
        window.plan(group, streams(window.streams_of(group), entry_bytes))
    }

    #[test]
    fn what_is_asked_for_fits_by_what_is_known() {
        for bytes_max in [MIB / 16, MIB, 8 * MIB] {
            for entry_bytes in [1, 200, 5_000, 100_000, 1_000_000] {
                let mut window = window(bytes_max);
                for _ in 0..10 {
                    for group in [Group::Usual, Group::Behind] {
                        let plan = plan(&window, group, entry_bytes);
                        let number = plan.streams.len();
                        let least = number == 1 && plan.entries == 2;
                        assert!(plan.bytes <= bytes_max || least, "{entry_bytes}: {plan:?}");
                        assert!((1..=128).contains(&number) && plan.entries >= 2);
                        assert_eq!(number + plan.left.len(), window.streams_of(group));
                    }
                    window.brought(128, 0, false);
                }
            }
        }
    }

    #[test]
    fn where_few_entries_may_come_no_more_are_asked_for_however_small_they_were() {
        for (entries_max, expected) in
            [(ENTRIES_LEAST, 2), (ENTRIES_MIN, 4), (32, 32), (1_000, 256)]
        {
            let mut window = window(8 * MIB);
            window.fit_in(8 * MIB, entries_max);
            assert_eq!(window.plan(Group::Behind, streams(1, 200)).entries, expected);
            assert_eq!(window.plan(Group::Usual, streams(1, 200)).entries, expected);
            let of_many = window.plan(Group::Usual, streams(16, 200));
            assert_eq!(of_many.entries, (expected / 16).max(expected.min(ENTRIES_MIN)));
        }
    }

    #[test]
    fn a_stream_that_is_known_is_read_whole_and_small_ones_together() {
        let mut window = window(8 * MIB);
        assert_eq!(window.plan(Group::Usual, streams(1, 200)).entries, 256);
        assert_eq!(window.plan(Group::Usual, streams(1, 0)).entries, ENTRIES_MIN);
        let number = |window: &Window| plan(window, Group::Usual, 200).streams.len();
        assert_eq!(number(&window), 16);
        for together in [32, 64, 128, 128] {
            window.brought(together / 2, 1_000, false);
            assert_eq!(number(&window), together);
        }
        let behind = plan(&window, Group::Behind, 4_000);
        assert_eq!((behind.streams.len(), behind.entries), (8, 256));
    }

    #[test]
    fn after_too_much_few_are_read_and_after_a_pause_not_many() {
        let mut window = window(8 * MIB);
        window.brought(16, 9 * MIB, false);
        assert_eq!(plan(&window, Group::Usual, 200).streams.len(), 4);
        window.brought(4, 1_000, true);
        assert_eq!(plan(&window, Group::Usual, 200).streams.len(), 1);
        (0..9).for_each(|_| window.brought(128, 1_000, false));
        window.begin();
        assert_eq!(plan(&window, Group::Usual, 200).streams.len(), STREAMS_FIRST);
    }

    #[test]
    fn more_are_read_together_only_where_they_would_have_fitted() {
        let mut window = window(8 * MIB);
        let number = |window: &Window| plan(window, Group::Usual, 200).streams.len();
        for (streams, bytes) in [(1, 2 * MIB), (8, 1_000), (16, 5 * MIB)] {
            window.brought(streams, bytes, false);
            assert_eq!(number(&window), STREAMS_FIRST, "{streams} streams brought {bytes}");
        }
        window.brought(STREAMS_FIRST, 4 * MIB, false);
        assert_eq!(number(&window), 2 * STREAMS_FIRST);
    }

    #[test]
    fn the_first_reads_of_all_workers_are_bounded_together() {
        for (workers, first) in [(1, 16), (2, 8), (4, 4), (64, 4)] {
            let mut window = Window::new(&Share::OF_WORKER, 8 * MIB, workers);
            window.begin();
            assert_eq!(plan(&window, Group::Usual, 200).streams.len(), first);
        }
    }

    #[test]
    fn a_large_stream_does_not_keep_small_ones_out() {
        let mut window = window(8 * MIB);
        window.brought(128, 0, false);
        let mixed = [streams(1, 1_500_000), streams(20, 100)].concat();
        let plan = window.plan(Group::Usual, mixed);
        assert_eq!(plan.streams.len(), 21);
        assert!(plan.entries >= ENTRIES_LEAST && plan.bytes <= 8 * MIB);
    }

    #[test]
    fn the_lane_reads_one_entry_of_one_stream() {
        let mut window = Window::new(&Share::OF_LANE, 8 * MIB, 1);
        window.begin();
        for (group, entry_bytes) in [(Group::Usual, 0), (Group::Behind, 200)] {
            let plan = plan(&window, group, entry_bytes);
            assert_eq!((plan.streams.len(), plan.entries), (1, 2));
        }
    }
}
