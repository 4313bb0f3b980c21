//! `taskcast serve`: flags to configuration, then the server until a signal.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Outcome, SourceArgs, fail, print};
use crate::config::{Config, ConfigError, LogFormat, Setting, Switch, TailMode};
use crate::log::Log;
use crate::logging;
use crate::server::{self, ServerError};

const ENVIRONMENT: &str =
    "Flags go over the environment, the environment over the file of --config.
Environment: REDIS_URL, RUST_LOG (as --log-level), and TASKCAST_<KEY> for every other key of the
file, such as TASKCAST_LISTEN or TASKCAST_LIMITS_PING_INTERVAL_MS. --print-config lists the keys.

SIGTERM, SIGINT, SIGHUP or SIGQUIT: stop accepting, close every viewer with 1012 within
--drain-seconds, exit.
A second one exits at once.

Exit codes: 0 ended by a signal, 1 failed, 2 bad arguments or configuration,
4 the address cannot be listened on. Redis may come and go; that ends nothing.";

/// The flags of `serve`.
#[derive(Args)]
#[command(after_help = ENVIRONMENT)]
pub(super) struct ServeArgs {
    /// Address to listen on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// Keep the log in this process instead of Redis; nothing outlives a restart
    #[arg(long, conflicts_with = "redis")]
    embedded: bool,
    /// Worker threads [default: one per core]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Form of log lines [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = LogFormat::WORDS.to_vec())]
    log_format: Option<String>,
    /// Level of log lines, or directives such as info,taskcast=debug [env: RUST_LOG]
    /// [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Add /api/v1/ws/echo, which echoes messages: for tests and for debugging proxies
    #[arg(long)]
    diagnostics: bool,
    /// Send in batches through io_uring [default: auto]
    #[arg(long, value_name = "SWITCH", value_parser = Switch::WORDS.to_vec())]
    io_uring: Option<String>,
    /// How changes in Redis are noticed [default: auto]
    #[arg(long, value_name = "MODE", value_parser = TailMode::WORDS.to_vec())]
    tail: Option<String>,
    /// Longest time of a shutdown [default: 20]
    #[arg(long, value_name = "SECONDS")]
    drain_seconds: Option<String>,
    /// Let updates of a task that come within this time share one send per viewer [default: 0]
    #[arg(long, value_name = "MS")]
    flush_interval_ms: Option<String>,
    /// Origin that browsers may use the server from, * for all; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    cors_origin: Vec<String>,
    /// Print the configuration that is in force as a TOML file, and exit
    #[arg(long)]
    print_config: bool,
}

impl ServeArgs {
    fn load(self) -> Result<Config, ConfigError> {
        let mut flags = Vec::new();
        let texts = [
            ("listen", self.listen),
            ("workers", self.workers),
            ("log_format", self.log_format),
            ("log_level", self.log_level),
            ("io_uring", self.io_uring),
            ("tail", self.tail),
            ("drain_seconds", self.drain_seconds),
            ("flush_interval_ms", self.flush_interval_ms),
        ];
        for (key, text) in texts {
            flags.extend(text.map(|text| Setting::flag(key, text)));
        }
        for (key, given) in [("embedded", self.embedded), ("diagnostics", self.diagnostics)] {
            flags.extend(given.then(|| Setting::flag(key, "true")));
        }
        if !self.cors_origin.is_empty() {
            flags.push(Setting::flag_list("cors_origins", "--cors-origin", self.cors_origin));
        }
        self.source.load(flags)
    }
}

/// Serves until a signal.
pub(super) async fn run(args: ServeArgs) -> ExitCode {
    let print_only = args.print_config;
    let config = match args.load() {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    if print_only {
        return print(&config.to_toml()).err().unwrap_or_else(|| Outcome::Done.into());
    }
    if let Err(error) = logging::start(&config) {
        return fail(Outcome::Failed, &format!("cannot log: {error}"));
    }
    match Log::open(&config) {
        Ok(log) => serve(config, log).await,
        Err(error) => fail(Outcome::Usage, &error.to_string()),
    }
}

/// Runs the server on a configuration and its log, until a signal.
pub(super) async fn serve(config: Config, log: Log) -> ExitCode {
    let shutdown = match Signals::new() {
        Ok(signals) => signals.shutdown(),
        Err(error) => return fail(Outcome::Failed, &format!("cannot wait for signals: {error}")),
    };
    match server::run(config, log, shutdown).await {
        Ok(()) => Outcome::Done.into(),
        Err(error @ ServerError::Bind { .. }) => fail(Outcome::CannotListen, &error.to_string()),
        Err(error) => fail(Outcome::Failed, &error.to_string()),
    }
}

/// The signals that end the server, each in the same way: what a supervisor sends, Ctrl-C, the end
/// of the terminal, and Ctrl-\. They are caught from the moment this is made.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    /// Waits for the first; from then on, the next one ends the process at once.
    async fn shutdown(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("second signal: exiting without draining");
            logging::flush();
            std::process::exit(Outcome::Failed as i32);
        });
    }

    async fn next(&mut self) {
        // Each is safe to drop: a signal that came stays noted in the stream.
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.hangup.recv() => "SIGHUP",
            _ = self.quit.recv() => "SIGQUIT",
        };
        tracing::info!(signal = name, "signal");
    }
}
