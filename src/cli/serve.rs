//! `taskcast serve`: flags to configuration, then the server until a signal.

use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::settings::{All, SourceArgs};
use super::{Outcome, fail, print, warn_of_ignored};
use crate::config::Config;
use crate::log::Log;
use crate::logging;
use crate::server::{self, ServerError};

const ENVIRONMENT: &str =
    "Flags go over the environment, the environment over the file of --config.
Environment: REDIS_URL, RUST_LOG (as --log-level), and TASKCAST_<KEY> for every other key of the
file, such as TASKCAST_LISTEN or TASKCAST_LIMITS_PING_INTERVAL_MS. --print-config lists the keys.

SIGTERM, SIGINT, SIGHUP or SIGQUIT: stop accepting, close every viewer with 1012 within
--drain-seconds, exit. A second one exits at once.

Exit codes: 0 ended by a signal, 1 failed, 2 bad arguments or configuration,
4 the address cannot be listened on, 70 a part of the server failed and could not be started again.
Redis may come and go; that ends nothing.";

/// The flags of `serve`.
#[derive(Args)]
#[command(after_help = ENVIRONMENT)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    source: SourceArgs<All>,
    /// Print the configuration that is in force as a TOML file, and exit
    #[arg(long)]
    print_config: bool,
}

/// Serves until a signal.
pub(super) async fn run(args: ServeArgs) -> ExitCode {
    let print_only = args.print_config;
    let config = match args.source.load() {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    if print_only {
        warn_of_ignored(&config);
        return print(&config.to_toml()).err().unwrap_or_else(|| Outcome::Done.into());
    }
    if let Err(code) = start_log(&config) {
        return code;
    }
    match Log::open(&config) {
        Ok(log) => serve(config, log).await,
        Err(error) => fail(Outcome::Usage, &error.to_string()),
    }
}

/// Starts the log, and says in it what of the configuration is ignored.
///
/// # Errors
/// The exit code where there is no log, which was said.
pub(super) fn start_log(config: &Config) -> Result<(), ExitCode> {
    let cannot_log = |error| fail(Outcome::Failed, &format!("cannot log: {error}"));
    logging::start(config).map_err(cannot_log)?;
    for ignored in &config.ignored {
        tracing::warn!("setting_ignored: {ignored}");
    }
    for secret in config.access.short_secrets() {
        tracing::warn!(
            secret,
            "secret_short: it may be guessed: openssl rand -hex 32 makes a good one"
        );
    }
    if config.proxy_protocol && config.trusted_proxies.is_empty() {
        let what = "everybody may say where he comes from: name the proxies in trusted_proxies";
        tracing::warn!("proxies_unnamed: {what}");
    }
    for file in &config.exposed {
        tracing::warn!(file, "secret_exposed: everybody on this machine may read it: chmod o-r");
    }
    Ok(())
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
        Err(error @ (ServerError::Access(_) | ServerError::Tls(_))) => {
            fail(Outcome::Usage, &error.to_string())
        }
        Err(error @ ServerError::Failed(_)) => fail(Outcome::PartFailed, &error.to_string()),
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
            tracing::warn!("second_signal: exiting without draining");
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
