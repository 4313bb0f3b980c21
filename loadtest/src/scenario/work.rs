//! Publishing to a crowd until everything has arrived, and what that cost.

use super::crowd::Crowd;
use crate::checks::Checks;
use crate::clock::{SECOND_NS, now_ns, seconds};
use crate::failure::{Failure, Result};
use crate::lab::{Cpu, Lab};
use crate::publish::{Pace, Published, Publisher};
use crate::report::Side;
use crate::report::measures::{
    CPU_OF_CLIENTS, CPU_OF_REDIS, CPU_PER_DELIVERY, DELIVERIES_PER_SECOND, MEMORY_AFTER_WORK,
};
use crate::witness::Witness;

/// A crowd, its publisher, and the sums over all the times that it worked.
pub(crate) struct Work {
    pub(crate) side: usize,
    pub(crate) crowd: Crowd,
    pub(crate) publisher: Publisher,
    pub(crate) tally: Tally,
    /// Floors have none: they do not resume.
    pub(crate) witness: Option<Witness>,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cpu: Cpu,
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
    /// From when the first update was due until the last one had arrived.
    pub(crate) seconds: f64,
    pub(crate) late_ns_max: u64,
    /// CPU per delivery of each turn, in microseconds.
    pub(crate) turns_us: Vec<f64>,
}

impl Work {
    /// `updates` is how many there will be at most.
    pub(crate) fn new(lab: &mut Lab, side: usize, crowd: Crowd, updates: u64) -> Result<Self> {
        let publisher = lab.publisher(side, crowd.tasks.clone(), updates)?;
        let server = &lab.sides[side];
        let witness = match server.is_floor() {
            true => None,
            false => {
                let tasks = crowd.tasks.clone();
                Witness::start(&server.server, &lab.prefix, tasks, &lab.stop)?
            }
        };
        Ok(Self { side, crowd, publisher, tally: Tally::default(), witness })
    }

    /// Deliveries that all updates so far should have led to.
    pub(crate) fn expected(&self) -> u64 {
        let tasks = self.crowd.tasks.len() as u64;
        self.publisher.total() * (u64::from(self.crowd.viewers) / tasks.max(1))
    }

    /// Publishes, and waits until the viewers have everything or nothing more comes. What was done
    /// counts, whether it ended well or not.
    pub(crate) fn turn(&mut self, lab: &mut Lab, pace: Pace) -> Result<()> {
        let id = self.crowd.id(self.side);
        lab.progress.phase(format!("{} works", lab.sides[self.side].name));
        let (before, before_totals) = (lab.cpu(self.side), lab.fleet.totals(id));
        let (published, ended) = publishing(lab, &mut self.publisher, pace, |_| Ok(()));
        let published_ns = now_ns();
        let ended = ended.and_then(|()| self.drain(lab));
        let cpu = lab.cpu(self.side).since(before);
        let totals = lab.fleet.totals(id);
        let deliveries = totals.delivered - before_totals.delivered;
        let end_ns = totals.last_delivery_ns.max(match pace {
            // The last update has its part of the time too.
            Pace::Steady { per_second, .. } => {
                let all = published.updates as f64 / per_second;
                published_ns.max(published.first_due_ns + (all * SECOND_NS as f64) as u64)
            }
            Pace::Burst { .. } => published.first_due_ns,
        });
        self.tally.cpu += cpu;
        self.tally.deliveries += deliveries;
        self.tally.bytes += totals.bytes - before_totals.bytes;
        self.tally.seconds += seconds(end_ns - published.first_due_ns);
        self.tally.late_ns_max = self.tally.late_ns_max.max(published.late_ns_max);
        self.tally.turns_us.push(cpu.server as f64 / 1000.0 / deliveries.max(1) as f64);
        ended
    }

    /// Waits until the viewers have everything, or nothing more comes.
    pub(crate) fn drain(&mut self, lab: &mut Lab) -> Result<()> {
        let expected = self.expected();
        let id = self.crowd.id(self.side);
        lab.wait(id, |totals| {
            totals.delivered - totals.repeated.min(totals.delivered) >= expected
        })?;
        lab.sides[self.side].server.check()
    }

    /// Adds whether the viewers, and the witness, got what they should.
    pub(crate) fn judge(&self, lab: &Lab, side: &mut Side) {
        side.checks.merge(Checks::of(lab.fleet.totals(self.crowd.id(self.side)), self.expected()));
        if let Some(witness) = &self.witness {
            let expected = self.publisher.total_of(witness.tasks());
            side.witness.get_or_insert_default().merge(witness.testify(expected, &lab.stop));
        }
    }

    /// Adds what the server holds when all is done and the viewers are still there.
    pub(crate) fn memory(&self, lab: &Lab, side: &mut Side) {
        let resident_kib = lab.resident_kib(self.side);
        if resident_kib > 0 {
            side.measure(MEMORY_AFTER_WORK, "MiB", resident_kib as f64 / 1024.0);
        }
    }

    /// Adds what the work cost and how fast it went.
    pub(crate) fn report(&self, lab: &Lab, side: &mut Side) {
        let Tally { cpu, deliveries, bytes, .. } = self.tally;
        side.measure("deliveries", "", deliveries as f64);
        side.measure(DELIVERIES_PER_SECOND, "", deliveries as f64 / self.tally.seconds.max(1e-9));
        side.measure("bytes per delivery", "B", bytes as f64 / deliveries.max(1) as f64);
        if cpu.server > 0 {
            side.measure(
                CPU_PER_DELIVERY,
                "us",
                cpu.server as f64 / 1000.0 / deliveries.max(1) as f64,
            );
            side.measure("CPU", "% of a core", percent(cpu.server, cpu));
        }
        if self.side == 0 && cpu.redis > 0 {
            side.measure(CPU_OF_REDIS, "% of a core", percent(cpu.redis, cpu));
        }
        side.measure(CPU_OF_CLIENTS, "% of a core", percent(cpu.clients, cpu));
        side.latency("", &lab.fleet.take_latencies(self.crowd.id(self.side)));
        side.measure("publisher late by at most", "ms", self.tally.late_ns_max as f64 / 1e6);
        self.judge(lab, side);
    }
}

/// Part of a core that was used, while `all` passed.
pub(crate) fn percent(ns: u64, all: Cpu) -> f64 {
    100.0 * ns as f64 / all.at_ns.max(1) as f64
}

/// Publishes in a thread of its own while something else is done here: what was brought out, and
/// whether both ended well.
pub(crate) fn publishing<T>(
    lab: &mut Lab,
    publisher: &mut Publisher,
    pace: Pace,
    meanwhile: impl FnOnce(&mut Lab) -> Result<T>,
) -> (Published, Result<T>) {
    let stop = lab.stop.clone();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || publisher.publish(pace, &stop));
        let done = meanwhile(lab);
        let failed = |_| (Published::default(), Err(Failure::new("the publisher failed")));
        let (published, ended) = thread.join().unwrap_or_else(failed);
        (published, done.and_then(|done| ended.map(|()| done)))
    })
}
