//! What a group of viewers has counted so far.

use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// Counts of one group in one process; the parent adds them up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Connections that were begun.
    pub(crate) connects: u64,
    /// Sessions that went on from an earlier one.
    pub(crate) resumed: u64,
    /// `initial_state` frames: one per viewer and task that attached without a position.
    pub(crate) attached: u64,
    pub(crate) caught_up: u64,
    pub(crate) gaps: u64,
    pub(crate) delivered: u64,
    /// Bytes on the wire, frame headers included.
    pub(crate) bytes: u64,
    pub(crate) pings: u64,
    /// Viewers that are connected now.
    pub(crate) open: u64,
    /// Updates that were skipped and have not come since.
    pub(crate) missing: u64,
    pub(crate) repeated: u64,
    pub(crate) out_of_order: u64,
    /// Updates of a task that the viewer did not ask for.
    pub(crate) misrouted: u64,
    pub(crate) broken_chains: u64,
    /// Updates that do not name the one before them, so that the chain proves nothing.
    pub(crate) unchained: u64,
    /// Connections that ended without our asking.
    pub(crate) lost: u64,
    /// Connections that failed before they were open and were tried again.
    pub(crate) retries: u64,
    /// Error frames, and frames that break the protocol.
    pub(crate) refused: u64,
    /// Times of the last event of a kind, on the clock of the run.
    pub(crate) last_attach_ns: u64,
    pub(crate) last_caught_up_ns: u64,
    pub(crate) last_delivery_ns: u64,
}

impl Counters {
    /// Without what grows for ever though nothing more comes, at a failing server or by its
    /// heartbeat: whoever waits sees by it whether it goes on.
    pub(crate) fn progress(self) -> Self {
        Self { connects: 0, retries: 0, lost: 0, refused: 0, pings: 0, bytes: 0, ..self }
    }

    /// Whether nothing that came was wrong. What never came is for the parent to say.
    pub(crate) fn faultless(&self) -> bool {
        self.missing == 0
            && self.repeated == 0
            && self.out_of_order == 0
            && self.misrouted == 0
            && self.broken_chains == 0
            && self.lost == 0
            && self.refused == 0
            && self.gaps == 0
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.connects += other.connects;
        self.resumed += other.resumed;
        self.attached += other.attached;
        self.caught_up += other.caught_up;
        self.gaps += other.gaps;
        self.delivered += other.delivered;
        self.bytes += other.bytes;
        self.pings += other.pings;
        self.open += other.open;
        self.missing += other.missing;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.misrouted += other.misrouted;
        self.broken_chains += other.broken_chains;
        self.unchained += other.unchained;
        self.lost += other.lost;
        self.retries += other.retries;
        self.refused += other.refused;
        self.last_attach_ns = self.last_attach_ns.max(other.last_attach_ns);
        self.last_caught_up_ns = self.last_caught_up_ns.max(other.last_caught_up_ns);
        self.last_delivery_ns = self.last_delivery_ns.max(other.last_delivery_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_no_progress() {
        let before = Counters { delivered: 7, bytes: 700, ..Counters::default() };
        let after = Counters { pings: 1, bytes: 702, ..before };
        assert_eq!(before.progress(), after.progress());
        assert_ne!(before.progress(), Counters { delivered: 8, ..before }.progress());
    }
}
