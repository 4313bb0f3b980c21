//! How two servers that took turns are shown: as text, and as a part of the page.

use super::columns::{columns, labelled, number};
use crate::pairs::{Comparison, Row, median};

/// A header, and a row per figure.
pub(super) fn rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let [old, new] = &comparison.names;
    let (over, moves) = (format!("{new} / {old}"), format!("{old} / {old}"));
    let header = ["", old, new, &over, &moves, "allowed", ""];
    let mut rows = vec![header.map(String::from).to_vec()];
    rows.extend(comparison.rows.iter().map(row));
    rows
}

fn row(row: &Row) -> Vec<String> {
    let middle = |values: &[Option<f64>]| {
        median(values.iter().flatten().copied().collect()).map_or("-".into(), number)
    };
    let verdict = match row.within {
        None => "",
        Some(true) => "within",
        Some(false) => "OVER",
    };
    vec![
        labelled(&row.name, &row.unit),
        middle(&row.old),
        middle(&row.new),
        format!("{:.3}", row.ratio),
        format!("+-{:.3}", row.spread),
        row.bound.map_or("-".into(), |bound| format!("{bound:.3}")),
        verdict.into(),
    ]
}

pub(super) fn title(comparison: &Comparison) -> String {
    let settings = comparison.settings.iter().map(|(name, value)| format!("{name} {value}"));
    settings.collect::<Vec<_>>().join(", ")
}

/// The last word on it, a line each.
pub(super) fn verdicts(comparison: &Comparison) -> Vec<String> {
    let Comparison { pairs, pairs_wanted, rows, faults, notes, .. } = comparison;
    let over = rows.iter().filter(|row| row.within == Some(false)).count();
    let mut lines = vec![match (pairs < pairs_wanted, over) {
        (true, _) => format!("ended after {pairs} of {pairs_wanted} pairs"),
        _ if rows.iter().all(|row| row.bound.is_none()) => format!("{pairs} pairs"),
        (false, 0) => format!("{pairs} pairs: nothing is over what is allowed"),
        (false, over) => format!("{pairs} pairs: {over} OVER what is allowed"),
    }];
    lines.extend(faults.iter().cloned());
    lines.extend(notes.iter().map(|note| format!("note: {note}")));
    lines
}

pub(super) fn text(comparison: &Comparison) -> String {
    let mut text = format!("\n{}: {}\n\n", comparison.scenario, title(comparison));
    text.push_str(&columns(&rows(comparison)));
    text.push('\n');
    for line in verdicts(comparison) {
        text.push_str(&format!("  {line}\n"));
    }
    text
}
