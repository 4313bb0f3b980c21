//! The command line: which commands there are, what they share, and how they end.
//!
//! A command gets arguments that clap has parsed and a [`Config`] that is valid. What it prints for
//! its caller goes to stdout; what it has to say besides goes to stderr.

mod check_source;
mod demo;
mod health;
mod link;
mod revoke;
mod serve;
mod settings;
mod task;
mod terminal;
mod token;
mod watch;

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, redis_url};
use crate::log::LogError;
use crate::logging;

const EXIT_CODES: &str = "Exit codes:
  0    done
  1    the operation failed (watch: the task failed; health: the server does not live, or with
       --ready cannot serve)
  2    the arguments or the configuration are wrong (watch: the task cannot be watched)
  3    Redis is out of reach
  4    the address cannot be listened on
  5    the watched task was cancelled
  70   a part of the server failed and could not be started again
  130  watch was interrupted";

/// How a command ended; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Done.
    Done = 0,
    /// The operation failed, or the watched task did.
    Failed = 1,
    /// The arguments or the configuration are wrong (clap's code too).
    Usage = 2,
    /// Redis is out of reach.
    RedisAway = 3,
    /// The address cannot be listened on.
    CannotListen = 4,
    /// The watched task was cancelled.
    Cancelled = 5,
    /// A part of the server failed and could not be started again: `EX_SOFTWARE`.
    PartFailed = 70,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}

impl From<&LogError> for Outcome {
    fn from(error: &LogError) -> Self {
        match error {
            LogError::Unavailable(_) | LogError::Unknown { .. } => Self::RedisAway,
            LogError::NotFound | LogError::TooLarge | LogError::Refused(_) | LogError::KeyUsed => {
                Self::Failed
            }
        }
    }
}

/// Fan-out of task updates from Redis streams to very many WebSocket viewers.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve viewers: WebSocket, HTTP API, metrics and the page.
    Serve(serve::ServeArgs),
    /// Show what Taskcast does: a server with tasks that run, and the page, without Redis.
    Demo(demo::DemoArgs),
    /// Publish to a task in Redis, or show its state.
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Follow a task in the terminal until it ends.
    Watch(watch::WatchArgs),
    /// Ask a server whether it lives, or can serve: for health checks of containers.
    Health(health::HealthArgs),
    /// Make a token to watch one task for a while, for a link.
    Token(link::LinkArgs),
    /// Take tokens back, on every server of this Redis: who watches with one is closed within a second.
    Revoke(revoke::RevokeArgs),
    /// Read a stream as a [[source]] of a configuration describes it, and show what comes of it.
    CheckSource(check_source::CheckSourceArgs),
}

/// Runs the command that the arguments ask for.
///
/// Everything but the workers, which make runtimes of their own, runs on this one thread.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version come this way too.
        Err(told) => {
            let code = if told.use_stderr() { Outcome::Usage } else { Outcome::Done };
            return written(tell(&told)).err().unwrap_or_else(|| code.into());
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Outcome::Failed, &format!("cannot start: {error}")),
    };
    let code = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Task(command) => task::run(command).await,
            Command::Watch(args) => watch::run(args).await,
            Command::Health(args) => health::run(args).await,
            Command::Token(args) => link::run(args),
            Command::Revoke(args) => revoke::run(args).await,
            Command::CheckSource(args) => check_source::run(args).await,
        }
    });
    logging::flush();
    code
}

/// Prints help, or what is wrong with the arguments: these may be URLs with passwords.
fn tell(told: &clap::Error) -> io::Result<()> {
    let mut text = told.render().to_string();
    let mut hidden = false;
    for argument in std::env::args_os().skip(1) {
        let argument = argument.to_string_lossy();
        let value = argument.split_once('=').map_or(&*argument, |(_, value)| value);
        for shown in [&*argument, value] {
            let safe = redis_url::without_passwords(shown);
            if safe != shown && text.contains(shown) {
                text = text.replace(shown, &safe);
                hidden = true;
            }
        }
    }
    if hidden { writeln!(io::stderr(), "{}", text.trim_end()) } else { told.print() }
}

/// Says on stderr what went wrong and what to do.
fn fail(outcome: Outcome, message: &str) -> ExitCode {
    logging::say(&format!("taskcast: {}", terminal::clean(message)));
    outcome.into()
}

/// Where a server that listens there can be reached from this machine.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

/// Says on stderr which settings are ignored: for a command that has no log.
fn warn_of_ignored(config: &Config) {
    for ignored in &config.ignored {
        logging::say(&format!("taskcast: warning: {ignored}"));
    }
}

/// Prints for the caller.
///
/// # Errors
/// As [`written`].
fn print(text: &str) -> Result<(), ExitCode> {
    written(writeln!(io::stdout().lock(), "{}", text.trim_end()))
}

/// What comes of writing to stdout. A reader who went away early (`| head`) is no error.
///
/// # Errors
/// The exit code of a command whose output is lost, which it has said.
fn written(result: io::Result<()>) -> Result<(), ExitCode> {
    match result.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(fail(Outcome::Failed, &format!("cannot write the output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
