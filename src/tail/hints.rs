//! Whether hints can be relied on, and how they come: by tracking where Redis does that, else by
//! `XREAD BLOCK`, from where tracking is tried again now and then.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Tail;
use super::due::Why;
use crate::config;
use crate::core::backoff::Backoff;
use crate::log::source::Source;
use crate::log::tail::{HintMode, NoTracking, TrackingTable};

/// After so many whole sweeps in a row that found what no hint had told of, hints are not relied
/// on.
const MISSED_SWEEPS_MAX: u32 = 3;

/// A hint may be so much later than the read that found what it tells of.
const HINT_GRACE: Duration = Duration::from_secs(2);

/// Where tracking is not supported, it is tried again after so long, and then less often.
const TRY_AGAIN: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(3_600)];

/// The same where it was answered by something that may pass.
const TRY_SOON_AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// So many hints in a second that told of nothing, and nine in ten of all, are suspicious,
const EMPTY_HINTS_MIN: u64 = 100;

/// in so many seconds in a row; where Redis says nothing of its table, in more.
const EMPTY_SECONDS: u32 = 2;
const EMPTY_SECONDS_UNSURE: u32 = 10;

/// A tail that may not go on without tracking reads so seldom where hints tell of nothing.
const SLOW_PAUSE: Duration = Duration::from_millis(50);

/// What a tail knows of its hints.
pub(super) struct Hinting {
    /// The mode to try first.
    pub(super) preferred: HintMode,
    /// When to try tracking again.
    again_at: Option<Instant>,
    again: Backoff,
    soon_again: Backoff,
    /// Streams in which a sweep found what no hint has told of yet, and when.
    suspects: HashMap<Bytes, Instant>,
    /// Ticks of this sweep.
    ticks: usize,
    missed: usize,
    missed_sweeps: u32,
    /// Hints since the last tick that told of something, and of nothing.
    true_hints: u64,
    empty_hints: u64,
    second: Instant,
    empty_seconds: u32,
    /// How long the tail rests after a read, if not as ever.
    pub(super) pause: Option<Duration>,
}

impl Hinting {
    pub(super) fn new(preferred: HintMode) -> Self {
        let [again, soon_again] =
            [TRY_AGAIN, TRY_SOON_AGAIN].map(|[min, max]| Backoff::new(min, max));
        Self {
            preferred,
            again_at: None,
            again,
            soon_again,
            suspects: HashMap::new(),
            ticks: 0,
            missed: 0,
            missed_sweeps: 0,
            true_hints: 0,
            empty_hints: 0,
            second: Instant::now(),
            empty_seconds: 0,
            pause: None,
        }
    }

    /// A new connection: what was found out is of the old one.
    pub(super) fn connected(&mut self) {
        self.suspects.clear();
        (self.ticks, self.missed, self.missed_sweeps) = (0, 0, 0);
        (self.true_hints, self.empty_hints, self.empty_seconds) = (0, 0, 0);
    }

    /// A hint told of this stream.
    pub(super) fn told(&mut self, key: &Bytes) {
        if !self.suspects.is_empty() {
            self.suspects.remove(key);
        }
    }

    /// A stream was read, and there was something new in it or not.
    pub(super) fn was_read(&mut self, key: &Bytes, why: Why, news: bool) {
        match (why, news) {
            (Why::Hint, true) => self.true_hints += 1,
            (Why::Hint, false) => self.empty_hints += 1,
            (Why::Sweep, true) => _ = self.suspects.insert(key.clone(), Instant::now()),
            _ => {}
        }
    }

    /// Streams whose hint did not come.
    fn take_missed(&mut self, now: Instant) -> usize {
        let before = self.suspects.len();
        self.suspects.retain(|_, found_at| now.duration_since(*found_at) < HINT_GRACE);
        before - self.suspects.len()
    }

    /// A tick of the sweep is over, of so many. Whether too many whole sweeps found something.
    fn sweep_goes_on(&mut self, ticks: usize) -> bool {
        self.ticks += 1;
        if self.ticks >= ticks {
            self.missed_sweeps = if self.missed > 0 { self.missed_sweeps + 1 } else { 0 };
            (self.ticks, self.missed) = (0, 0);
        }
        self.missed_sweeps >= MISSED_SWEEPS_MAX
    }

    /// Whether hints have told of nothing for some seconds.
    fn are_empty(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            let empty =
                self.empty_hints >= EMPTY_HINTS_MIN && self.empty_hints >= 9 * self.true_hints;
            self.empty_seconds = if empty { self.empty_seconds + 1 } else { 0 };
            (self.true_hints, self.empty_hints, self.second) = (0, 0, now);
            return self.empty_seconds >= EMPTY_SECONDS;
        }
        false
    }
}

impl Tail {
    /// Sees how hints come on a new connection.
    pub(super) fn see_mode(&mut self, source: &Source) {
        self.hinting.connected();
        let Some((why, error)) = source.no_tracking() else { return };
        if self.hinting.again_at.is_none() {
            tracing::warn!(worker = self.number, error, "tracking_refused");
        }
        self.try_tracking_again(*why);
    }

    fn try_tracking_again(&mut self, why: NoTracking) {
        let backoff = match why {
            NoTracking::Unsupported => &mut self.hinting.again,
            NoTracking::ForNow => &mut self.hinting.soon_again,
        };
        self.hinting.again_at = Some(Instant::now() + backoff.next_bound());
    }

