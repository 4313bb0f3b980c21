//! `burst`: many updates as fast as Redis takes them.

use super::crowd::Crowd;
use super::fanout::Fanout;
use super::kind::{Scenario, settings};
use crate::failure::Result;
use crate::options::{Common, Settings};
use crate::publish::Pace;
use crate::report::Run;
use crate::stop::Stop;
use clap::Args;

/// About what a server and its clients do on two cores.
const DELIVERIES_PER_SECOND: f64 = 1e6;

#[derive(Debug, Clone, Args)]
pub(crate) struct Burst {
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// Updates in one burst
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) updates: u64,
    /// Bursts, each after the one before has been delivered
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
}

impl Scenario for Burst {
    fn name(&self) -> &'static str {
        "burst"
    }

    fn settings(&self, common: &Common) -> Settings {
        settings([
            ("viewers", self.viewers.to_string()),
            ("updates", self.updates.to_string()),
            ("rounds", self.rounds.to_string()),
            ("bytes", common.size.to_string()),
        ])
    }

    fn seconds(&self) -> f64 {
        f64::from(self.rounds) * self.updates as f64 * f64::from(self.viewers)
            / DELIVERIES_PER_SECOND
    }

    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let crowd = Crowd { group: 0, tasks: 0..1, viewers: self.viewers, viewers_per_socket: 1 };
        let pace = Pace::Burst { updates: self.updates };
        let fanout = Fanout { scenario: self.name(), crowd, pace, turns: self.rounds };
        fanout.run(common, stop, run)
    }
}
