//! Whether the viewers, and the witness, got what they should.

use crate::client::counters::Counters;
use serde::{Deserialize, Serialize};

/// Whether every viewer got what it should.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checks {
    /// Deliveries that should have been.
    pub(crate) expected: u64,
    /// Deliveries that never were.
    pub(crate) missing: u64,
    pub(crate) counters: Counters,
}

/// What the witness says in the end.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Testimony {
    pub(crate) checks: Checks,
    /// Connections after the first one of each task.
    pub(crate) reconnects: u64,
    /// The first thing that went wrong.
    pub(crate) trouble: Option<String>,
}

impl Checks {
    /// Of viewers who should have had `expected` deliveries in all.
    pub(crate) fn of(counters: Counters, expected: u64) -> Self {
        let once = counters.delivered - counters.repeated.min(counters.delivered);
        Self { expected, missing: expected.saturating_sub(once), counters }
    }

    /// Of viewers who come and go: only gaps between what they got can be known.
    pub(crate) fn of_passers_by(counters: Counters) -> Self {
        Self { expected: counters.delivered, missing: counters.missing, counters }
    }

    /// Of a run that was cut only what came can be judged, and the holes in it: the rest may have
    /// been on its way.
    pub(crate) fn are_fine(&self, complete: bool) -> bool {
        (self.missing == 0 || !complete) && self.counters.faultless()
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.expected += other.expected;
        self.missing += other.missing;
        self.counters += other.counters;
    }
}

impl Testimony {
    pub(crate) fn merge(&mut self, other: Self) {
        self.checks.merge(other.checks);
        self.reconnects += other.reconnects;
        self.trouble = self.trouble.take().or(other.trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(delivered: u64, repeated: u64, expected: u64) -> Checks {
        Checks::of(Counters { delivered, repeated, ..Counters::default() }, expected)
    }

    #[test]
    fn what_never_came_is_missing_even_when_repeats_make_up_the_count() {
        assert!(checks(10, 0, 10).are_fine(true));
        assert_eq!(checks(9, 0, 10).missing, 1);
        assert_eq!(checks(10, 1, 10).missing, 1);
        assert!(!checks(11, 1, 10).are_fine(true));
        assert!(!checks(9, 0, 10).are_fine(true));
    }
}
