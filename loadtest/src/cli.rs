//! The command line.

use crate::backend::{Url, parse_url};
use crate::scenario::{all, burst, churn, hot, idle, mixed, slow, storm, wide};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Drives very many viewers against Taskcast, checks that each one gets every update once and in
/// order, and measures what that costs.
#[derive(Parser)]
#[command(name = "loadtest", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// One task with many viewers, at a steady rate
    Hot(hot::Hot),
    /// Many tasks with a few viewers each
    Wide(wide::Wide),
    /// Viewers who only watch: memory, arrival, heartbeat, departure
    Idle(idle::Idle),
    /// Updates as fast as Redis takes them
    Burst(burst::Burst),
    /// All viewers drop and come back at once with their last position
    Storm(storm::Storm),
    /// Viewers come and go at a rate
    Churn(churn::Churn),
    /// A share of the viewers does not read for a while
    Slow(slow::Slow),
    /// A hot task, many small ones, arrivals and slow viewers at the same time
    Mixed(mixed::Mixed),
    /// A short form of every scenario
    All(all::All),
    /// Prints how B's figures relate to A's
    Compare {
        /// The report to compare with
        a: PathBuf,
        /// The report to compare
        b: PathBuf,
    },
    #[command(name = "__client", hide = true)]
    Client,
    #[command(name = "__floor", hide = true)]
    Floor {
        #[arg(long)]
        coalesced: bool,
    },
    #[command(name = "__exec", hide = true)]
    Exec {
        #[arg(long = "core")]
        cores: Vec<usize>,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

impl Action {
    /// What every scenario takes.
    pub(crate) fn common(&self) -> Option<&Common> {
        Some(match self {
            Self::Hot(hot) => &hot.common,
            Self::Wide(wide) => &wide.common,
            Self::Idle(idle) => &idle.common,
            Self::Burst(burst) => &burst.common,
            Self::Storm(storm) => &storm.common,
            Self::Churn(churn) => &churn.common,
            Self::Slow(slow) => &slow.common,
            Self::Mixed(mixed) => &mixed.common,
            Self::All(all) => &all.common,
            _ => return None,
        })
    }
}

/// The bare kernel floors that can run beside the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloorKind {
    /// One send per message and viewer
    Plain,
    /// Everything new in one send per viewer
    Coalesced,
}

/// A rate per second, or a length of time in seconds.
pub(crate) fn some(text: &str) -> Result<f64, String> {
    at_most(1e6, text)
}

/// A part of all, in percent.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    at_most(100.0, text)
}

fn at_most(most: f64, text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    match number > 0.0 && number <= most {
        true => Ok(number),
        false => Err(format!("must be above 0, and at most {most}")),
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// A running server, as http://HOST:PORT, instead of starting one
    #[arg(
        long,
        requires = "redis",
        value_parser = parse_url,
        help_heading = "Server and Redis"
    )]
    pub(crate) url: Option<Url>,
    /// A running Redis, as redis://HOST:PORT, instead of starting one
    #[arg(long, help_heading = "Server and Redis")]
    pub(crate) redis: Option<String>,
    /// The processes of the server at --url, to sample their CPU and memory
    #[arg(long, value_delimiter = ',', requires = "url", help_heading = "Server and Redis")]
    pub(crate) pid: Vec<u32>,
    /// The server to start [default: taskcast beside this binary]
    #[arg(long, conflicts_with = "url", help_heading = "Server and Redis")]
    pub(crate) server_bin: Option<PathBuf>,
    /// An argument for the server, as it is (repeatable: --server-arg=--io-uring=off)
    #[arg(
        long = "server-arg",
        value_name = "ARG",
        allow_hyphen_values = true,
        conflicts_with = "url",
        help_heading = "Server and Redis"
    )]
    pub(crate) server_args: Vec<OsString>,
    /// The server's workers
    #[arg(long, default_value_t = 1, help_heading = "Server and Redis")]
    pub(crate) workers: usize,
    /// The server alone on the first cores, one per worker, everything else on the others
    #[arg(long, help_heading = "Measuring")]
    pub(crate) pin: bool,
    /// Run the kernel's floor for the same work in turns with the server [plain when no kind given]
    #[arg(
        long,
        value_enum,
        num_args = 0..=2,
        value_delimiter = ',',
        default_missing_value = "plain",
        help_heading = "Measuring"
    )]
    pub(crate) floor: Vec<FloorKind>,
    /// Bytes of an update on the wire, with its frame's header
    #[arg(
        long,
        default_value_t = 420,
        value_parser = clap::value_parser!(u32).range(1..=16 << 20),
        help_heading = "Measuring"
    )]
    pub(crate) size: u32,
    /// Client processes [default: as many as the open files need]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256), help_heading = "Measuring")]
    pub(crate) clients: Option<u16>,
    /// Handshakes at the same time while viewers arrive
    #[arg(
        long,
        default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..),
        help_heading = "Measuring"
    )]
    pub(crate) in_flight: u32,
    /// Write the report as JSON, for `loadtest compare`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as a page with plots
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub(crate) html: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for args in [
            &["hot", "--rate", "nan"][..],
            &["hot", "--rate", "inf"],
            &["hot", "--rate", "0"],
            &["hot", "--seconds", "1e300"],
            &["hot", "--size", "99999999999"],
            &["hot", "--clients", "0"],
            &["hot", "--in-flight", "0"],
            &["slow", "--share", "101"],
            &["churn", "--connect-rate", "1e9"],
            &["churn", "--connects", "0"],
            &["burst", "--updates", "0"],
        ] {
            assert!(Cli::try_parse_from([&["loadtest"], args].concat()).is_err(), "{args:?}");
        }
    }

    #[test]
    fn floors_are_named_or_plain() {
        let floors = |args: &[&str]| {
            let cli = Cli::try_parse_from([&["loadtest", "hot"], args].concat()).expect("parses");
            cli.action.common().expect("a scenario").floor.clone()
        };
        assert_eq!(floors(&[]), []);
        assert_eq!(floors(&["--floor"]), [FloorKind::Plain]);
        assert_eq!(floors(&["--floor", "--pin"]), [FloorKind::Plain]);
        assert_eq!(floors(&["--floor", "coalesced"]), [FloorKind::Coalesced]);
        assert_eq!(floors(&["--floor=plain,coalesced"]), [FloorKind::Plain, FloorKind::Coalesced]);
    }
}
