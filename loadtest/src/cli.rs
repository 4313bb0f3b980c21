//! The command line.

use crate::options::Common;
use crate::scenario::kind::Scenario;
use crate::scenario::{all, burst, churn, hot, idle, mixed, slow, storm, tls, wide};
use clap::{Args, Parser, Subcommand};
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
    Hot(With<hot::Hot>),
    /// Many tasks with a few viewers each
    Wide(With<wide::Wide>),
    /// Viewers who only watch: memory, arrival, heartbeat, departure
    Idle(With<idle::Idle>),
    /// Updates as fast as Redis takes them
    Burst(With<burst::Burst>),
    /// All viewers drop and come back at once with their last position
    Storm(With<storm::Storm>),
    /// Viewers come and go at a rate
    Churn(With<churn::Churn>),
    /// A share of the viewers does not read for a while
    Slow(With<slow::Slow>),
    /// A hot task, many small ones, arrivals and slow viewers at the same time
    Mixed(With<mixed::Mixed>),
    /// A short form of every scenario
    All(With<all::All>),
    /// What TLS costs: a few scenarios over TCP, over nginx and over TLS in turns
    Tls(With<tls::Tls>),
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
        #[arg(long)]
        tls: Vec<String>,
    },
    #[command(name = "__exec", hide = true)]
    Exec {
        #[arg(long = "core")]
        cores: Vec<usize>,
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// What to run, and with which of the options that all take.
#[derive(Args)]
pub(crate) struct With<T: Args> {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) what: T,
}

impl Action {
    /// The scenarios to run, if that is what is asked for, and what all of them take.
    pub(crate) fn scenarios(self) -> Option<(Common, Vec<Box<dyn Scenario>>)> {
        fn one<T: Args + Scenario + 'static>(
            With { common, what }: With<T>,
        ) -> (Common, Vec<Box<dyn Scenario>>) {
            (common, vec![Box::new(what)])
        }
        Some(match self {
            Self::Hot(hot) => one(hot),
            Self::Wide(wide) => one(wide),
            Self::Idle(idle) => one(idle),
            Self::Burst(burst) => one(burst),
            Self::Storm(storm) => one(storm),
            Self::Churn(churn) => one(churn),
            Self::Slow(slow) => one(slow),
            Self::Mixed(mixed) => one(mixed),
            Self::All(With { common, what }) => {
                let against = common.against.is_some();
                (common, if against { what.against() } else { what.scenarios() })
            }
            Self::Tls(With { common, what }) => (tls::ways(common), what.scenarios()),
            Self::Compare { .. } | Self::Client | Self::Floor { .. } | Self::Exec { .. } => {
                return None;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::FloorKind;
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
            cli.action.scenarios().expect("a scenario").0.floor
        };
        assert_eq!(floors(&[]), []);
        assert_eq!(floors(&["--floor"]), [FloorKind::Plain]);
        assert_eq!(floors(&["--floor", "--pin"]), [FloorKind::Plain]);
        assert_eq!(floors(&["--floor", "coalesced"]), [FloorKind::Coalesced]);
        assert_eq!(floors(&["--floor=plain,coalesced"]), [FloorKind::Plain, FloorKind::Coalesced]);
    }
}
