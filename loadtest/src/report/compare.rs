//! How the figures of one report relate to those of another.

use super::Report;
use super::columns::{columns, labelled, number};
use super::table::names;
use crate::failure::{Failure, Result};

/// A row per measure that both reports have, with B's value over A's.
/// There must be one.
pub(crate) fn table(a: &Report, b: &Report) -> Result<String> {
    let header = ["", "A", "B", "B / A"].map(String::from).to_vec();
    let mut text = format!("A: {}\nB: {}\n", a.command, b.command);
    let mut compared = false;
    for run_a in &a.runs {
        let Some(run_b) = b.runs.iter().find(|run| run.scenario == run_a.scenario) else {
            continue;
        };
        for (which, run, other) in [("A", run_a, run_b), ("B", run_b, run_a)] {
            for side in &run.sides {
                if !other.sides.iter().any(|found| found.name == side.name) {
                    let scenario = &run.scenario;
                    text.push_str(&format!("\n{scenario}, {}: only in {which}\n", side.name));
                }
            }
        }
        for side_a in &run_a.sides {
            let Some(side_b) = run_b.sides.iter().find(|side| side.name == side_a.name) else {
                continue;
            };
            let mut rows = vec![header.clone()];
            for (name, unit) in names(&run_a.sides) {
                let (Some(a), Some(b)) = (side_a.value(name), side_b.value(name)) else { continue };
                let ratio = if a > 0.0 && b >= 0.0 { format!("{:.3}", b / a) } else { "-".into() };
                rows.push(vec![labelled(name, unit), number(a), number(b), ratio]);
            }
            compared = true;
            text.push_str(&format!("\n{}, {}\n{}", run_a.scenario, side_a.name, columns(&rows)));
            for (which, side, end) in [("A", side_a, &run_a.end), ("B", side_b, &run_b.end)] {
                if !end.is_complete() {
                    text.push_str(&format!("  {which} did not run to its end\n"));
                }
                if !side.is_fine(end) {
                    text.push_str(&format!(
                        "  {which} is no valid run: updates went wrong in it\n"
                    ));
                }
            }
        }
        if run_a.settings != run_b.settings {
            text.push_str(&format!("  note: the settings of {} differ\n", run_a.scenario));
        }
    }
    if compared {
        return Ok(text);
    }
    let [a, b] = [a, b].map(scenarios);
    Err(Failure::new(format!("the reports have no scenario in common: A has {a}; B has {b}")))
}

fn scenarios(report: &Report) -> String {
    let names: Vec<_> = report.runs.iter().map(|run| run.scenario.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Run, Side};

    fn report(cpu_us: f64, missing: u64) -> Report {
        let mut side = Side::new("server");
        side.measure("CPU per delivery", "us", cpu_us);
        side.checks.missing = missing;
        let run = Run { scenario: "hot".into(), sides: vec![side], ..Run::default() };
        let (version, command, machine) = (String::new(), String::new(), String::new());
        Report { version, command, machine, runs: vec![run], comparisons: Vec::new() }
    }

    #[test]
    fn ratios_are_b_over_a() {
        let text = table(&report(4.0, 0), &report(5.0, 0)).expect("in common");
        let row: Vec<_> = text.lines().filter(|line| line.contains("CPU per delivery")).collect();
        assert_eq!(row.len(), 1);
        assert!(row[0].ends_with("4.00  5.00  1.250"), "{text}");
        assert!(!text.contains("no valid run"));
    }

    #[test]
    fn what_only_one_report_has_is_named() {
        let mut more = report(5.0, 0);
        more.runs[0].sides.push(Side::new("floor"));
        let text = table(&report(4.0, 0), &more).expect("in common");
        assert!(text.contains("hot, floor: only in B"), "{text}");
    }

    #[test]
    fn a_run_that_lost_updates_is_called_invalid() {
        assert!(
            table(&report(4.0, 0), &report(1.0, 3))
                .expect("in common")
                .contains("B is no valid run")
        );
    }

    #[test]
    fn reports_without_a_common_scenario_are_refused() {
        let mut other = report(4.0, 0);
        other.runs[0].scenario = "wide".into();
        let failure = table(&report(4.0, 0), &other).expect_err("nothing in common");
        assert!(failure.to_string().ends_with("A has hot; B has wide"), "{failure}");
    }
}
