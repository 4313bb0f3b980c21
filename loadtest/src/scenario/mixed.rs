//! `mixed`: a hot task, many small ones, viewers who come and go, and slow ones, all at once.

use super::crowd::{Crowd, warm_up};
use super::kind::{Scenario, settings};
use super::work::{Work, percent, publishing};
use crate::checks::Checks;
use crate::client::control::Command;
use crate::failure::Result;
use crate::lab::{Lab, Needs};
use crate::options::{self, Common, Settings};
use crate::publish::Pace;
use crate::report::{Run, Side};
use crate::stop::Stop;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Mixed {
    /// Viewers: half of them on one task, half of them on a task of their own
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(20..))]
    pub(crate) viewers: u32,
    /// Updates per second to the hot task; ten times as many to the others
    #[arg(long, default_value_t = 20.0, value_parser = options::some)]
    pub(crate) rate: f64,
    /// Viewers of the hot task who come, and go, per second
    #[arg(long, default_value_t = 50.0, value_parser = options::some)]
    pub(crate) connect_rate: f64,
    #[arg(long, default_value_t = 12.0, value_parser = options::some)]
    pub(crate) seconds: f64,
}

/// One in so many viewers of the hot task does not read in the middle of the run.
const SLOW_ONE_IN: u32 = 20;
/// Small tasks together get so many times the updates of the hot one.
const WIDE_TIMES: f64 = 10.0;

impl Scenario for Mixed {
    fn name(&self) -> &'static str {
        "mixed"
    }

    fn settings(&self, _common: &Common) -> Settings {
        settings([
            ("viewers", self.viewers.to_string()),
            ("hot updates/s", self.rate.to_string()),
            ("other updates/s", (self.rate * WIDE_TIMES).to_string()),
            ("connects/s", self.connect_rate.to_string()),
            ("seconds", self.seconds.to_string()),
        ])
    }

    fn seconds(&self) -> f64 {
        self.seconds
    }

    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let half = self.viewers / 2;
        let slow_viewers = (half / SLOW_ONE_IN).max(1);
        let needs = Needs {
            scenario: self.name(),
            tasks: 1 + half,
            sockets: u64::from(self.viewers + slow_viewers),
            floors: false,
        };
        let mut lab = Lab::start(common, stop, &needs)?;
        let hot = Crowd { group: 0, tasks: 0..1, viewers: half, viewers_per_socket: 1 };
        let wide = Crowd { group: 1, tasks: 1..1 + half, ..hot.clone() };
        let slow = Crowd { group: 2, viewers: slow_viewers, ..hot.clone() };
        let pass_by = Crowd { group: 3, viewers: slow_viewers, ..hot.clone() };
        warm_up(&mut lab, 0)?;
        for crowd in [&hot, &wide, &slow, &pass_by] {
            crowd.arrive(&mut lab, 0)?;
        }
        let updates = (self.rate * self.seconds) as u64 + 1;
        let mut hot = Work::new(&mut lab, 0, hot, updates)?;
        let mut wide = Work::new(&mut lab, 0, wide, updates)?;
        let before = lab.cpu(0);
        let ended = self.all_at_once(&mut lab, &mut hot, &mut wide, [&slow, &pass_by]);
        let expected_slow = hot.publisher.total() * u64::from(slow.viewers);
        let cpu = lab.cpu(0).since(before);

        let mut side = Side::new("server");
        let totals = [&hot.crowd, &wide.crowd, &slow, &pass_by].map(|c| lab.fleet.totals(c.id(0)));
        let deliveries: u64 = totals.iter().map(|totals| totals.delivered).sum();
        side.measure("deliveries", "", deliveries as f64);
        side.measure("CPU", "% of a core", percent(cpu.server, cpu));
        side.measure("CPU of Redis", "% of a core", percent(cpu.redis, cpu));
        let of_wide = lab.fleet.take_latencies(wide.crowd.id(0));
        side.percentiles(" of small tasks", &of_wide.summary());
        side.latency(" of the hot task", &lab.fleet.take_latencies(hot.crowd.id(0)));
        side.measure("viewers who came and went", "", totals[3].attached as f64);
        hot.judge(&lab, &mut side);
        wide.judge(&lab, &mut side);
        side.checks.merge(Checks::of(totals[2], expected_slow));
        side.checks.merge(Checks::of_passers_by(totals[3]));
        run.sides.push(side);
        for crowd in [&hot.crowd, &wide.crowd, &slow, &pass_by] {
            run.notes.extend(lab.fleet.trouble(crowd.id(0)));
        }
        run.ticks = lab.progress.take_ticks();
        ended
    }
}

impl Mixed {
    fn all_at_once(
        &self,
        lab: &mut Lab,
        hot: &mut Work,
        wide: &mut Work,
        [slow, pass_by]: [&Crowd; 2],
    ) -> Result<()> {
        let seconds = self.seconds;
        let steady = |per_second| Pace::Steady { per_second, seconds };
        lab.progress.phase("all at once");
        let (_, ended) = publishing(lab, &mut hot.publisher, steady(self.rate), |lab| {
            let pace = steady(self.rate * WIDE_TIMES);
            let (_, ended) = publishing(lab, &mut wide.publisher, pace, |lab| {
                let replacements = (self.connect_rate * seconds * 0.8) as u64;
                lab.fleet.churn(pass_by.id(0), self.connect_rate, replacements)?;
                lab.rest(seconds / 4.0)?;
                lab.fleet.tell(&Command::Pause { group: slow.id(0) })?;
                lab.rest(seconds / 2.0)?;
                lab.fleet.tell(&Command::Unpause { group: slow.id(0) })
            });
            ended
        });
        ended?;
        hot.drain(lab)?;
        wide.drain(lab)?;
        let expected = hot.publisher.total() * u64::from(slow.viewers);
        lab.wait(slow.id(0), |totals| totals.delivered >= expected).map(|_| ())
    }
}
