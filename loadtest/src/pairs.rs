//! Old against new, from runs that took turns: how each figure of the new one relates to the old
//! one's, and whether that is within what is allowed.
//!
//! The runs are old, new, old, new, …, old. Each new one is held against the two old ones beside
//! it, so that a machine that gets slower does not count; two old ones in a row say how much a
//! figure moves by itself.

use crate::options::Settings;
use serde::{Deserialize, Serialize};

/// One scenario.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Comparison {
    pub(crate) scenario: String,
    /// Of the one, and of the one that is held against it.
    #[serde(default = "old_and_new")]
    pub(crate) names: [String; 2],
    pub(crate) settings: Settings,
    /// Whole pairs, and how many there should have been.
    pub(crate) pairs: usize,
    pub(crate) pairs_wanted: usize,
    pub(crate) rows: Vec<Row>,
    /// Runs in which updates went wrong.
    pub(crate) faults: Vec<String>,
    /// What the reader must know to trust the figures.
    pub(crate) notes: Vec<String>,
}

fn old_and_new() -> [String; 2] {
    ["old", "new"].map(String::from)
}

/// One figure.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: String,
    /// In the order of the runs; none where a run could not measure it. One more than the new ones.
    pub(crate) old: Vec<Option<f64>>,
    pub(crate) new: Vec<Option<f64>>,
    /// The median of new over old.
    pub(crate) ratio: f64,
    /// The median of how far old over old is from 1.
    pub(crate) spread: f64,
    /// What the ratio may be, and whether it is; none where it is shown only.
    pub(crate) bound: Option<f64>,
    pub(crate) within: Option<bool>,
}

/// What a figure of the new one may be, as a part of the old one's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Allowed {
    /// So much, and the spread.
    Beside(f64),
    /// So much, whatever the spread.
    Just(f64),
    /// It is shown only.
    Any,
}

impl Comparison {
    /// Whether all was done, nothing went wrong and no figure is over its bound.
    pub(crate) fn is_fine(&self) -> bool {
        self.pairs == self.pairs_wanted
            && self.faults.is_empty()
            && self.rows.iter().all(|row| row.within != Some(false))
    }
}

impl Row {
    /// None where no pair has the figure.
    pub(crate) fn new(
        [name, unit]: [&str; 2],
        old: Vec<Option<f64>>,
        new: Vec<Option<f64>>,
        allowed: Allowed,
    ) -> Option<Self> {
        let over = |new: Option<f64>, old: Option<f64>| Some(new? / old.filter(|old| *old > 0.0)?);
        let beside = old.windows(2).map(|pair| Some((pair[0]? * pair[1]?).sqrt()));
        let ratios = new.iter().zip(beside).filter_map(|(new, old)| over(*new, old));
        let moves = old.windows(2).filter_map(|pair| over(pair[1], pair[0]));
        let ratio = median(ratios.collect())?;
        let spread = median(moves.map(|ratio| (ratio - 1.0).abs()).collect())?;
        let bound = match allowed {
            Allowed::Beside(most) => Some(most + spread),
            Allowed::Just(most) => Some(most),
            Allowed::Any => None,
        };
        let (name, unit) = (name.to_string(), unit.to_string());
        let within = bound.map(|bound| ratio <= bound);
        Some(Self { name, unit, old, new, ratio, spread, bound, within })
    }
}

/// Of an even number, the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (half, last) = (values.len() / 2, values.len().checked_sub(1)?);
    Some((values[half] + values[last - half]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: [&str; 2] = ["CPU per delivery", "us"];

    fn row(old: &[f64], new: &[f64], allowed: Allowed) -> Row {
        let some = |values: &[f64]| values.iter().copied().map(Some).collect();
        Row::new(CPU, some(old), some(new), allowed).expect("measured")
    }

    #[test]
    fn what_costs_more_than_the_spread_explains_is_over() {
        let still = [4.0, 4.0, 4.0, 4.0];
        assert_eq!(row(&still, &[4.1, 4.1, 9.9], Allowed::Beside(1.03)).within, Some(true));
        assert_eq!(row(&still, &[4.2, 4.2, 0.1], Allowed::Beside(1.03)).within, Some(false));
        // These move by a tenth by themselves.
        let restless = [4.0, 4.4, 4.0, 4.4];
        assert_eq!(row(&restless, &[4.6; 3], Allowed::Beside(1.03)).within, Some(true));
        assert_eq!(row(&restless, &[4.6; 3], Allowed::Just(1.05)).within, Some(false));
        assert_eq!(row(&restless, &[4.6; 3], Allowed::Any).within, None);
    }

    #[test]
    fn a_machine_that_gets_slower_is_no_difference() {
        let row = row(&[1.0, 4.0, 16.0, 64.0], &[2.0, 8.0, 32.0], Allowed::Beside(1.03));
        assert!((row.ratio - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_that_could_not_measure_is_left_out() {
        let row = Row::new(
            CPU,
            vec![Some(2.0), None, Some(2.0), Some(2.0)],
            vec![None, Some(9.0), Some(3.0)],
            Allowed::Any,
        );
        assert_eq!(row.map(|row| row.ratio), Some(1.5));
        assert!(Row::new(CPU, vec![None; 2], vec![Some(1.0)], Allowed::Any).is_none());
        assert!(Row::new(CPU, vec![Some(0.0); 2], vec![Some(1.0)], Allowed::Any).is_none());
    }

    #[test]
    fn a_comparison_is_fine_when_all_was_done_and_nothing_is_over_or_wrong() {
        let rows = |new| vec![row(&[4.0; 2], &[new], Allowed::Beside(1.03))];
        let fine = |new| Comparison {
            pairs: 1,
            pairs_wanted: 1,
            rows: rows(new),
            ..Comparison::default()
        };
        assert!(fine(4.0).is_fine());
        assert!(!fine(5.0).is_fine());
        assert!(!Comparison { pairs_wanted: 2, ..fine(4.0) }.is_fine());
        assert!(!Comparison { faults: vec!["run 1: WRONG".into()], ..fine(4.0) }.is_fine());
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }
}
