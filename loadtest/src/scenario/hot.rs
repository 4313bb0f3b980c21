//! `hot`: one task, many viewers, a steady rate.

use super::crowd::Crowd;
use super::fanout::{Fanout, turns};
use super::{Stop, settings};
use crate::cli::{self, Common};
use crate::failure::Result;
use crate::report::Run;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Hot {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Viewers of the task
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// Updates per second
    #[arg(long, default_value_t = 50.0, value_parser = cli::some)]
    pub(crate) rate: f64,
    /// How long each side works
    #[arg(long, default_value_t = 10.0, value_parser = cli::some)]
    pub(crate) seconds: f64,
}

impl Hot {
    pub(crate) fn run(&self, stop: &Stop) -> Result<Run> {
        let (pace, turns) = turns(&self.common, self.rate, self.seconds);
        let crowd = Crowd { group: 0, tasks: 0..1, viewers: self.viewers, viewers_per_socket: 1 };
        let mut run = Fanout { scenario: "hot", crowd, pace, turns }.run(&self.common, stop)?;
        run.settings = settings([
            ("viewers", self.viewers.to_string()),
            ("updates/s", self.rate.to_string()),
            ("seconds", self.seconds.to_string()),
            ("bytes", self.common.size.to_string()),
        ]);
        Ok(run)
    }
}
