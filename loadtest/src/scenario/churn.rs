//! `churn`: viewers come and go at a rate beside some who stay. Memory must stay flat.

use super::crowd::{Crowd, warm_up};
use super::kind::{Scenario, settings};
use super::work::{Work, publishing};
use crate::checks::Checks;
use crate::failure::Result;
use crate::lab::{Lab, Needs};
use crate::options::{self, Common, Settings};
use crate::publish::Pace;
use crate::report::measures::ARRIVALS_PER_SECOND;
use crate::report::{Run, Side};
use crate::stop::Stop;
use clap::Args;

/// Those who come and go are at least as many as arrive within this, so that a viewer whose arrival
/// takes long does not hold up the next one.
const PASS_BY_SECONDS: f64 = 0.5;

#[derive(Debug, Clone, Args)]
pub(crate) struct Churn {
    /// Viewers who stay, and at least as many who come and go
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// Viewers who come, and go, in all
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) connects: u64,
    /// Connects, and disconnects, per second
    #[arg(long, default_value_t = 1000.0, value_parser = options::some)]
    pub(crate) connect_rate: f64,
    /// Updates per second
    #[arg(long, default_value_t = 5.0, value_parser = options::some)]
    pub(crate) rate: f64,
}

impl Scenario for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn settings(&self, _common: &Common) -> Settings {
        settings([
            ("viewers", self.viewers.to_string()),
            ("connects", self.connects.to_string()),
            ("connects/s", self.connect_rate.to_string()),
            ("updates/s", self.rate.to_string()),
        ])
    }

    fn seconds(&self) -> f64 {
        self.connects as f64 / self.connect_rate
    }

    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let passers_by = self.viewers.max((self.connect_rate * PASS_BY_SECONDS) as u32);
        let needs = Needs {
            scenario: self.name(),
            tasks: 1,
            sockets: u64::from(self.viewers + passers_by),
            floors: false,
        };
        let mut lab = Lab::start(common, stop, &needs)?;
        let stay = Crowd { group: 0, tasks: 0..1, viewers: self.viewers, viewers_per_socket: 1 };
        let pass_by = Crowd { group: 1, viewers: passers_by, ..stay.clone() };
        warm_up(&mut lab, 0)?;
        stay.arrive(&mut lab, 0)?;
        pass_by.arrive(&mut lab, 0)?;
        let seconds = self.connects as f64 / self.connect_rate;
        let updates = (self.rate * seconds) as u64;
        let mut work = Work::new(&mut lab, 0, stay, updates)?;
        let mut side = Side::new("server");
        let pace = Pace::Steady { per_second: self.rate, seconds };
        let (_, ended) = publishing(&mut lab, &mut work.publisher, pace, |lab| {
            self.churn(lab, &pass_by, &mut side)
        });
        let ended = ended.and_then(|()| work.drain(&mut lab));

        side.latency("", &lab.fleet.take_latencies(work.crowd.id(0)));
        work.judge(&lab, &mut side);
        side.checks.merge(Checks::of_passers_by(lab.fleet.totals(pass_by.id(0))));
        run.sides.push(side);
        run.notes.extend(lab.fleet.trouble(pass_by.id(0)));
        run.ticks = lab.progress.take_ticks();
        ended
    }
}

impl Churn {
    /// Two halves: the first one may still grow the server's tables, the second one may not.
    fn churn(&self, lab: &mut Lab, pass_by: &Crowd, side: &mut Side) -> Result<()> {
        lab.progress.phase("viewers come and go");
        let before = lab.cpu(0);
        let first = lab.fleet.totals(pass_by.id(0)).attached;
        let mut resident_kib = vec![lab.resident_kib(0)];
        let half = self.connects.div_ceil(2);
        for replacements in [half, self.connects - half] {
            let so_far = lab.fleet.totals(pass_by.id(0)).attached;
            lab.fleet.churn(pass_by.id(0), self.connect_rate, replacements)?;
            let stop = lab.stop.clone();
            lab.wait(pass_by.id(0), |totals| {
                stop.is_set() || totals.attached >= so_far + replacements
            })?;
            resident_kib.push(lab.resident_kib(0));
        }
        if lab.is_stopped() {
            lab.fleet.churn(pass_by.id(0), self.connect_rate, 0)?;
        }
        let cpu = lab.cpu(0).since(before);
        let came = lab.fleet.totals(pass_by.id(0)).attached - first;
        let seconds = cpu.at_ns as f64 / 1e9;
        side.measure("viewers who came and went", "", came as f64);
        side.measure(ARRIVALS_PER_SECOND, "", came as f64 / seconds);
        side.measure(
            "CPU per arrival and departure",
            "us",
            cpu.server as f64 / 1000.0 / came.max(1) as f64,
        );
        for (name, kib) in
            ["memory before", "memory half way", "memory after"].iter().zip(resident_kib)
        {
            side.measure(name, "MiB", kib as f64 / 1024.0);
        }
        Ok(())
    }
}
