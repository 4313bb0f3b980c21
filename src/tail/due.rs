//! The streams that are due, in the groups in which they are read. Within a group, who has waited
//! longest comes first; the groups have turns. So no stream waits for ever while others have news.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::plan::{Candidate, Load};

/// Why a stream is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Hint,
    Sweep,
    Other,
}

/// Streams that are read in the same way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Group {
    /// Together with others.
    #[default]
    Usual,
    /// They have much more.
    Behind,
    /// They need care: one key of a wrong type fails all that are read with it, and is read alone
    /// until it holds a stream again.
    Alone,
}

impl Group {
    /// Whose turn it is behind that of this one, and then.
    pub(super) fn then(self) -> [Self; 3] {
        match self {
            Self::Usual => [Self::Behind, Self::Alone, Self::Usual],
            Self::Behind => [Self::Alone, Self::Usual, Self::Behind],
            Self::Alone => [Self::Usual, Self::Behind, Self::Alone],
        }
    }
}

/// The streams that are due. Bounded by those that are watched: each is in it once.
#[derive(Debug, Default)]
pub(super) struct Due {
    why: HashMap<Bytes, Why>,
    /// By group. A key that is not due any more, or of another group by now, is passed over when it
    /// comes up.
    queues: [VecDeque<Bytes>; 3],
}

impl Due {
    /// A stream is due; where it is already, it keeps its place.
    pub(super) fn insert(&mut self, key: Bytes, why: Why, group: Group) {
        match self.why.get_mut(&key) {
            Some(before) if *before == Why::Hint => {}
            Some(before) => *before = why,
            None => {
                self.why.insert(key.clone(), why);
                self.queues[group as usize].push_back(key);
            }
        }
    }

    /// A stream is not due any more.
    pub(super) fn remove(&mut self, key: &Bytes) {
        self.why.remove(key);
    }

    /// Takes the first streams of a group, so many at the most. `known` says what group a stream is
    /// of now, and what is known of its entries; nothing where it is not watched any more. Those that
    /// are not wanted now wait behind the others.
    pub(super) fn take(
        &mut self,
        group: Group,
        streams_max: usize,
        known: impl Fn(&Bytes) -> Option<(Group, Load)>,
        wanted: impl Fn(Load) -> bool,
    ) -> Vec<Candidate> {
        let mut taken = Vec::new();
        for _ in 0..self.queues[group as usize].len() {
            if taken.len() == streams_max {
                break;
            }
            let Some(key) = self.queues[group as usize].pop_front() else { break };
            match known(&key) {
                Some((now, load)) if self.why.contains_key(&key) => {
                    if now == group && wanted(load) {
                        let why = self.why.remove(&key).unwrap_or(Why::Other);
                        taken.push(Candidate { key, why, load });
                    } else {
                        self.queues[now as usize].push_back(key);
                    }
                }
                _ => _ = self.why.remove(&key),
            }
        }
        taken
    }

    /// Puts back what was taken and is not read yet; in the order in which it was taken.
    pub(super) fn put_back(&mut self, group: Group, taken: Vec<Candidate>) {
        for Candidate { key, why, .. } in taken.into_iter().rev() {
            self.why.insert(key.clone(), why);
            self.queues[group as usize].push_front(key);
        }
    }

    /// Whether nothing is due.
    pub(super) fn is_empty(&self) -> bool {
        self.why.is_empty()
    }

    /// Gives back what very many streams took.
    pub(super) fn shrink_to(&mut self, streams: usize) {
        self.why.shrink_to(streams);
        self.queues.iter_mut().for_each(|queue| queue.shrink_to(streams));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Bytes {
        Bytes::from(number.to_string())
    }

    fn due(streams: std::ops::Range<u32>) -> Due {
        let mut due = Due::default();
        streams.for_each(|number| due.insert(key(number), Why::Other, Group::Usual));
        due
    }

    fn usual(_: &Bytes) -> Option<(Group, Load)> {
        Some((Group::Usual, Load::default()))
    }

    fn candidate(number: u32, why: Why) -> Candidate {
        Candidate { key: key(number), why, load: Load::default() }
    }

    fn keys(taken: Vec<Candidate>) -> Vec<Bytes> {
        taken.into_iter().map(|candidate| candidate.key).collect()
    }

    #[test]
    fn no_group_waits_for_ever_for_the_others() {
        let all = [Group::Usual, Group::Behind, Group::Alone];
        for waits in all {
            for other in all {
                let is_due = |wanted: &Group| *wanted == waits || *wanted == other;
                let next = other.then().into_iter().find(is_due);
                assert_eq!(next, Some(waits), "{other:?} is read again and again");
            }
        }
    }

    #[test]
    fn who_is_read_again_and_again_comes_behind_those_who_wait() {
        let mut due = due(0..3);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let taken = due.take(Group::Usual, 1, usual, |_| true);
            for candidate in &taken {
                due.insert(candidate.key.clone(), candidate.why, Group::Usual);
            }
            seen.extend(keys(taken));
        }
        assert_eq!(seen, [0, 1, 2, 0, 1, 2].map(key));
    }

    #[test]
    fn what_is_put_back_is_first() {
        let mut due = due(0..4);
        let mut taken = due.take(Group::Usual, 3, usual, |_| true);
        let read = taken.remove(0);
        due.put_back(Group::Usual, taken);
        assert_eq!(read.key, key(0));
        assert_eq!(keys(due.take(Group::Usual, 9, usual, |_| true)), [1, 2, 3].map(key));
        assert!(due.is_empty());
    }

    #[test]
    fn a_stream_is_due_once_whatever_was_said_of_it_and_a_hint_is_not_forgotten() {
        let mut due = due(0..1);
        due.insert(key(0), Why::Hint, Group::Usual);
        due.insert(key(0), Why::Sweep, Group::Usual);
        assert_eq!(due.take(Group::Usual, 9, usual, |_| true), [candidate(0, Why::Hint)]);
        due.remove(&key(0));
        due.insert(key(0), Why::Other, Group::Usual);
        due.remove(&key(0));
        due.insert(key(0), Why::Sweep, Group::Usual);
        assert_eq!(due.take(Group::Usual, 9, usual, |_| true), [candidate(0, Why::Sweep)]);
        assert!(due.is_empty());
    }

    #[test]
    fn what_is_not_wanted_now_stands_in_nobodys_way_and_is_not_forgotten() {
        let mut due = due(0..3);
        let mut large = Load::default();
        large.brought(1 << 20, false);
        let known =
            |it: &Bytes| Some((Group::Usual, if *it == key(0) { large } else { Load::default() }));
        let small = |load: Load| load != large;
        assert_eq!(keys(due.take(Group::Usual, 9, known, small)), [1, 2].map(key));
        assert!(due.take(Group::Usual, 9, known, small).is_empty() && !due.is_empty());
        assert_eq!(keys(due.take(Group::Usual, 9, known, |_| true)), [key(0)]);
        assert!(due.is_empty());
    }

    #[test]
    fn a_stream_that_is_of_another_group_by_now_is_read_with_that() {
        let mut due = due(0..3);
        let now = |it: &Bytes| match it {
            it if *it == key(0) => Some((Group::Alone, Load::default())),
            it if *it == key(1) => None,
            it => usual(it),
        };
        assert_eq!(keys(due.take(Group::Usual, 9, now, |_| true)), [key(2)]);
        assert_eq!(keys(due.take(Group::Alone, 9, now, |_| true)), [key(0)]);
        assert!(due.is_empty());
    }
}
