//! `--against` and `--over`: another server and ours, or ours as viewers reach it in several ways, do
//! the same work in turns, other, ours, other, …, each time on a fresh Redis and with fresh clients,
//! so that what the machine does meanwhile is the same for all and what one process happens to be
//! given by the kernel counts once.

use crate::clock::{now_ns, seconds};
use crate::failure::{Failure, Result};
use crate::options::{Common, Over};
use crate::pairs::{Allowed, Comparison, Row};
use crate::report::columns::{labelled, number};
use crate::report::measures::{
    ARRIVALS_PER_SECOND, CPU_OF_CLIENTS, CPU_OF_REDIS, CPU_PER_DELIVERY, CPU_PER_DEPARTURE,
    CPU_PER_HEARTBEAT, CPU_PER_NEW_VIEWER, CPU_PER_RETURN, DELIVERIES_PER_SECOND, LATENCY_P50,
    LATENCY_P99, MEMORY_AFTER_WORK, MEMORY_OF_ALL, MEMORY_PER_VIEWER,
};
use crate::report::table::{testimony, verdict};
use crate::report::{Report, Run};
use crate::scenario::kind::{self, Scenario};
use crate::stop::Stop;

/// What a server may cost, as a part of what the other one costs, beside how much that moves.
const COST: Allowed = Allowed::Beside(1.03);
/// What it may cost Redis.
const REDIS: Allowed = Allowed::Just(1.05);

/// The measures that are held against each other, and what is allowed in which scenarios, where it
/// is the work there; elsewhere it is shown only, as it moves too much. The first one that a
/// scenario has is the one that is told while it runs.
const COMPARED: [(&str, Allowed, &[&str]); 14] = [
    (CPU_PER_DELIVERY, COST, &["hot", "wide", "wide, few sockets", "burst"]),
    (CPU_PER_RETURN, COST, &["storm"]),
    (CPU_PER_NEW_VIEWER, COST, &["idle"]),
    (CPU_PER_HEARTBEAT, COST, &["idle"]),
    (CPU_PER_DEPARTURE, COST, &["idle"]),
    (MEMORY_PER_VIEWER, COST, &["idle"]),
    (MEMORY_OF_ALL, COST, &["idle"]),
    (MEMORY_AFTER_WORK, COST, &["hot", "wide", "wide, few sockets", "burst", "storm"]),
    (ARRIVALS_PER_SECOND, Allowed::Any, &[]),
    (DELIVERIES_PER_SECOND, Allowed::Any, &[]),
    (LATENCY_P50, Allowed::Any, &[]),
    (LATENCY_P99, Allowed::Any, &[]),
    (CPU_OF_REDIS, REDIS, &["wide"]),
    (CPU_OF_CLIENTS, Allowed::Any, &[]),
];

/// About what a run takes beside its work: start, arrivals, memory that settles, end.
const START_SECONDS: f64 = 6.0;

/// One of those that take turns.
pub(crate) struct Arm {
    name: &'static str,
    common: Common,
}

/// Runs of one scenario so far, in the order of the arms, and what went wrong in them.
struct Turns {
    runs: Vec<Vec<Run>>,
    faults: Vec<String>,
}

/// Says how far it is, and how long it still takes.
struct Plan {
    start_ns: u64,
    /// By the estimate: of the runs that are done, and of all.
    done_s: f64,
    all_s: f64,
    runs_done: usize,
    runs: usize,
}

/// Those that take turns, if that is what is asked for.
pub(crate) fn arms(common: &Common) -> Vec<Arm> {
    let ours = Common { quiet: true, ..common.clone() };
    if let Some(other) = &common.against {
        let old = Common {
            server_bin: Some(other.clone()),
            server_args: common.against_args.clone(),
            ..ours.clone()
        };
        return vec![Arm { name: "old", common: old }, Arm { name: "new", common: ours }];
    }
    let arm = |over: &Over| Arm {
        name: match over {
            Over::Plain => "plain",
            Over::Tls => "tls",
            Over::Nginx => "nginx",
        },
        common: Common { over: vec![*over], ..ours.clone() },
    };
    let arms: Vec<Arm> = common.over.iter().map(arm).collect();
    if arms.len() > 1 { arms } else { Vec::new() }
}

