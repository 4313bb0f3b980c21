//! `taskcast token`: makes a token to watch one task for a while, for a link.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Outcome, fail, print};
use crate::access::Links;
use crate::config::Config;
use crate::core::source::NoThread;
use crate::id::ThreadId;
use crate::logging;

/// The longest that a token lasts: a year.
const LASTS_SECONDS_MAX: u64 = 366 * 86_400;

/// For which task, and how long.
#[derive(Args)]
#[command(after_help = "The page takes it behind its address: https://tasks.example/#token=TOKEN")]
pub(super) struct LinkArgs {
    /// The id of the task that may be watched; of a source, SOURCE:ID
    #[arg(long, value_name = "ID")]
    watch: String,
    /// How long it counts, such as 90s, 30m, 1h or 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    ttl: Duration,
    /// The configuration, with [access] secret or secret_file; TASKCAST_ACCESS_SECRET goes over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints the token, and beside it what it is known by where it is revoked.
pub(super) fn run(args: LinkArgs) -> ExitCode {
    let config = match Config::load(args.config.as_deref(), std::env::vars_os(), Vec::new()) {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    let Some(links) = Links::of(&config.access) else {
        let message = "nothing signs links: give --config with [access] secret_file, or set \
                       TASKCAST_ACCESS_SECRET, as the servers have it";
        return fail(Outcome::Usage, message);
    };
    let thread = match thread_of(&config, &args.watch) {
        Ok(thread) => thread,
        Err(message) => return fail(Outcome::Usage, &message),
    };
    let link = links.make(&thread, args.ttl);
    logging::say(&format!("token id {}, for {} s", link.id, args.ttl.as_secs()));
    print(&link.token).err().unwrap_or_else(|| Outcome::Done.into())
}

/// The task of an id, with its source before it where that is not the agent.
fn thread_of(config: &Config, text: &str) -> Result<ThreadId, String> {
    let (source, id) = match text.split_once(':') {
        Some((source, id)) => (Some(source), id),
        None => (None, text),
    };
    config.sources.sources.thread(source, id).map_err(|error| match error {
        NoThread::InvalidId => format!("--watch: {text:?} is no id of a task"),
        NoThread::UnknownSource => {
            format!("--watch: the configuration has no [[source]] of the name in {text:?}")
        }
    })
}

/// A number and its unit: seconds, where there is none.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: Option<u64> = match &text[digits.len()..] {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let number = digits.parse::<u64>().ok();
    let seconds = number.zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| (1..=LASTS_SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "must be 1s to 366d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("30m", Some(1_800)),
            ("1h", Some(3_600)),
            ("7d", Some(604_800)),
            ("366d", Some(31_622_400)),
            ("367d", None),
            ("0", None),
            ("", None),
            ("h", None),
            ("1.5h", None),
            ("-1h", None),
            ("1w", None),
            ("18446744073709551615d", None),
        ] {
            assert_eq!(duration(text).ok().map(|lasts| lasts.as_secs()), seconds, "{text:?}");
        }
    }
}
