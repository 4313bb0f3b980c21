//! What every kind of scenario has in common, and how one is run for the report.

use crate::failure::Result;
use crate::options::Common;
use crate::report::{Report, Run};
use crate::stop::Stop;

/// The settings of a run as the report shows them.
pub(crate) type Settings = Vec<(String, String)>;

pub(crate) trait Scenario {
    fn name(&self) -> &'static str;

    fn settings(&self, common: &Common) -> Settings;

    /// Does the work and adds what was found to the run.
    fn run(&self, common: &Common, stop: &Stop, run: &mut Run) -> Result<()>;
}

pub(super) fn settings<const N: usize>(pairs: [(&str, String); N]) -> Settings {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// Runs a scenario and adds it to the report.
pub(crate) fn run(
    scenario: &dyn Scenario,
    common: &Common,
    stop: &Stop,
    report: &mut Report,
) -> Result<()> {
    let mut run = Run {
        scenario: scenario.name().into(),
        settings: scenario.settings(common),
        ..Run::default()
    };
    scenario.run(common, stop, &mut run)?;
    if run.sides.len() == 1 && !stop.is_set() && !common.floor.is_empty() {
        run.notes.push("floors cannot do this work, so none ran".into());
    }
    report.runs.push(run);
    Ok(())
}