/// Runs the scenarios with all arms and adds what was found to the report, also where it ends
/// before its time.
pub(crate) fn run(
    common: &Common,
    arms: &[Arm],
    scenarios: &[Box<dyn Scenario>],
    stop: &Stop,
    report: &mut Report,
) -> Result<()> {
    let each = turns(arms, common).count();
    let mut plan = Plan::new(scenarios, each);
    for scenario in scenarios {
        let mut turns = Turns::new(arms);
        let ended = turns.take(arms, scenario.as_ref(), stop, &mut plan);
        report.comparisons.extend(turns.compare(arms, scenario.as_ref(), common));
        ended?;
    }
    Ok(())
}

/// Whose turn it is. Each run of a later arm is between two of each earlier one.
fn turns(arms: &[Arm], common: &Common) -> impl Iterator<Item = usize> {
    let runs = arms.len() * (usize::from(common.pairs) + 1) - 1;
    let arms = arms.len();
    (0..runs).map(move |number| number % arms)
}

impl Turns {
    fn new(arms: &[Arm]) -> Self {
        Self { runs: arms.iter().map(|_| Vec::new()).collect(), faults: Vec::new() }
    }

    fn take(
        &mut self,
        arms: &[Arm],
        scenario: &dyn Scenario,
        stop: &Stop,
        plan: &mut Plan,
    ) -> Result<()> {
        for (number, turn) in turns(arms, &arms[0].common).enumerate() {
            let Arm { name, common } = &arms[turn];
            let (run, ended) = kind::run(scenario, common, stop);
            ended?;
            if stop.is_set() {
                return Err(Failure::new(format!(
                    "stopped, as asked, after {} of {} runs",
                    plan.runs_done, plan.runs
                )));
            }
            plan.tell(scenario, name, &run);
            for side in &run.sides {
                let viewers = (!side.checks.are_fine(true))
                    .then(|| verdict("viewers", &side.checks, &run.end));
                let witness = side.witness.as_ref().filter(|w| !w.checks.are_fine(true));
                let witness = witness.map(|witness| testimony(witness, &run.end));
                for line in viewers.into_iter().chain(witness) {
                    self.faults.push(format!("run {}, {name}: {}", number + 1, line.trim()));
                }
            }
            self.runs[turn].push(run);
        }
        Ok(())
    }

    /// Each arm beside each one before it.
    fn compare(&self, arms: &[Arm], scenario: &dyn Scenario, common: &Common) -> Vec<Comparison> {
        let pairs = (0..arms.len()).flat_map(|new| (0..new).map(move |old| [old, new]));
        pairs.filter_map(|pair| self.compare_two(arms, pair, scenario, common)).collect()
    }

    /// None before the first pair is whole.
    fn compare_two(
        &self,
        arms: &[Arm],
        [old_arm, new_arm]: [usize; 2],
        scenario: &dyn Scenario,
        common: &Common,
    ) -> Option<Comparison> {
        let (old, new) = (&self.runs[old_arm], &self.runs[new_arm]);
        let pairs = old.len().saturating_sub(1).min(new.len());
        let (old, new) = (&old[..old.len().min(pairs + 1)], &new[..pairs]);
        let row = |(name, allowed, scenarios): &(&str, Allowed, &[&str])| {
            let of = |runs: &[Run]| runs.iter().map(|run| value(run, name)).collect::<Vec<_>>();
            let unit = old.iter().flat_map(|run| &run.sides).flat_map(|side| &side.measures);
            let unit = unit.clone().find(|measure| measure.name == *name)?.unit.clone();
            // What a way to the server may cost, nobody has said.
            let counts = common.against.is_some() && scenarios.contains(&scenario.name());
            let allowed = if counts { *allowed } else { Allowed::Any };
            Row::new([name, &unit], of(old), of(new), allowed)
        };
        (pairs > 0).then(|| Comparison {
            scenario: scenario.name().into(),
            names: [old_arm, new_arm].map(|arm| arms[arm].name.into()),
            settings: scenario.settings(common),
            pairs,
            pairs_wanted: usize::from(common.pairs),
            rows: COMPARED.iter().filter_map(row).collect(),
            faults: self.faults.clone(),
            notes: notes(old.iter().chain(new)),
        })
    }
}

/// Which runs had a note, and an example: they say what disturbed a run.
fn notes<'a>(runs: impl Iterator<Item = &'a Run> + Clone) -> Vec<String> {
    let with: Vec<&Run> = runs.clone().filter(|run| !run.notes.is_empty()).collect();
    let example = with.first().and_then(|run| run.notes.first());
    let told = example.map(|note| format!("{} of {} runs: {note}", with.len(), runs.count()));
    told.into_iter().collect()
}

