//! `hot`: one task, many viewers, a steady rate.

use super::crowd::Crowd;
use super::fanout::{Fanout, turns};
use super::kind::{Scenario, settings};
use crate::failure::Result;
use crate::options::{self, Common, Settings};
use crate::report::Run;
use crate::stop::Stop;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Hot {
    /// Viewers of the task
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// Updates per second
    #[arg(long, default_value_t = 50.0, value_parser = options::some)]
    pub(crate) rate: f64,
    /// How long each side works
    #[arg(long, default_value_t = 10.0, value_parser = options::some)]
    pub(crate) seconds: f64,
}

impl Scenario for Hot {
    fn name(&self) -> &'static str {
        "hot"
    }

    fn settings(&self, common: &Common) -> Settings {
        settings([
            ("viewers", self.viewers.to_string()),
            ("updates/s", self.rate.to_string()),
            ("seconds", self.seconds.to_string()),
            ("bytes", common.size.to_string()),
        ])
    }

    fn seconds(&self) -> f64 {
        self.seconds
    }

    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let (pace, turns) = turns(common, self.rate, self.seconds);
        let crowd = Crowd { group: 0, tasks: 0..1, viewers: self.viewers, viewers_per_socket: 1 };
        Fanout { scenario: self.name(), crowd, pace, turns }.run(common, stop, run)
    }
}
