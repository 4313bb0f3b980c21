//! `storm`: all viewers drop and come back at once with their last position, while updates go on.

use super::crowd::{Crowd, warm_up};
use super::kind::{Scenario, settings};
use super::work::{Work, publishing};
use crate::client::control::Command;
use crate::client::counters::Counters;
use crate::clock::{now_ns, seconds};
use crate::failure::Result;
use crate::lab::{Lab, Needs};
use crate::options::{self, Common, Settings};
use crate::publish::Pace;
use crate::report::measures::CPU_PER_RETURN;
use crate::report::{Run, Side};
use crate::stop::Stop;
use crate::witness::Witness;
use clap::Args;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Args)]
pub(crate) struct Storm {
    /// Viewers of one task
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// Updates per second
    #[arg(long, default_value_t = 5.0, value_parser = options::some)]
    pub(crate) rate: f64,
    /// How long updates go on; the viewers drop after a third of it
    #[arg(long, default_value_t = 12.0, value_parser = options::some)]
    pub(crate) seconds: f64,
}

/// What the storm itself took.
struct Outcome {
    /// Viewers who never came back.
    missing: u64,
    seconds: f64,
    cpu_us_each: f64,
    calls: BTreeMap<String, u64>,
}

impl Scenario for Storm {
    fn name(&self) -> &'static str {
        "storm"
    }

    fn settings(&self, _common: &Common) -> Settings {
        settings([
            ("viewers", self.viewers.to_string()),
            ("updates/s", self.rate.to_string()),
            ("seconds", self.seconds.to_string()),
        ])
    }

    fn seconds(&self) -> f64 {
        self.seconds
    }

    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let viewers = self.viewers;
        let needs =
            Needs { scenario: self.name(), tasks: 1, sockets: u64::from(viewers), floors: false };
        let mut lab = Lab::start(common, stop, &needs)?;
        let crowd = Crowd { group: 0, tasks: 0..1, viewers, viewers_per_socket: 1 };
        warm_up(&mut lab, 0)?;
        let arrival = crowd.arrive(&mut lab, 0)?;
        let updates = (self.rate * self.seconds) as u64;
        let mut work = Work::new(&mut lab, 0, crowd, updates)?;
        let pace = Pace::Steady { per_second: self.rate, seconds: self.seconds };
        let Work { crowd, publisher, witness, .. } = &mut work;
        let mut outcome = None;
        let (_, ended) = publishing(&mut lab, publisher, pace, |lab| {
            outcome = self.storm(lab, crowd, witness.as_ref())?;
            Ok(())
        });
        let ended = ended.and_then(|()| work.drain(&mut lab));

        let mut side = Side::new("server");
        if let Some(outcome) = &outcome {
            side.measure("all caught up after", "s", outcome.seconds);
            side.measure(CPU_PER_RETURN, "us", outcome.cpu_us_each);
            for (command, calls) in &outcome.calls {
                side.measure(&format!("Redis calls meanwhile: {command}"), "", *calls as f64);
            }
        }
        side.latency("", &lab.fleet.take_latencies(work.crowd.id(0)));
        arrival.report(&mut side);
        work.memory(&lab, &mut side);
        work.judge(&lab, &mut side);
        run.sides.push(side);
        let missing = outcome.map_or(0, |outcome| outcome.missing);
        if missing > 0 {
            run.notes.push(format!("{missing} of {viewers} viewers never came back"));
            run.sides[0].checks.missing += missing;
        }
        run.notes.extend(lab.fleet.trouble(work.crowd.id(0)));
        run.ticks = lab.progress.take_ticks();
        ended
    }
}

impl Storm {
    fn storm(
        &self,
        lab: &mut Lab,
        crowd: &Crowd,
        witness: Option<&Witness>,
    ) -> Result<Option<Outcome>> {
        lab.rest(self.seconds / 3.0)?;
        if lab.is_stopped() {
            return Ok(None);
        }
        lab.progress.phase("all drop and come back");
        let (calls_before, before, start_ns) = (lab.redis.calls()?, lab.cpu(0), now_ns());
        lab.fleet.tell(&Command::Reconnect { group: crowd.id(0) })?;
        if let Some(witness) = witness {
            witness.come_back();
        }
        let viewers = u64::from(self.viewers);
        // A server that tells no positions gives the state again.
        let attached = lab.fleet.totals(crowd.id(0)).attached;
        let back = |totals: &Counters| totals.caught_up + totals.attached - attached;
        let all_back = lab.wait(crowd.id(0), |totals| back(totals) >= viewers)?;
        let cpu = lab.cpu(0).since(before);
        let mut calls = lab.redis.calls()?;
        for (command, calls) in &mut calls {
            *calls = calls.saturating_sub(calls_before.get(command).copied().unwrap_or(0));
        }
        calls.retain(|command, calls| *calls > 0 && command != "info");
        let totals = lab.fleet.totals(crowd.id(0));
        let end_ns = totals.last_caught_up_ns.max(totals.last_attach_ns);
        lab.progress.phase("all are back");
        Ok(Some(Outcome {
            missing: viewers.saturating_sub(if all_back { viewers } else { back(&totals) }),
            seconds: seconds(end_ns.saturating_sub(start_ns)),
            cpu_us_each: cpu.server as f64 / 1000.0 / viewers as f64,
            calls,
        }))
    }
}
