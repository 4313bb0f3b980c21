//! What a run found out, in a form that every way of showing it shares.

pub(crate) mod against;
pub(crate) mod columns;
pub(crate) mod compare;
pub(crate) mod html;
pub(crate) mod json;
pub(crate) mod measures;
pub(crate) mod plot;
pub(crate) mod table;

use crate::checks::{Checks, Testimony};
use crate::failure::{Failure, Result};
use crate::latency::{Latencies, Summary};
use crate::options::Settings;
use crate::pairs::Comparison;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// All scenarios of one call.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: String,
    pub(crate) command: String,
    pub(crate) machine: String,
    pub(crate) runs: Vec<Run>,
    /// Of runs against another server.
    #[serde(default)]
    pub(crate) comparisons: Vec<Comparison>,
}

/// One scenario.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) scenario: String,
    pub(crate) settings: Settings,
    /// Reports of earlier versions have runs only that did all that they were to do.
    #[serde(default)]
    pub(crate) end: End,
    /// The server first, then the floors.
    pub(crate) sides: Vec<Side>,
    pub(crate) notes: Vec<String>,
    pub(crate) ticks: Vec<Tick>,
}

/// How a run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// It did all that it was to do.
    #[default]
    Complete,
    /// The user wanted it to stop.
    Interrupted,
    /// Something failed in the middle.
    BrokeOff(String),
}

/// What one server, or floor, did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Side {
    pub(crate) name: String,
    pub(crate) measures: Vec<Measure>,
    pub(crate) checks: Checks,
    /// None where no witness was there.
    pub(crate) witness: Option<Testimony>,
    /// Whose latency it is, if it is not all viewers'.
    #[serde(default)]
    pub(crate) latency_of: String,
    pub(crate) latency: Summary,
    /// Quantile and microseconds.
    pub(crate) curve: Vec<(f64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
}

/// One second of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Tick {
    pub(crate) second: f64,
    pub(crate) sides: Vec<TickSide>,
    /// In cores, as all CPU here.
    pub(crate) redis_cpu: f64,
    pub(crate) clients_cpu: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TickSide {
    pub(crate) deliveries_per_s: f64,
    pub(crate) cpu: f64,
    pub(crate) resident_mib: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            command: command(),
            machine: machine(),
            runs: Vec::new(),
            comparisons: Vec::new(),
        }
    }

    pub(crate) fn is_faultless(&self) -> bool {
        self.runs.iter().all(|run| run.sides.iter().all(|side| side.is_fine(&run.end)))
            && self.comparisons.iter().all(Comparison::is_fine)
    }
}

impl End {
    pub(crate) fn is_complete(&self) -> bool {
        *self == Self::Complete
    }
}

impl Side {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether every viewer, and the witness, got what it should, as far as it was checked.
    pub(crate) fn is_fine(&self, end: &End) -> bool {
        let fine = |checks: &Checks| checks.are_fine(end.is_complete());
        fine(&self.checks) && self.witness.as_ref().is_none_or(|witness| fine(&witness.checks))
    }

    pub(crate) fn measure(&mut self, name: &str, unit: &str, value: f64) {
        self.measures.push(Measure { name: name.into(), unit: unit.into(), value });
    }

    pub(crate) fn value(&self, name: &str) -> Option<f64> {
        self.measures.iter().find(|measure| measure.name == name).map(|measure| measure.value)
    }

    /// Adds the usual percentiles, and the curve, and says whose they are if they are not all
    /// viewers'.
    pub(crate) fn latency(&mut self, whose: &str, latencies: &Latencies) {
        let summary = latencies.summary();
        if summary.count > 0 {
            self.percentiles(whose, &summary);
            (self.latency, self.curve) = (summary, latencies.curve());
            self.latency_of = whose.trim().into();
        }
    }

    pub(crate) fn percentiles(&mut self, whose: &str, summary: &Summary) {
        for (name, us) in [
            (measures::LATENCY_P50, summary.p50),
            ("latency p90", summary.p90),
            (measures::LATENCY_P99, summary.p99),
            ("latency p99.9", summary.p999),
            ("latency max", summary.max),
        ] {
            self.measure(&format!("{name}{whose}"), "ms", us as f64 / 1000.0);
        }
    }
}

/// Whether the report can be written, as far as that can be known before the run.
pub(crate) fn check_paths(json: &Option<PathBuf>, html: &Option<PathBuf>) -> Result<()> {
    if json.is_some() && json == html {
        return Err(Failure::new("--json and --html name the same file: give each its own"));
    }
    for path in json.iter().chain(html) {
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
        if path.is_dir() || dir.is_some_and(|dir| !dir.is_dir()) {
            let why =
                if path.is_dir() { "it is a directory" } else { "there is no such directory" };
            return Err(Failure::new(format!("cannot write {}: {why}", path.display())));
        }
    }
    Ok(())
}

/// The command line, whatever directory this binary lies in.
fn command() -> String {
    let args = std::env::args().skip(1);
    std::iter::once("loadtest".to_string()).chain(args).collect::<Vec<_>>().join(" ")
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cores = crate::cores::given().len();
    let cpuinfo = read("/proc/cpuinfo");
    let model =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores, {}, Linux {}", model.unwrap_or("unknown CPU"), kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::counters::Counters;

    fn checks(delivered: u64, repeated: u64, expected: u64) -> Checks {
        Checks::of(Counters { delivered, repeated, ..Counters::default() }, expected)
    }

    #[test]
    fn a_run_that_only_the_witness_found_wrong_is_wrong() {
        let mut side = Side { checks: checks(10, 0, 10), ..Side::new("server") };
        assert!(side.is_fine(&End::Complete));
        side.witness = Some(Testimony { checks: checks(10, 0, 10), ..Testimony::default() });
        assert!(side.is_fine(&End::Complete));
        side.witness = Some(Testimony { checks: checks(9, 0, 10), ..Testimony::default() });
        let run = Run { sides: vec![side], ..Run::default() };
        assert!(!Report { runs: vec![run], ..Report::new() }.is_faultless());
    }
}
