//! `idle`: viewers who only watch. What each costs to come, to be there, and to go.

use super::crowd::{Crowd, warm_up};
use super::kind::{Scenario, settings};
use super::work::percent;
use crate::checks::Checks;
use crate::clock::{SECOND_NS, now_ns, seconds, sleep_until};
use crate::failure::Result;
use crate::lab::{Lab, Needs};
use crate::options::{self, Common, Settings};
use crate::report::measures::{CPU_PER_DEPARTURE, CPU_PER_HEARTBEAT};
use crate::report::{Run, Side};
use crate::stop::Stop;
use clap::Args;

/// Time for a server to notice that its viewers have gone.
const DEPARTURE_NS: u64 = SECOND_NS;

#[derive(Debug, Clone, Args)]
pub(crate) struct Idle {
    /// Viewers of one task
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// How long they stay; a heartbeat comes every 30 s
    #[arg(long, default_value_t = 35.0, value_parser = options::some)]
    pub(crate) seconds: f64,
}

impl Scenario for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn settings(&self, _common: &Common) -> Settings {
        settings([("viewers", self.viewers.to_string()), ("seconds", self.seconds.to_string())])
    }

    fn seconds(&self) -> f64 {
        self.seconds + seconds(DEPARTURE_NS)
    }

    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let needs = Needs {
            scenario: self.name(),
            tasks: 1,
            sockets: u64::from(self.viewers),
            floors: true,
        };
        let mut lab = Lab::start(common, stop, &needs)?;
        for side in 0..lab.sides.len() {
            if !lab.is_stopped() {
                let mut found = Side::new(lab.sides[side].name);
                let ended = self.side(&mut lab, side, &mut found);
                run.sides.push(found);
                run.ticks.extend(lab.progress.take_ticks());
                ended?;
            }
        }
        Ok(())
    }
}

impl Idle {
    fn side(&self, lab: &mut Lab, side: usize, found: &mut Side) -> Result<()> {
        let crowd = Crowd { group: 0, tasks: 0..1, viewers: self.viewers, viewers_per_socket: 1 };
        warm_up(lab, side)?;
        crowd.arrive(lab, side)?.report(found);

        lab.progress.phase(format!("{} idles", lab.sides[side].name));
        let before = lab.cpu(side);
        let pings_before = lab.fleet.totals(crowd.id(side)).pings;
        lab.rest(self.seconds)?;
        let cpu = lab.cpu(side).since(before);
        let counters = lab.fleet.totals(crowd.id(side));
        let pings = counters.pings - pings_before;
        found.measure("CPU while idle", "% of a core", percent(cpu.server, cpu));
        found.measure("heartbeats", "", pings as f64);
        if pings > 0 {
            found.measure(CPU_PER_HEARTBEAT, "us", cpu.server as f64 / 1000.0 / pings as f64);
        }
        found.checks = Checks::of(counters, 0);

        let before = lab.cpu(side);
        crowd.leave(lab, side)?;
        sleep_until(now_ns() + DEPARTURE_NS);
        let cpu = lab.cpu(side).since(before);
        let viewers = f64::from(self.viewers);
        found.measure(CPU_PER_DEPARTURE, "us", cpu.server as f64 / 1000.0 / viewers);
        Ok(())
    }
}
