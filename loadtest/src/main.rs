//! `loadtest`: very many viewers against Taskcast, or against any server of its endpoint, every
//! update verified and timed from when it was due.

mod against;
mod backend;
mod checks;
mod child;
mod cli;
mod client;
mod clock;
mod cores;
mod failure;
mod fleet;
mod floor;
mod front;
mod lab;
mod latency;
mod options;
mod pairs;
mod progress;
mod publish;
mod report;
mod sample;
mod scenario;
mod stop;
mod tls;
mod url;
mod wire;
mod witness;

use clap::Parser;
use cli::{Action, Cli};
use failure::{Context, Result};
use options::Common;
use report::Report;
use scenario::kind::{self, Scenario};
use std::io::Write;
use std::process::ExitCode;
use stop::Stop;

/// Something that came, or did not come, was wrong.
const EXIT_OFF: u8 = 1;
/// The run could not be made.
const EXIT_FAILED: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Cli::parse().action {
        Action::Client => client::run().map(|()| true),
        Action::Floor { coalesced, tls } => floor::run(coalesced, &tls).map(|()| true),
        Action::Exec { cores, command } => Err(child::exec(&cores, &command)),
        Action::Compare { a, b } => compare(&a, &b).map(|()| true),
        action => match action.scenarios() {
            Some((common, scenarios)) => run(&common, &scenarios),
            None => Ok(true),
        },
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_OFF),
        Err(failure) => {
            eprintln!("loadtest: {failure}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn compare(a: &std::path::Path, b: &std::path::Path) -> Result<()> {
    show(&report::compare::table(&report::json::read(a)?, &report::json::read(b)?)?)
}

/// Prints. Who reads may have gone.
fn show(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).while_doing(|| "cannot print the report".into())
        }
        _ => Ok(()),
    }
}

/// Runs scenarios and reports: whether every viewer got what it should.
fn run(common: &Common, scenarios: &[Box<dyn Scenario>]) -> Result<bool> {
    let stop = Stop::on_signals(EXIT_FAILED)?;
    report::check_paths(&common.json, &common.html)?;
    let mut report = Report::new();
    let arms = against::arms(common);
    let ended = match arms.is_empty() {
        false => against::run(common, &arms, scenarios, &stop, &mut report),
        true => one_by_one(common, scenarios, &stop, &mut report),
    };
    if report.runs.is_empty() && report.comparisons.is_empty() {
        // A report of an earlier run stays.
        ended?;
        return Ok(true);
    }
    let json = common.json.as_ref().map(|path| report::json::write(&report, path));
    let html = common.html.as_ref().map(|path| {
        std::fs::write(path, report::html::render(&report))
            .while_doing(|| format!("cannot write {}", path.display()))
    });
    show(&report::table::render(&report))?;
    ended?;
    json.transpose()?;
    html.transpose()?;
    Ok(report.is_faultless())
}

fn one_by_one(
    common: &Common,
    scenarios: &[Box<dyn Scenario>],
    stop: &Stop,
    report: &mut Report,
) -> Result<()> {
    for scenario in scenarios {
        if !stop.is_set() {
            let (run, ended) = kind::run(scenario.as_ref(), common, stop);
            report.runs.extend(Some(run).filter(|run| !run.sides.is_empty()));
            ended?;
        }
    }
    Ok(())
}
