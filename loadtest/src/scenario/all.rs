//! `all`: a short form of every scenario, one after the other, each on a fresh server.

use super::burst::Burst;
use super::churn::Churn;
use super::hot::Hot;
use super::idle::Idle;
use super::mixed::Mixed;
use super::slow::Slow;
use super::storm::Storm;
use super::wide::Wide;
use super::{Stop, run};
use crate::cli::{self, Action, Common};
use crate::failure::Result;
use crate::report::Report;
use clap::Args;
use std::sync::atomic::Ordering;

#[derive(Debug, Clone, Args)]
pub(crate) struct All {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Viewers of each scenario
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..))]
    pub(crate) viewers: u32,
    /// Seconds of each scenario
    #[arg(long, default_value_t = 5.0, value_parser = cli::some)]
    pub(crate) seconds: f64,
}

impl All {
    pub(crate) fn run(&self, stop: &Stop, report: &mut Report) -> Result<()> {
        for action in self.actions() {
            if !stop.load(Ordering::Relaxed) {
                run(&action, stop, report)?;
            }
        }
        Ok(())
    }

    fn actions(&self) -> [Action; 9] {
        let Self { viewers, seconds, .. } = *self;
        let common = || self.common.clone();
        let wide = Wide {
            common: common(),
            tasks: viewers,
            viewers_per_task: 1,
            rate: f64::from(viewers) / 2.0,
            seconds,
            multi: false,
            per_socket: 100,
        };
        let wide_over_few = Wide { multi: true, ..wide.clone() };
        [
            Action::Hot(Hot { common: common(), viewers, rate: 50.0, seconds }),
            Action::Wide(wide),
            Action::Wide(wide_over_few),
            Action::Idle(Idle { common: common(), viewers, seconds }),
            Action::Burst(Burst { common: common(), viewers, updates: 500, rounds: 2 }),
            Action::Storm(Storm { common: common(), viewers, rate: 5.0, seconds }),
            Action::Churn(Churn {
                common: common(),
                viewers: viewers / 2,
                connects: (500.0 * seconds) as u64,
                connect_rate: 500.0,
                rate: 5.0,
            }),
            Action::Slow(Slow { common: common(), viewers, share: 10.0, rate: 50.0, seconds }),
            Action::Mixed(Mixed {
                common: common(),
                viewers,
                rate: 20.0,
                connect_rate: 50.0,
                seconds,
            }),
        ]
    }
}
