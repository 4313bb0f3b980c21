//! How long to wait before the next attempt: longer each time, and never in step with others.

use std::time::Duration;

use super::Timing;

/// The waits between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    /// The longest that the next wait may be.
    bound: Duration,
}

impl Backoff {
    pub(super) fn new(timing: &Timing) -> Self {
        let min = timing.retry_min.min(timing.retry_max);
        Self { min, max: timing.retry_max, bound: min }
    }

    /// The next wait: any length up to a bound that doubles.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.bound.mul_f64(rand::random_range(0.0..=1.0));
        self.bound = self.bound.saturating_mul(2).min(self.max);
        wait
    }

    /// The connection held: begin with short waits again.
    pub(super) fn reset(&mut self) {
        self.bound = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_bound_that_doubles_up_to_its_limit() {
        let mut backoff = Backoff::new(&Timing::default());
        for bound_ms in [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            assert_eq!(backoff.bound, Duration::from_millis(bound_ms));
            assert!(backoff.wait() <= Duration::from_millis(bound_ms));
        }
        backoff.reset();
        assert_eq!(backoff.bound, Duration::from_millis(250));
    }
}