fn value(run: &Run, name: &str) -> Option<f64> {
    run.sides.first()?.value(name)
}

impl Plan {
    fn new(scenarios: &[Box<dyn Scenario>], each: usize) -> Self {
        let once: f64 = scenarios.iter().map(|scenario| estimate(scenario.as_ref())).sum();
        let plan = Self {
            start_ns: now_ns(),
            done_s: 0.0,
            all_s: once * each as f64,
            runs_done: 0,
            runs: scenarios.len() * each,
        };
        eprintln!("{} runs, about {}", plan.runs, minutes(plan.all_s));
        plan
    }

    /// A run has ended.
    fn tell(&mut self, scenario: &dyn Scenario, name: &str, run: &Run) {
        self.runs_done += 1;
        self.done_s += estimate(scenario);
        let slower = seconds(now_ns() - self.start_ns) / self.done_s;
        let left = minutes((self.all_s - self.done_s).max(0.0) * slower);
        let measures = run.sides.iter().flat_map(|side| &side.measures);
        let shown = COMPARED.iter().find_map(|(name, ..)| {
            let found = measures.clone().find(|measure| measure.name == *name)?;
            Some(format!("{} {}", labelled(name, &found.unit), number(found.value)))
        });
        eprintln!(
            "{:>4} of {}, about {left} left: {} ({}), {name}: {}",
            self.runs_done,
            self.runs,
            run.scenario,
            run.settings.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", "),
            shown.unwrap_or_default()
        );
    }
}

fn estimate(scenario: &dyn Scenario) -> f64 {
    START_SECONDS + scenario.seconds()
}

fn minutes(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use crate::report::Side;
    use clap::Parser;

    fn run(redis: f64) -> Run {
        let mut side = Side::new("server");
        side.measure(CPU_OF_REDIS, "% of a core", redis);
        Run { sides: vec![side], ..Run::default() }
    }

    #[test]
    fn what_it_costs_redis_counts_where_the_many_streams_are_the_work() {
        for (name, within) in [("wide", Some(false)), ("hot", None)] {
            let cli = Cli::parse_from(["loadtest", name, "--pairs", "1", "--against", "old"]);
            let (common, scenarios) = cli.action.scenarios().expect("a scenario");
            let runs = vec![vec![run(10.0), run(10.0)], vec![run(10.6)]];
            let turns = Turns { runs, faults: Vec::new() };
            let found = turns.compare(&arms(&common), scenarios[0].as_ref(), &common);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].rows.first().map(|row| row.within), Some(within), "{name}");
        }
    }

    #[test]
    fn each_way_is_held_against_those_before_it() {
        let over = ["loadtest", "hot", "--pairs", "2", "--over", "plain,nginx,tls"];
        let (common, scenarios) = Cli::parse_from(over).action.scenarios().expect("a scenario");
        let arms = arms(&common);
        let order: Vec<usize> = turns(&arms, &common).collect();
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1]);
        let runs = [(3, 1.0), (3, 2.0), (2, 3.0)];
        let runs = runs.map(|(times, redis)| (0..times).map(|_| run(redis)).collect()).into();
        let turns = Turns { runs, faults: Vec::new() };
        let found = turns.compare(&arms, scenarios[0].as_ref(), &common);
        let found: Vec<_> = found
            .iter()
            .map(|two| (two.names.join(" "), two.pairs, two.rows[0].ratio, two.rows[0].bound))
            .collect();
        let expected = [("plain nginx", 2.0), ("plain tls", 3.0), ("nginx tls", 1.5)];
        assert_eq!(found, expected.map(|(names, ratio)| (names.into(), 2, ratio, None)));
    }

    #[test]
    fn all_of_what_is_held_against_each_other_is_short() {
        let cli = Cli::parse_from(["loadtest", "all", "--against", "old"]);
        let (_, scenarios) = cli.action.scenarios().expect("scenarios");
        let names: Vec<_> = scenarios.iter().map(|scenario| scenario.name()).collect();
        assert_eq!(names, ["hot", "hot", "hot", "burst", "idle", "storm", "wide"]);
        assert!(scenarios.iter().all(|scenario| scenario.seconds() < 10.0));
    }
}
