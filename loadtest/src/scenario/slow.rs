//! `slow`: a share of the viewers does not read for a while. The others must not notice, the
//! server must not grow, and once the slow ones read again they must get everything.

use super::crowd::{Crowd, warm_up};
use super::kind::{Scenario, settings};
use super::work::Work;
use crate::checks::Checks;
use crate::client::control::Command;
use crate::clock::{now_ns, seconds};
use crate::failure::Result;
use crate::lab::{Lab, Needs};
use crate::options::{self, Common, Settings};
use crate::publish::Pace;
use crate::report::{Run, Side};
use crate::stop::Stop;
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Slow {
    /// Viewers of one task
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) viewers: u32,
    /// How many of them do not read, in percent
    #[arg(long, default_value_t = 10.0, value_parser = options::percent)]
    pub(crate) share: f64,
    /// Updates per second
    #[arg(long, default_value_t = 100.0, value_parser = options::some)]
    pub(crate) rate: f64,
    /// How long they do not read, and how long all read before that
    #[arg(long, default_value_t = 10.0, value_parser = options::some)]
    pub(crate) seconds: f64,
}

impl Scenario for Slow {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn settings(&self, common: &Common) -> Settings {
        settings([
            ("viewers", self.viewers.to_string()),
            ("of them slow", self.slow_viewers().to_string()),
            ("updates/s", self.rate.to_string()),
            ("seconds", self.seconds.to_string()),
            ("bytes", common.size.to_string()),
        ])
    }

    fn seconds(&self) -> f64 {
        2.0 * self.seconds
    }

    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let needs = Needs {
            scenario: self.name(),
            tasks: 1,
            sockets: u64::from(self.viewers),
            floors: false,
        };
        let mut lab = Lab::start(common, stop, &needs)?;
        let prompt = Crowd {
            group: 0,
            tasks: 0..1,
            viewers: self.viewers - self.slow_viewers(),
            viewers_per_socket: 1,
        };
        let slow = Crowd { group: 1, viewers: self.slow_viewers(), ..prompt.clone() };
        warm_up(&mut lab, 0)?;
        prompt.arrive(&mut lab, 0)?;
        slow.arrive(&mut lab, 0)?;
        let updates = (self.rate * self.seconds * 2.0) as u64 + 1;
        let mut work = Work::new(&mut lab, 0, prompt, updates)?;
        let mut side = Side::new("server");
        let ended = self.measure(&mut lab, &mut work, &slow, &mut side);

        let totals = lab.fleet.totals(slow.id(0));
        let expected = work.publisher.total() * u64::from(slow.viewers);
        work.judge(&lab, &mut side);
        side.checks.merge(Checks::of(totals, expected));
        run.sides.push(side);
        run.notes.extend(lab.fleet.trouble(slow.id(0)));
        run.ticks = lab.progress.take_ticks();
        ended
    }
}

impl Slow {
    fn slow_viewers(&self) -> u32 {
        let share = f64::from(self.viewers) * self.share / 100.0;
        share.clamp(1.0, f64::from(self.viewers - 1)) as u32
    }

    fn measure(&self, lab: &mut Lab, work: &mut Work, slow: &Crowd, side: &mut Side) -> Result<()> {
        let pace = Pace::Steady { per_second: self.rate, seconds: self.seconds };
        let prompt_id = work.crowd.id(0);
        work.turn(lab, pace)?;
        let without = lab.fleet.take_latencies(prompt_id).summary().p99 as f64 / 1000.0;
        let memory_without = lab.resident_kib(0);

        lab.fleet.tell(&Command::Pause { group: slow.id(0) })?;
        work.turn(lab, pace)?;
        let with = lab.fleet.take_latencies(prompt_id);
        let memory_with = lab.resident_kib(0);

        lab.progress.phase("the slow ones read again");
        let delivered_before = lab.fleet.totals(slow.id(0)).delivered;
        let start_ns = now_ns();
        lab.fleet.tell(&Command::Unpause { group: slow.id(0) })?;
        let expected = work.publisher.total() * u64::from(slow.viewers);
        lab.wait(slow.id(0), |totals| totals.delivered >= expected)?;
        let totals = lab.fleet.totals(slow.id(0));
        let catch_up_s = seconds(totals.last_delivery_ns.saturating_sub(start_ns));

        side.measure("latency p99 of the others, all reading", "ms", without);
        let with_p99 = with.summary().p99 as f64 / 1000.0;
        side.measure("latency p99 of the others, some not reading", "ms", with_p99);
        side.latency("", &with);
        let growth = (memory_with as f64 - memory_without as f64) / f64::from(slow.viewers);
        side.measure("memory, all reading", "MiB", memory_without as f64 / 1024.0);
        side.measure("memory, some not reading", "MiB", memory_with as f64 / 1024.0);
        side.measure("memory after", "MiB", lab.resident_kib(0) as f64 / 1024.0);
        side.measure("memory per viewer who does not read", "KiB", growth);
        side.measure("the slow ones had everything after", "s", catch_up_s);
        side.measure(
            "updates that a slow one had to catch up with",
            "",
            (totals.delivered - delivered_before) as f64 / f64::from(slow.viewers),
        );
        Ok(())
    }
}
