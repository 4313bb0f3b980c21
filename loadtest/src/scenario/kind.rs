//! What every kind of scenario has in common, and how one is run for the report.

use crate::failure::Result;
use crate::options::{Common, Settings};
use crate::report::{End, Run};
use crate::stop::Stop;

pub(crate) trait Scenario {
    fn name(&self) -> &'static str;

    fn settings(&self, common: &Common) -> Settings;

    /// About how long it takes, beside the arrival of its viewers.
    fn seconds(&self) -> f64;

    /// Does the work and adds what was found to the run.
    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()>;
}

pub(super) fn settings<const N: usize>(pairs: [(&str, String); N]) -> Settings {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// Runs a scenario: what was found, also where it ended before its time, and whether it did.
pub(crate) fn run(scenario: &dyn Scenario, common: &Common, stop: &Stop) -> (Run, Result<()>) {
    let mut run = Run {
        scenario: scenario.name().into(),
        settings: scenario.settings(common),
        ..Run::default()
    };
    let ended = scenario.run(common, stop, &mut run);
    run.end = match &ended {
        Err(failure) => End::BrokeOff(failure.to_string()),
        Ok(()) if stop.is_set() => End::Interrupted,
        Ok(()) => End::Complete,
    };
    match &run.end {
        End::Complete if run.sides.len() == 1 && !common.floor.is_empty() => {
            run.notes.push("floors cannot do this work, so none ran".into());
        }
        End::Complete => {}
        End::Interrupted => {
            run.notes.push("stopped before the end, as asked: these are the figures so far".into())
        }
        End::BrokeOff(_) => {
            run.notes.push("broke off in the middle: these are the figures so far".into());
            run.sides.retain(|side| !side.measures.is_empty());
        }
    }
    (run, ended)
}
