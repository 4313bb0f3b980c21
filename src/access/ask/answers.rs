//! The yeses that still count. A question is known by its hash, so that nothing of a cookie is kept here; there are
//! so many at most, and the one that ends first makes room.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::core::account::Charge;

/// The most yeses that are kept.
const ANSWERS_MAX: usize = 65_536;
/// What one takes: its places in a map and in a queue.
const ANSWER_BYTES: usize = 160;

/// A question, by its hash.
pub(super) type Hash = [u8; 32];

/// Until when each counts.
pub(super) struct Answers {
    ends: HashMap<Hash, Instant>,
    /// The same, the first to end first.
    queue: BTreeSet<(Instant, Hash)>,
    charge: Charge,
}

impl Answers {
    pub(super) fn new(charge: Charge) -> Self {
        Self { ends: HashMap::new(), queue: BTreeSet::new(), charge }
    }

    /// Until when a yes to this question counts; none where it has to be asked.
    pub(super) fn find(&self, question: &Hash, now: Instant) -> Option<Instant> {
        self.ends.get(question).copied().filter(|ends| *ends > now)
    }

    /// A yes counts until then.
    pub(super) fn add(&mut self, question: Hash, ends: Instant, now: Instant) {
        if let Some(before) = self.ends.insert(question, ends) {
            self.queue.remove(&(before, question));
        }
        self.queue.insert((ends, question));
        while let Some((first, question)) = self.queue.first().copied()
            && (first <= now || self.queue.len() > ANSWERS_MAX)
        {
            self.queue.remove(&(first, question));
            self.ends.remove(&question);
        }
        self.charge.set(self.ends.len() * ANSWER_BYTES);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::account::{Account, Kind};

    fn question(number: u32) -> Hash {
        let mut hash = Hash::default();
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash
    }

    #[test]
    fn a_yes_counts_until_its_end_and_is_forgotten_behind_it() {
        let account = Account::new(1 << 30);
        let mut answers = Answers::new(account.charge(Kind::Questions, 0));
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        answers.add(question(1), at(10), now);
        assert_eq!(answers.find(&question(1), at(9)), Some(at(10)));
        assert_eq!(answers.find(&question(1), at(10)), None);
        assert_eq!(answers.find(&question(2), now), None);
        answers.add(question(1), at(20), now);
        assert_eq!(answers.find(&question(1), at(15)), Some(at(20)));
        answers.add(question(2), at(40), at(30));
        assert_eq!((answers.ends.len(), answers.queue.len()), (1, 1));
        assert_eq!(account.bytes(), ANSWER_BYTES);
    }

    #[test]
    fn there_are_so_many_and_the_first_to_end_makes_room() {
        let account = Account::new(1 << 30);
        let mut answers = Answers::new(account.charge(Kind::Questions, 0));
        let now = Instant::now();
        let number = ANSWERS_MAX as u32 + 10;
        for n in 0..number {
            answers.add(question(n), now + Duration::from_secs(u64::from(n) + 1), now);
        }
        assert_eq!((answers.ends.len(), answers.queue.len()), (ANSWERS_MAX, ANSWERS_MAX));
        assert!(
            answers.find(&question(9), now).is_none() && answers.find(&question(10), now).is_some()
        );
    }
}
