//! How long to wait before the next attempt: longer each time, and never in step with others.
//!
//! Knows no clock and no chance: who waits brings both.

use std::time::Duration;

/// The waits between attempts: each of any length up to a bound that doubles.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// The longest that the next wait may be.
    bound: Duration,
    fresh: bool,
}

impl Backoff {
    /// The first wait is `min` at the longest, and none is longer than `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        let min = min.min(max);
        Self { min, max, bound: min, fresh: true }
    }

    /// The next wait; `chance` is any number from 0 to 1, drawn anew for each.
    pub fn wait(&mut self, chance: f64) -> Duration {
        self.next_bound().mul_f64(chance.clamp(0.0, 1.0))
    }

    /// The next wait where only one waits, and nobody can be in step with it.
    pub fn next_bound(&mut self) -> Duration {
        let bound = self.bound;
        self.bound = bound.saturating_mul(2).min(self.max);
        self.fresh = false;
        bound
    }

    /// What was attempted has held so long. Only what held longer than any wait begins with short
    /// waits again: what fails right behind the attempt has failed as much as the attempt.
    pub fn held(&mut self, duration: Duration) {
        if duration > self.max {
            self.reset();
        }
    }

    /// Begins with short waits again.
    pub fn reset(&mut self) {
        self.bound = self.min;
        self.fresh = true;
    }

    /// Whether nothing has failed since it was made or began again.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(250);
    const MAX: Duration = Duration::from_secs(10);

    #[test]
    fn waits_stay_below_a_bound_that_doubles_up_to_its_limit() {
        let mut backoff = Backoff::new(MIN, MAX);
        for (chance, wait_ms) in [(1.0, 250), (0.5, 250), (1.0, 1000), (0.0, 0), (1.0, 4000)] {
            assert_eq!(backoff.wait(chance), Duration::from_millis(wait_ms));
        }
        for bound_ms in [8000, 10_000, 10_000] {
            assert_eq!(backoff.next_bound(), Duration::from_millis(bound_ms));
        }
    }

    #[test]
    fn what_fails_soon_after_an_attempt_does_not_make_waits_short_again() {
        let mut backoff = Backoff::new(MIN, MAX);
        assert!(backoff.is_fresh());
        backoff.next_bound();
        backoff.held(Duration::from_secs(9));
        assert!(!backoff.is_fresh());
        backoff.held(Duration::from_secs(11));
        assert!(backoff.is_fresh());
    }
}
