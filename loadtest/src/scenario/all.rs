//! `all`: a short form of every scenario, one after the other, each on a fresh server; and with
//! `--against`, the forms in which two servers are held against each other.

use super::burst::Burst;
use super::churn::Churn;
use super::hot::Hot;
use super::idle::Idle;
use super::kind::Scenario;
use super::mixed::Mixed;
use super::slow::Slow;
use super::storm::Storm;
use super::wide::Wide;
use crate::options;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct All {
    /// Viewers of each scenario
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(20..),
        conflicts_with = "against"
    )]
    pub(crate) viewers: u32,
    /// Seconds of each scenario
    #[arg(long, default_value_t = 5.0, value_parser = options::some)]
    pub(crate) seconds: f64,
}

impl All {
    pub(crate) fn scenarios(&self) -> Vec<Box<dyn Scenario>> {
        let Self { viewers, seconds } = *self;
        let wide = Wide {
            tasks: viewers,
            viewers_per_task: 1,
            rate: f64::from(viewers) / 2.0,
            seconds,
            multi: false,
            per_socket: 100,
        };
        let churn = Churn {
            viewers: viewers / 2,
            connects: (500.0 * seconds) as u64,
            connect_rate: 500.0,
            rate: 5.0,
        };
        vec![
            Box::new(Hot { viewers, rate: 50.0, seconds }),
            Box::new(wide.clone()),
            Box::new(Wide { multi: true, ..wide }),
            Box::new(Idle { viewers, seconds }),
            Box::new(Burst { viewers, updates: 500, rounds: 2 }),
            Box::new(Storm { viewers, rate: 5.0, seconds }),
            Box::new(churn),
            Box::new(Slow { viewers, share: 10.0, rate: 50.0, seconds }),
            Box::new(Mixed { viewers, rate: 20.0, connect_rate: 50.0, seconds }),
        ]
    }

    /// Short enough to be run many times: steady at two rates, as many deliveries as the cores
    /// allow, bursts, viewers who only watch, all who come back at once, and many streams.
    pub(crate) fn against(&self) -> Vec<Box<dyn Scenario>> {
        const HOT_VIEWERS: u32 = 1000;
        const FANOUT_VIEWERS: u32 = 5000;
        const IDLE_VIEWERS: u32 = 15_000;
        const TASKS: u32 = 5000;
        let seconds = self.seconds;
        vec![
            Box::new(Hot { viewers: HOT_VIEWERS, rate: 50.0, seconds }),
            Box::new(Hot { viewers: HOT_VIEWERS, rate: 180.0, seconds }),
            Box::new(Hot { viewers: FANOUT_VIEWERS, rate: 200.0, seconds }),
            Box::new(Burst { viewers: HOT_VIEWERS, updates: 1000, rounds: 3 }),
            Box::new(Idle { viewers: IDLE_VIEWERS, seconds }),
            Box::new(Storm { viewers: IDLE_VIEWERS, rate: 5.0, seconds }),
            Box::new(Wide {
                tasks: TASKS,
                viewers_per_task: 1,
                rate: 2000.0,
                seconds,
                multi: false,
                per_socket: 100,
            }),
        ]
    }
}
