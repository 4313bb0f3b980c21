//! `wide`: many tasks with a few viewers each, or all of them over a few sockets.

use super::crowd::Crowd;
use super::fanout::{Fanout, turns};
use super::kind::{Scenario, settings};
use crate::failure::Result;
use crate::options::{self, Common, Settings};
use crate::report::Run;
use crate::stop::Stop;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Wide {
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tasks: u32,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers_per_task: u32,
    /// Updates per second, over all tasks
    #[arg(long, default_value_t = 1000.0, value_parser = options::some)]
    pub(crate) rate: f64,
    /// How long each side works
    #[arg(long, default_value_t = 10.0, value_parser = options::some)]
    pub(crate) seconds: f64,
    /// Subscribe to all tasks over few sockets of /api/v1/ws, which floors do not have
    #[arg(long, conflicts_with_all = ["floor", "viewers_per_task"])]
    pub(crate) multi: bool,
    /// Subscriptions per socket with --multi
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) per_socket: u32,
}

impl Scenario for Wide {
    fn name(&self) -> &'static str {
        if self.multi { "wide, few sockets" } else { "wide" }
    }

    fn settings(&self, common: &Common) -> Settings {
        settings([
            ("tasks", self.tasks.to_string()),
            ("viewers per task", self.viewers_per_task.to_string()),
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
        let crowd = Crowd {
            group: 0,
            tasks: 0..self.tasks,
            viewers: self.tasks * self.viewers_per_task,
            viewers_per_socket: if self.multi { self.per_socket } else { 1 },
        };
        Fanout { scenario: self.name(), crowd, pace, turns }.run(common, stop, run)
    }
}
