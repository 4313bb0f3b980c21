//! What every scenario takes on the command line.

use crate::url::{Url, parse_url};
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// What a scenario's options came to, as the reader of a report sees them.
pub(crate) type Settings = Vec<(String, String)>;

/// The bare kernel floors that can run beside the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FloorKind {
    /// One send per message and viewer
    Plain,
    /// Everything new in one send per viewer
    Coalesced,
}

/// How viewers reach a server that the harness starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Over TCP alone
    Plain,
    /// Over TLS that the server itself speaks
    Tls,
    /// Over TLS to an nginx on the server's cores, which asks the server over TCP
    Nginx,
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
    /// A running server, as http://HOST:PORT or https://HOST:PORT, instead of starting one
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
    /// Who vouches for the server at an https --url: certificates in PEM
    #[arg(long, value_name = "FILE", requires = "url", help_heading = "Server and Redis")]
    pub(crate) ca: Option<PathBuf>,
    /// What the viewers of --url show so that they may watch [default: TASKCAST_TOKEN]
    #[arg(long, value_name = "FILE", requires = "url", help_heading = "Server and Redis")]
    pub(crate) token_file: Option<PathBuf>,
    /// The server to start [default: taskcast beside this binary]
    #[arg(long, conflicts_with = "url", help_heading = "Server and Redis")]
    pub(crate) server_bin: Option<PathBuf>,
    /// An argument for the server, as it is, and not for the one of --against (repeatable: --server-arg=--io-uring=off)
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
    /// The same as --over tls
    #[arg(long, conflicts_with = "url", help_heading = "TLS")]
    pub(crate) tls: bool,
    /// How viewers reach the server; several take turns and are held against each other
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        conflicts_with_all = ["url", "tls"],
        help_heading = "TLS"
    )]
    pub(crate) over: Vec<Over>,
    /// Viewers resume an earlier session, so that the handshake is a short one
    #[arg(long, help_heading = "TLS")]
    pub(crate) resume: bool,
    /// Another server to hold this one against: both do the same work in turns
    #[arg(
        long,
        value_name = "BINARY",
        conflicts_with_all = ["url", "floor", "over"],
        help_heading = "Old against new"
    )]
    pub(crate) against: Option<PathBuf>,
    /// An argument for the other server, as it is (repeatable)
    #[arg(
        long = "against-arg",
        value_name = "ARG",
        allow_hyphen_values = true,
        requires = "against",
        help_heading = "Old against new"
    )]
    pub(crate) against_args: Vec<OsString>,
    /// How many pairs of old and new, or rounds of what --over names
    #[arg(
        long,
        default_value_t = 7,
        value_parser = clap::value_parser!(u16).range(1..=999),
        help_heading = "Old against new"
    )]
    pub(crate) pairs: u16,
    /// Prints no line of progress per second
    #[arg(skip)]
    pub(crate) quiet: bool,
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

impl Common {
    /// How viewers reach the server, where that is one way.
    pub(crate) fn over(&self) -> Over {
        match (self.tls, self.over.first()) {
            (true, _) => Over::Tls,
            (false, over) => over.copied().unwrap_or(Over::Plain),
        }
    }
}
