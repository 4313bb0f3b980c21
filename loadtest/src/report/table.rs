//! Reports as text on a terminal.

use super::columns::{columns, count, labelled, number};
use super::{End, Report, Run, Side};
use crate::checks::{Checks, Testimony};

pub(crate) fn render(report: &Report) -> String {
    let runs = report.runs.iter().map(run);
    runs.chain(report.comparisons.iter().map(super::against::text)).collect()
}

fn run(run: &Run) -> String {
    let settings: Vec<_> =
        run.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    let mut text = format!("\n{}: {}\n\n", run.scenario, settings.join(", "));
    let mut header = vec![String::new()];
    header.extend(run.sides.iter().map(|side| side.name.clone()));
    let mut rows = vec![header];
    for (name, unit) in names(&run.sides) {
        let mut row = vec![labelled(name, unit)];
        row.extend(run.sides.iter().map(|side| side.value(name).map_or("-".into(), number)));
        rows.push(row);
    }
    text.push_str(&columns(&rows));
    text.push('\n');
    for side in &run.sides {
        text.push_str(&verdict(&side.name, &side.checks, &run.end));
        text.extend(side.witness.as_ref().map(|witness| testimony(witness, &run.end)));
    }
    for note in &run.notes {
        text.push_str(&format!("  note: {note}\n"));
    }
    text
}

/// The measures of all sides, in the order in which they were taken.
pub(super) fn names(sides: &[Side]) -> Vec<(&str, &str)> {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for measure in sides.iter().flat_map(|side| &side.measures) {
        if !names.iter().any(|(name, _)| *name == measure.name) {
            names.push((&measure.name, &measure.unit));
        }
    }
    names
}

/// One line that says whether everything came as it should, or of a run that was cut, what came
/// until then.
pub(crate) fn verdict(side: &str, checks: &Checks, end: &End) -> String {
    let counters = &checks.counters;
    let complete = end.is_complete();
    let faults = [
        ("missing", if complete { checks.missing } else { counters.missing }),
        ("repeated", counters.repeated),
        ("out of order", counters.out_of_order),
        ("misrouted", counters.misrouted),
        ("broken chains", counters.broken_chains),
        ("gaps", counters.gaps),
        ("connections lost", counters.lost),
        ("errors and bad frames", counters.refused),
    ];
    let faults: Vec<_> = faults
        .iter()
        .filter(|(_, times)| *times > 0)
        .map(|(name, times)| format!("{} {name}", count(*times as f64)))
        .collect();
    let of = format!("{} deliveries expected", count(checks.expected as f64));
    let (came, faults) = (count(counters.delivered as f64), faults.join(", "));
    let cut = match end {
        End::Complete => "",
        End::Interrupted => "interrupted",
        End::BrokeOff(_) => "broke off",
    };
    let mut text = match checks.are_fine(complete) {
        true if complete => format!("  {side}: every update once and in order ({of})\n"),
        true => {
            format!("  {side}: {cut}: nothing wrong in the {came} that came until then ({of})\n")
        }
        false if complete => format!("  {side}: WRONG: {faults} ({of})\n"),
        false => format!(
            "  {side}: WRONG, and {cut}: {faults} in the {came} that came until then ({of})\n"
        ),
    };
    if counters.unchained > 0 {
        let times = count(counters.unchained as f64);
        text.push_str(&format!("  {side}: {times} updates do not name the one before them\n"));
    }
    if counters.retries > 0 {
        let times = count(counters.retries as f64);
        text.push_str(&format!("  {side}: {times} connections failed at first and were retried\n"));
    }
    text
}

/// One line that says the same of the witness, and what it went through.
pub(crate) fn testimony(witness: &Testimony, end: &End) -> String {
    let line = verdict("witness", &witness.checks, end);
    let (reconnects, gaps) = (witness.reconnects, witness.checks.counters.gaps);
    let told = format!("{}; reconnects: {reconnects}, gaps: {gaps}", line.trim_end());
    match &witness.trouble {
        Some(trouble) => format!("{told}; first trouble: {trouble}\n"),
        None => told + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::counters::Counters;

    #[test]
    fn a_verdict_names_each_fault() {
        let fine = Checks::of(Counters { delivered: 5, ..Counters::default() }, 5);
        assert!(verdict("server", &fine, &End::Complete).contains("once and in order"));
        let counters = Counters { delivered: 5, repeated: 1, lost: 2, ..Counters::default() };
        let text = verdict("server", &Checks::of(counters, 5), &End::Complete);
        assert!(text.contains("WRONG: 1 missing, 1 repeated, 2 connections lost"), "{text}");
    }
}
