//! `taskcast revoke`: takes tokens back, on every server of this Redis.

use std::process::ExitCode;

use clap::Args;

use super::settings::{Everywhere, SourceArgs};
use super::task::explained;
use super::{Outcome, fail, print, terminal, warn_of_ignored};
use crate::clock;
use crate::core::access::{Revocation, Revoked};
use crate::log::{Log, REVOKED_BYTES_MAX};

/// Which tokens.
#[derive(Args)]
pub(super) struct RevokeArgs {
    #[command(flatten)]
    of: Of,
    /// Only those that were issued before then: seconds since 1970 (UTC), or now
    #[arg(long, value_name = "TIME", value_parser = time)]
    issued_before: Option<u64>,
    #[command(flatten)]
    source: SourceArgs<Everywhere>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Of {
    /// Those of this subject: the claim sub, or the name of an API key
    #[arg(long, value_name = "SUBJECT", value_parser = name)]
    subject: Option<String>,
    /// The one with this id: the claim jti, or what `taskcast token` told beside the token
    #[arg(long, value_name = "ID", value_parser = name)]
    token_id: Option<String>,
}

/// Does it once.
pub(super) async fn run(args: RevokeArgs) -> ExitCode {
    let of = match (args.of.subject, args.of.token_id) {
        (Some(subject), _) => Revoked::Subject(subject.into()),
        (None, Some(id)) => Revoked::Token(id.into()),
        (None, None) => return fail(Outcome::Usage, "give --subject or --token-id"),
    };
    let config = match args.source.load() {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    warn_of_ignored(&config);
    if config.embedded {
        let message = "an embedded log lies inside of its server: POST /api/v1/revocations there, \
                       or give --redis";
        return fail(Outcome::Usage, message);
    }
    let log = match Log::open(&config) {
        Ok(log) => log,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    let issued_before_ms = args.issued_before.map(|seconds| seconds.saturating_mul(1000));
    let (name, whose) = match &of {
        Revoked::Subject(subject) => ("subject", terminal::clean(subject)),
        Revoked::Token(id) => ("token id", terminal::clean(id)),
    };
    let (days, redis) = (config.access.revocation_days, config.redis_masked());
    let told = format!("revoked {name} {whose} in {redis}, for {days} days");
    let revocation = Revocation { of, issued_before_ms };
    match log.revoke(revocation, days).await {
        Ok(()) => print(&told).err().unwrap_or_else(|| Outcome::Done.into()),
        Err(error) => fail(Outcome::from(&error), &explained(&error, &config.redis_masked())),
    }
}

fn name(text: &str) -> Result<String, String> {
    let fits = (1..=REVOKED_BYTES_MAX).contains(&text.len());
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!("must have 1 to {REVOKED_BYTES_MAX} bytes"))
    }
}

fn time(text: &str) -> Result<u64, String> {
    match text {
        "now" => Ok(clock::now_ms().div_ceil(1000)),
        text => text.parse().map_err(|_| "must be seconds since 1970 (UTC), or now".to_owned()),
    }
}
