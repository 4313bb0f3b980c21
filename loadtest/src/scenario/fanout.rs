//! The common part of `hot`, `wide` and `burst`: a crowd, updates, and the floors in turns.

use super::crowd::{Arrival, Crowd, warm_up};
use super::work::{Work, percent};
use crate::failure::Result;
use crate::lab::{Lab, Needs};
use crate::options::Common;
use crate::publish::Pace;
use crate::report::measures::CPU_PER_DELIVERY;
use crate::report::{Run, Side};
use crate::stop::Stop;

pub(super) struct Fanout {
    pub(super) scenario: &'static str,
    pub(super) crowd: Crowd,
    /// What each side does in one turn.
    pub(super) pace: Pace,
    pub(super) turns: u32,
}

/// The length that a turn should have when sides alternate.
const TURN_SECONDS: f64 = 2.5;
const TURNS_MIN: f64 = 2.0;

/// Cuts a steady load into turns if there is more than one side.
pub(super) fn turns(common: &Common, per_second: f64, seconds: f64) -> (Pace, u32) {
    let turns = match common.floor.is_empty() {
        true => 1.0,
        false => (seconds / TURN_SECONDS).round().max(TURNS_MIN),
    };
    (Pace::Steady { per_second, seconds: seconds / turns }, turns as u32)
}

impl Fanout {
    pub(super) fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()> {
        let crowd = &self.crowd;
        let needs = Needs {
            scenario: self.scenario,
            tasks: crowd.tasks.end,
            sockets: u64::from(crowd.viewers.div_ceil(crowd.viewers_per_socket)),
            floors: crowd.viewers_per_socket == 1,
        };
        let mut lab = Lab::start(common, stop, &needs)?;
        let mut works = Vec::new();
        let mut arrivals = Vec::new();
        for side in 0..lab.sides.len() {
            warm_up(&mut lab, side)?;
            arrivals.push(crowd.arrive(&mut lab, side)?);
            works.push(Work::new(&mut lab, side, crowd.clone(), self.updates())?);
        }
        let ended = self.work(&mut lab, &mut works);
        self.report(&lab, &works, &arrivals, run);
        ended
    }

    fn work(&self, lab: &mut Lab, works: &mut [Work]) -> Result<()> {
        for _ in 0..self.turns {
            for work in works.iter_mut() {
                if !lab.is_stopped() {
                    work.turn(lab, self.pace)?;
                }
            }
        }
        Ok(())
    }

    fn updates(&self) -> u64 {
        let turn = match self.pace {
            Pace::Steady { per_second, seconds } => (per_second * seconds) as u64 + 1,
            Pace::Burst { updates } => updates,
        };
        turn * u64::from(self.turns)
    }

    fn report(&self, lab: &Lab, works: &[Work], arrivals: &[Arrival], run: &mut Run) {
        for (work, arrival) in works.iter().zip(arrivals) {
            let mut side = Side::new(lab.sides[work.side].name);
            work.report(lab, &mut side);
            arrival.report(&mut side);
            work.memory(lab, &mut side);
            run.notes.extend(troubles(lab, work));
            run.sides.push(side);
        }
        if let Ok(connections) = lab.server_connections() {
            run.sides[0].measure("Redis connections", "", connections as f64);
        }
        add_ratios(run, works);
        run.ticks = lab.progress.take_ticks();
    }
}

/// How the server's cost relates to that of each floor.
fn add_ratios(run: &mut Run, works: &[Work]) {
    let cost = |side: &Side| side.value(CPU_PER_DELIVERY);
    let [server, floors @ ..] = &mut run.sides[..] else { return };
    for (floor, work) in floors.iter().zip(&works[1..]) {
        let (Some(own), Some(least)) = (cost(server), cost(floor)) else { continue };
        server.measure(&format!("CPU over the {}", floor.name), "x", own / least);
        let ratios = works[0].tally.turns_us.iter().zip(&work.tally.turns_us);
        let ratios: Vec<String> =
            ratios.map(|(own, least)| format!("{:.2}", own / least)).collect();
        run.notes.push(format!("CPU over the {}, turn by turn: {}", floor.name, ratios.join(" ")));
    }
}

/// What the reader must know to trust the figures.
fn troubles(lab: &Lab, work: &Work) -> Vec<String> {
    const BUSY_PERCENT: f64 = 90.0;
    const STRANGERS_PERCENT: f64 = 10.0;
    let mut notes = Vec::new();
    let name = lab.sides[work.side].name;
    if let Some(trouble) = lab.fleet.trouble(work.crowd.id(work.side)) {
        notes.push(format!("{name}: the first trouble of a viewer: {trouble}"));
    }
    let clients = percent(work.tally.cpu.clients, work.tally.cpu);
    if clients > BUSY_PERCENT * lab.fleet.pids().len() as f64 {
        notes.push(format!(
            "{name}: the clients used {clients:.0} % of a core, so latencies and rates are theirs too"
        ));
    }
    let strangers = percent(work.tally.cpu.strangers, work.tally.cpu);
    if strangers > STRANGERS_PERCENT {
        notes.push(format!(
            "{name}: other programs, or the host, used {strangers:.0} % of a core meanwhile: run this \
             again when the machine is idle"
        ));
    }
    notes
}
