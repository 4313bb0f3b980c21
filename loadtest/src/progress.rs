//! Watches a run: samples once per second for the report, and prints a line: each second on a
//! terminal, now and then elsewhere.

use crate::clock::{SECOND_NS, now_ns, seconds};
use crate::fleet::{Board, GROUPS_PER_SIDE};
use crate::latency::Latencies;
use crate::report::columns::{count, duration};
use crate::report::{Tick, TickSide};
use crate::sample;
use parking_lot::{Condvar, Mutex};
use std::io::IsTerminal;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

const TICK: Duration = Duration::from_secs(1);
/// Ticks from one line to the next where nobody looks on.
const TICKS_PER_LINE: usize = 5;

/// The processes of a run.
pub(crate) struct Watched {
    pub(crate) scenario: &'static str,
    pub(crate) sides: Vec<(&'static str, Vec<u32>)>,
    pub(crate) redis: Vec<u32>,
    pub(crate) clients: Vec<u32>,
}

pub(crate) struct Progress {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ended: Mutex<bool>,
    wake: Condvar,
    ticks: Mutex<Vec<Tick>>,
    phase: Mutex<String>,
}

impl Progress {
    /// `quiet` prints nothing.
    pub(crate) fn start(watched: Watched, board: Arc<Board>, quiet: bool) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || Sampler::new(watched, board).run(&shared, quiet)
        });
        Self { shared, thread: Some(thread) }
    }

    /// Says what the run is at.
    pub(crate) fn phase(&self, phase: impl Into<String>) {
        *self.shared.phase.lock() = phase.into();
    }

    pub(crate) fn take_ticks(&self) -> Vec<Tick> {
        std::mem::take(&mut self.shared.ticks.lock())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.shared.ended.lock() = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Running totals at the last tick, to subtract.
#[derive(Default, Clone)]
struct Totals {
    at_ns: u64,
    cpu_ns: Vec<u64>,
    delivered: Vec<u64>,
    redis_ns: u64,
    clients_ns: u64,
}

struct Sampler {
    watched: Watched,
    board: Arc<Board>,
    start_ns: u64,
    last: Totals,
}

impl Sampler {
    fn new(watched: Watched, board: Arc<Board>) -> Self {
        let mut sampler = Self { watched, board, start_ns: now_ns(), last: Totals::default() };
        sampler.last = sampler.totals();
        sampler
    }

    fn run(mut self, shared: &Shared, quiet: bool) {
        let ticks_per_line = if std::io::stderr().is_terminal() { 1 } else { TICKS_PER_LINE };
        for number in 1_usize.. {
            let mut ended = shared.ended.lock();
            if !*ended {
                shared.wake.wait_for(&mut ended, TICK);
            }
            if *ended {
                return;
            }
            drop(ended);
            let tick = self.tick();
            if !quiet && number.is_multiple_of(ticks_per_line) {
                eprintln!("{}", self.line(&tick, &shared.phase.lock()));
            }
            shared.ticks.lock().push(tick);
        }
    }

    fn totals(&self) -> Totals {
        let mut delivered = vec![0; self.watched.sides.len()];
        for group in self.board.groups() {
            if let Some(side) = delivered.get_mut((group / GROUPS_PER_SIDE) as usize) {
                *side += self.board.totals(group).delivered;
            }
        }
        Totals {
            at_ns: now_ns(),
            cpu_ns: self.watched.sides.iter().map(|(_, pids)| sample::cpu_ns(pids)).collect(),
            delivered,
            redis_ns: sample::cpu_ns(&self.watched.redis),
            clients_ns: sample::cpu_ns(&self.watched.clients),
        }
    }

    fn tick(&mut self) -> Tick {
        let now = self.totals();
        let last = std::mem::replace(&mut self.last, now.clone());
        let elapsed_s = seconds(now.at_ns - last.at_ns).max(1e-3);
        let share =
            |now: u64, last: u64| now.saturating_sub(last) as f64 / SECOND_NS as f64 / elapsed_s;
        let sides = (0..self.watched.sides.len()).map(|side| {
            let summary = self.recent(side).summary();
            TickSide {
                deliveries_per_s: now.delivered[side].saturating_sub(last.delivered[side]) as f64
                    / elapsed_s,
                cpu: share(now.cpu_ns[side], last.cpu_ns[side]),
                resident_mib: sample::resident_kib(&self.watched.sides[side].1) as f64 / 1024.0,
                p50_us: summary.p50,
                p99_us: summary.p99,
            }
        });
        Tick {
            second: seconds(now.at_ns - self.start_ns),
            sides: sides.collect(),
            redis_cpu: share(now.redis_ns, last.redis_ns),
            clients_cpu: share(now.clients_ns, last.clients_ns),
        }
    }

    fn recent(&self, side: usize) -> Latencies {
        let mut all = Latencies::new();
        for group in self.board.groups() {
            if (group / GROUPS_PER_SIDE) as usize == side {
                all.merge(&self.board.take_recent(group));
            }
        }
        all
    }

    fn line(&self, tick: &Tick, phase: &str) -> String {
        let mut line = format!("{:>5.0} s  {} {phase}", tick.second, self.watched.scenario);
        for ((name, _), side) in self.watched.sides.iter().zip(&tick.sides) {
            let busy = side.deliveries_per_s > 0.0 || side.cpu > 0.005 || *name == "server";
            if busy {
                line.push_str(&format!(
                    "  | {name} {}/s p50 {} p99 {} cpu {:.0}% {:.0} MiB",
                    count(side.deliveries_per_s),
                    duration(side.p50_us as f64),
                    duration(side.p99_us as f64),
                    side.cpu * 100.0,
                    side.resident_mib,
                ));
            }
        }
        let (redis, clients) = (tick.redis_cpu * 100.0, tick.clients_cpu * 100.0);
        format!("{line}  | redis {redis:.0}% clients {clients:.0}%")
    }
}
