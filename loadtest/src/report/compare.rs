//! How the figures of one report relate to those of another.

use super::Report;
use super::table::{columns, labelled, names, number};

/// A row per measure that both reports have, with B's value over A's.
pub(crate) fn table(a: &Report, b: &Report) -> String {
    let header = ["", "A", "B", "B / A"].map(String::from).to_vec();
    let mut text = format!("A: {}\nB: {}\n", a.command, b.command);
    for run_a in &a.runs {
        let Some(run_b) = b.runs.iter().find(|run| run.scenario == run_a.scenario) else {
            continue;
        };
        for side_a in &run_a.sides {
            let Some(side_b) = run_b.sides.iter().find(|side| side.name == side_a.name) else {
                continue;
            };
            let mut rows = vec![header.clone()];
            for (name, unit) in names(&run_a.sides) {
                let (Some(a), Some(b)) = (side_a.value(name), side_b.value(name)) else { continue };
                let ratio = if a == 0.0 { "-".into() } else { format!("{:.3}", b / a) };
                rows.push(vec![labelled(name, unit), number(a), number(b), ratio]);
            }
            text.push_str(&format!("\n{}, {}\n{}", run_a.scenario, side_a.name, columns(&rows)));
            for (which, side) in [("A", side_a), ("B", side_b)] {
                if !side.is_fine() {
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
    text
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
        Report { version, command, machine, runs: vec![run] }
    }

    #[test]
    fn ratios_are_b_over_a() {
        let text = table(&report(4.0, 0), &report(5.0, 0));
        let row: Vec<_> = text.lines().filter(|line| line.contains("CPU per delivery")).collect();
        assert_eq!(row.len(), 1);
        assert!(row[0].ends_with("4.00  5.00  1.250"), "{text}");
        assert!(!text.contains("no valid run"));
    }

    #[test]
    fn a_run_that_lost_updates_is_called_invalid() {
        assert!(table(&report(4.0, 0), &report(1.0, 3)).contains("B is no valid run"));
    }

    #[test]
    fn reports_without_a_common_scenario_compare_to_nothing() {
        let mut other = report(4.0, 0);
        other.runs[0].scenario = "wide".into();
        assert!(!table(&report(4.0, 0), &other).contains("CPU"));
    }
}
