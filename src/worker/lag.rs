//! How far viewers lag: measured once a second while any does, told in the metrics, and in the log
//! when it lasts.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::Worker;

/// How often the lag is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// How often a lag that lasts is logged.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// A lag below this is a socket that was full for a moment.
const WORTH_LOGGING_MS: u64 = 1_000;

/// When the lag is measured and logged next.
pub(super) struct LagWatch {
    measure: Instant,
    log: Instant,
}

impl LagWatch {
    pub(super) fn new() -> Self {
        Self { measure: Instant::now(), log: Instant::now() }
    }
}

impl Worker {
    /// The lag is the time between the last thing that a viewer got and the newest that there is.
    pub(super) fn measure_lag(&mut self) {
        let now = Instant::now();
        if now < self.lag.measure {
            return;
        }
        self.lag.measure = now + MEASURE_EVERY;
        let metrics = &self.shared.metrics.workers[self.number];
        let lagging = metrics.lagging.load(Relaxed);
        let lag_ms = if lagging == 0 { 0 } else { self.fanout.lag_ms_max() };
        metrics.lag_ms_max.store(lag_ms, Relaxed);
        if lag_ms >= WORTH_LOGGING_MS && now >= self.lag.log {
            self.lag.log = now + LOG_EVERY;
            tracing::info!(worker = self.number, lagging, lag_ms_max = lag_ms, "viewers_lag");
        }
    }
}
