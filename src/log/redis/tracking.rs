//! Tracking: whether Redis tells of changes, why not, and whether it has room for what is watched.

use std::sync::Arc;

use redis::Value;

use super::connection::Connector;
use super::error::{Class, Failure};
use super::link::Link;
use super::wire::{Bounds, Wire};
use crate::log::tail::{NoTracking, TrackingTable};

/// What connecting with tracking came to.
pub(super) enum Tracked {
    Yes(Box<Wire>),
    /// Not, and what was said.
    No(NoTracking, String),
}

/// Connects so that Redis tells of changes.
///
/// # Errors
/// Where Redis cannot be used now, in whatever way it is asked.
pub(super) async fn connect(connector: &Connector, bounds: Bounds) -> Result<Tracked, Failure> {
    let failure = match connector.wire(true, bounds).await {
        Ok(mut wire) => match wire.ask(&["CLIENT", "TRACKING", "ON"]).await {
            Ok(()) => return Ok(Tracked::Yes(Box::new(wire))),
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    let why = match failure.class {
        Class::Passing | Class::Redirect | Class::Silent => return Err(failure),
        Class::Unsupported | Class::NoRight => NoTracking::Unsupported,
        _ => NoTracking::ForNow,
    };
    Ok(Tracked::No(why, failure.to_string()))
}

/// What Redis says of its table of tracked keys.
pub(super) async fn table(link: &Arc<Link>) -> TrackingTable {
    let text = async |command: &redis::Cmd| {
        let answer = link.in_time(link.ask(command)).await.ok()?;
        Some(lines(answer))
    };
    let info = text(redis::cmd("INFO").arg("stats")).await.unwrap_or_default();
    let keys = info.iter().find_map(|line| line.strip_prefix("tracking_total_keys:"));
    let config = redis::cmd("CONFIG").arg("GET").arg("tracking-table-max-keys").to_owned();
    let config = text(&config).await.unwrap_or_default();
    TrackingTable {
        keys: keys.and_then(|keys| keys.parse().ok()),
        keys_max: config.get(1).and_then(|keys_max| keys_max.parse().ok()),
    }
}

/// The lines of a text, or the texts of a list.
fn lines(answer: Value) -> Vec<String> {
    let texts = super::reply::array_or_one(answer).into_iter().filter_map(super::reply::bytes);
    let split = |text: bytes::Bytes| {
        let text = String::from_utf8_lossy(&text);
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    texts.flat_map(split).collect()
}
