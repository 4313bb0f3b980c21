//! The scenarios: what viewers and publishers do, and what is measured while they do it.

pub(crate) mod all;
pub(crate) mod burst;
pub(crate) mod churn;
pub(crate) mod hot;
pub(crate) mod idle;
pub(crate) mod mixed;
pub(crate) mod slow;
pub(crate) mod storm;
pub(crate) mod wide;

mod crowd;
mod fanout;
mod work;

use crate::cli::Action;
use crate::failure::Result;
use crate::report::{Report, Run};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Set when the user wants to stop.
pub(crate) type Stop = Arc<AtomicBool>;

/// Runs what the command line asks for and adds it to the report.
pub(crate) fn run(action: &Action, stop: &Stop, report: &mut Report) -> Result<()> {
    let mut run: Run = match action {
        Action::Hot(hot) => hot.run(stop)?,
        Action::Wide(wide) => wide.run(stop)?,
        Action::Idle(idle) => idle.run(stop)?,
        Action::Burst(burst) => burst.run(stop)?,
        Action::Storm(storm) => storm.run(stop)?,
        Action::Churn(churn) => churn.run(stop)?,
        Action::Slow(slow) => slow.run(stop)?,
        Action::Mixed(mixed) => mixed.run(stop)?,
        Action::All(all) => return all.run(stop, report),
        _ => return Ok(()),
    };
    let stopped = stop.load(std::sync::atomic::Ordering::Relaxed);
    if run.sides.len() == 1
        && !stopped
        && action.common().is_some_and(|common| !common.floor.is_empty())
    {
        run.notes.push("floors cannot do this work, so none ran".into());
    }
    report.runs.push(run);
    Ok(())
}

/// The settings of a run as the report shows them.
fn settings<const N: usize>(pairs: [(&str, String); N]) -> Vec<(String, String)> {
    pairs.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}
