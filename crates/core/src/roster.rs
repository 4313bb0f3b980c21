//! The viewers of one topic on one worker, and the order in which a pass flushes them.
//!
//! A pass goes over the viewers in slices. Viewers may come and go between two slices; whoever was
//! there when the pass began and still is, is visited.

use crate::slots::Key;

/// The viewers of a topic. Each knows its place, so that it leaves in constant time.
#[derive(Debug, Default)]
pub struct Roster {
    keys: Vec<Key>,
    /// Those before it have been visited in this pass.
    cursor: usize,
}

impl Roster {
    /// Number of viewers.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Adds a viewer; its place.
    pub fn join(&mut self, key: Key) -> usize {
        self.keys.push(key);
        self.keys.len() - 1
    }

    /// Takes the viewer at `place` out. Calls `moved` for each viewer whose place changes by it.
    pub fn leave(&mut self, place: usize, mut moved: impl FnMut(Key, usize)) {
        let mut hole = place;
        if place < self.cursor {
            // Fill with one that was visited, so that no unvisited one slips behind the cursor.
            self.cursor -= 1;
            if hole != self.cursor {
                self.keys[hole] = self.keys[self.cursor];
                moved(self.keys[hole], hole);
            }
            hole = self.cursor;
        }
        self.keys.swap_remove(hole);
        if let Some(&key) = self.keys.get(hole) {
            moved(key, hole);
        }
    }

    /// Begins a pass with the first viewer.
    pub fn begin_pass(&mut self) {
        self.cursor = 0;
    }

    /// The next viewers of this pass, at most that many; none when the pass is over.
    pub fn next_slice(&mut self, viewers_max: usize) -> &[Key] {
        let from = self.cursor;
        self.cursor = self.keys.len().min(from + viewers_max);
        &self.keys[from..self.cursor]
    }

    /// Whether every viewer has been visited.
    pub fn pass_is_over(&self) -> bool {
        self.cursor == self.keys.len()
    }

    /// All viewers.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    proptest! {
        #[test]
        fn a_pass_visits_each_that_stays_exactly_once(
            steps in prop::collection::vec((0..3u8, any::<usize>()), 1..200),
        ) {
            let mut roster = Roster::default();
            let mut places: HashMap<Key, usize> = HashMap::new();
            let mut due: HashSet<Key> = HashSet::new();
            let mut next = 0u64;
            for (step, number) in steps {
                match step {
                    0 => {
                        let key = Key::from_bits(next);
                        next += 1;
                        places.insert(key, roster.join(key));
                        due.insert(key);
                    }
                    1 if !roster.is_empty() => {
                        let key = roster.keys()[number % roster.len()];
                        let place = places.remove(&key).unwrap();
                        due.remove(&key);
                        roster.leave(place, |key, place| _ = places.insert(key, place));
                    }
                    _ => {
                        for key in roster.next_slice(number % 4) {
                            prop_assert!(due.remove(key));
                        }
                        if roster.pass_is_over() {
                            prop_assert!(due.is_empty());
                            roster.begin_pass();
                            due = places.keys().copied().collect();
                        }
                    }
                }
                prop_assert_eq!(roster.len(), places.len());
                for (key, place) in &places {
                    prop_assert_eq!(roster.keys()[*place], *key);
                }
            }
        }
    }
}