    /// When to try tracking again, where it is not what hints come by.
    pub(super) fn tries_tracking_at(&self) -> Option<Instant> {
        self.hinting.again_at
    }

    /// It is time to try. Whether it works: then connect again.
    pub(super) async fn tracking_is_back(&mut self) -> bool {
        let works = self.log().tracks().await && {
            let table = self.log().tracking_table().await;
            table.keys_max.is_none_or(|max| max == 0 || max > self.tracked())
        };
        if works {
            tracing::info!(worker = self.number, "tracking_tried_again");
            self.hinting.again_at = None;
            self.hinting.preferred = HintMode::Tracking;
        } else {
            self.try_tracking_again(NoTracking::Unsupported);
        }
        works
    }

    /// The connection held so long.
    pub(super) fn mode_held(&mut self, mode: Option<HintMode>, duration: Duration) {
        if mode == Some(HintMode::Tracking) {
            self.hinting.again.held(duration);
            self.hinting.soon_again.held(duration);
        }
    }

    /// Whether to go on without tracking: at each tick of the sweep, of so many.
    pub(super) async fn hints_failed(&mut self, mode: Option<HintMode>, ticks: usize) -> bool {
        if mode != Some(HintMode::Tracking) {
            return false;
        }
        let now = Instant::now();
        let missed = self.hinting.take_missed(now);
        self.hinting.missed += missed;
        self.shared.metrics.sweep_finds.fetch_add(missed as u64, Relaxed);
        if self.hinting.sweep_goes_on(ticks) {
            tracing::warn!(worker = self.number, "hints_unreliable");
            return self.gives_tracking_up();
        }
        if self.hinting.are_empty(now) {
            let table = self.log().tracking_table().await;
            if self.is_too_small(table) {
                self.say_too_small(table);
                self.hinting.pause = Some(SLOW_PAUSE);
                return self.gives_tracking_up();
            }
        }
        false
    }

    /// Whether Redis tells of streams because it has no room for all that are watched.
    fn is_too_small(&self, table: TrackingTable) -> bool {
        match (table.keys_max, table.keys) {
            (Some(0), _) => false,
            (Some(max), Some(keys)) => keys >= max / 10 * 9,
            (Some(max), None) => max <= self.tracked(),
            (None, Some(keys)) => keys < self.watched.len() as u64 / 10 * 9,
            (None, None) => self.hinting.empty_seconds >= EMPTY_SECONDS_UNSURE,
        }
    }

    /// How many keys are tracked: of each topic its stream, its status, and its thread's tasks.
    fn tracked(&self) -> u64 {
        3 * self.watched.len() as u64
    }

    fn say_too_small(&self, table: TrackingTable) {
        if self.shared.said_table_too_small.swap(true, Relaxed) {
            return;
        }
        tracing::error!(
            tracking_table_max_keys = table.keys_max,
            watched = self.watched.len(),
            "tracking_table_too_small: Redis has no room to track what is watched; set \
             tracking-table-max-keys above three times the number of all watched streams, or to 0"
        );
    }

    /// Goes on without tracking, where that is allowed. Whether to connect again.
    fn gives_tracking_up(&mut self) -> bool {
        let may = self.shared.config.tail == config::TailMode::Auto;
        if may {
            self.hinting.pause = None;
            self.hinting.preferred = HintMode::Block;
            self.try_tracking_again(NoTracking::Unsupported);
        }
        self.hinting.connected();
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKS: usize = 3;

    fn sweep(hinting: &mut Hinting) -> bool {
        (0..TICKS).any(|_| hinting.sweep_goes_on(TICKS))
    }

    #[test]
    fn a_hint_that_comes_after_the_sweep_is_not_missed() {
        let mut hinting = Hinting::new(HintMode::Tracking);
        let key = Bytes::from_static(b"key");
        let now = Instant::now();
        hinting.was_read(&key, Why::Sweep, true);
        assert_eq!(hinting.take_missed(now + HINT_GRACE / 2), 0);
        hinting.told(&key);
        assert_eq!(hinting.take_missed(now + HINT_GRACE * 2), 0);
        hinting.was_read(&key, Why::Sweep, true);
        assert_eq!(hinting.take_missed(now + HINT_GRACE * 3), 1);
    }

    #[test]
    fn only_whole_sweeps_in_a_row_that_missed_something_count() {
        let mut hinting = Hinting::new(HintMode::Tracking);
        for missed in [9, 1, 0, 1, 1] {
            hinting.missed = missed;
            assert!(!sweep(&mut hinting));
        }
        hinting.missed = 1;
        assert!(sweep(&mut hinting));
    }

    #[test]
    fn hints_that_tell_of_nothing_are_noticed_and_those_beside_news_are_not() {
        let mut hinting = Hinting::new(HintMode::Tracking);
        let key = Bytes::from_static(b"key");
        let mut second = |news: u64, nothing: u64| {
            (0..news).for_each(|_| hinting.was_read(&key, Why::Hint, true));
            (0..nothing).for_each(|_| hinting.was_read(&key, Why::Hint, false));
            let now = hinting.second + Duration::from_secs(1);
            hinting.are_empty(now)
        };
        // A worker writes an entry and then sets the expiry: two hints, one of them of nothing.
        assert!(!second(1_000, 1_000) && !second(1_000, 1_000));
        assert!(!second(0, 20) && !second(0, 20) && !second(0, 20));
        assert!(!second(10, 1_000) && second(10, 1_000));
    }
}
