//! The clock that all processes of a run share.

use rustix::time::{ClockId, clock_gettime};
use std::thread;
use std::time::Duration;

pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds on `CLOCK_MONOTONIC`, which is the same in every process of the machine: an update
/// carries the time it was due, and the process that receives it subtracts.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64) * SECOND_NS + now.tv_nsec as u64
}

/// Sleeps until `when_ns`; returns at once when that has passed.
pub(crate) fn sleep_until(when_ns: u64) {
    let wait_ns = when_ns.saturating_sub(now_ns());
    if wait_ns > 0 {
        thread::sleep(Duration::from_nanos(wait_ns));
    }
}

pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / SECOND_NS as f64
}
