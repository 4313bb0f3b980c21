//! `tls`: what TLS costs a server, and what it costs where nginx speaks it.

use super::hot::Hot;
use super::idle::Idle;
use super::kind::Scenario;
use super::storm::Storm;
use crate::options::{self, Common, Over};
use clap::Args;

#[derive(Debug, Clone, Args)]
pub(crate) struct Tls {
    /// Viewers of each scenario
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) viewers: u32,
    /// Updates per second
    #[arg(long, default_value_t = 50.0, value_parser = options::some)]
    pub(crate) rate: f64,
    /// Seconds of each scenario
    #[arg(long, default_value_t = 5.0, value_parser = options::some)]
    pub(crate) seconds: f64,
}

impl Tls {
    /// A delivery, a viewer who only watches, and all who come back at once.
    pub(crate) fn scenarios(&self) -> Vec<Box<dyn Scenario>> {
        const STORM_RATE: f64 = 5.0;
        let Self { viewers, rate, seconds } = *self;
        vec![
            Box::new(Hot { viewers, rate, seconds }),
            Box::new(Idle { viewers, seconds }),
            Box::new(Storm { viewers, rate: rate.min(STORM_RATE), seconds }),
        ]
    }
}

/// The ways that are held against each other where none are named.
pub(crate) fn ways(common: Common) -> Common {
    match common.over.is_empty() {
        true => Common { over: vec![Over::Plain, Over::Nginx, Over::Tls], ..common },
        false => common,
    }
}
