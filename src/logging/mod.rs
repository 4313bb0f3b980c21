//! The server's own log lines: text for people or JSON for machines, to stderr.
//!
//! A line that cannot be written is dropped and counted, and nobody waits for one (`lines`). What
//! is said again and again is said ten times a second (`repeats`). A panic is a line like others.

mod lines;
mod repeats;

use std::io::{self, IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use self::lines::Lines;
use self::repeats::Repeats;
use crate::config::{Config, LogFormat};

/// How long the end of the process waits for lines that nobody takes.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The process has one log.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Starts logging for the process. Where something else logs already, that stays.
///
/// # Errors
/// Where the operating system gives no thread.
pub fn start(config: &Config) -> io::Result<()> {
    let lines = Lines::start(io::stderr)?;
    let repeats = Repeats::start()?;
    // The level was checked when the configuration was read.
    let filter = EnvFilter::new(&config.log_level);
    let format = fmt::layer().with_writer(lines.clone());
    let format = match config.log_format {
        LogFormat::Text => format.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => format.json().flatten_event(true).boxed(),
    };
    let log = tracing_subscriber::registry().with(format).with(repeats).with(filter);
    if log.try_init().is_ok() && LINES.set(lines).is_ok() {
        std::panic::set_hook(Box::new(panicked));
    }
    Ok(())
}

/// Says something on stderr that is no line of the log: behind what was logged before, and as
/// little as that does it wait for whoever reads it.
pub fn say(text: &str) {
    match LINES.get() {
        Some(lines) => lines.put(format!("{text}\n").as_bytes()),
        // Nobody is left to tell if that fails.
        None => _ = writeln!(io::stderr(), "{text}"),
    }
}

/// Lines that could not be written so far.
pub fn lines_dropped() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}

/// Waits until what was logged is written, for a second at most. For the end of the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FLUSH_TIMEOUT);
    }
}

/// A panic, as a line of the log.
fn panicked(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        at = panic.location().map(tracing::field::display),
        panic = text.unwrap_or("without a text"),
        "panicked"
    );
}
