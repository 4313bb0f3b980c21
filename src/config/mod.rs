//! Configuration, in two stages: what file, environment and flags say, as text; then one
//! [`Config`], whose values are valid and fit each other.
//!
//! Flags over environment over file over defaults. An unknown key or a bad value is an error that
//! names the key, the place where it was written and what is allowed.

mod choice;
mod draft;
mod layers;
mod limits;
mod print;
pub mod redis_url;

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

pub use choice::{LogFormat, Switch, TailMode};
pub use layers::Setting;
pub use limits::Limits;

use crate::id::Keys;

/// How the server is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The address that the server listens on.
    pub listen: SocketAddr,
    /// The URL of Redis; not used where `embedded` is set.
    pub redis: String,
    /// Whether the log lies in this process's memory instead of Redis.
    pub embedded: bool,
    /// Number of worker threads, at least 1.
    pub workers: usize,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Which log lines there are: a level, or `tracing` directives.
    pub log_level: String,
    /// Whether `/api/v1/ws/echo` is there.
    pub diagnostics: bool,
    /// Whether sends go out through io_uring.
    pub io_uring: Switch,
    /// How the tail learns of changes.
    pub tail: TailMode,
    /// The keys in Redis.
    pub keys: Keys,
    /// Origins that may use the server from a browser, `*` for all; for CORS and, where it is not
    /// empty, for the `Origin` of a WebSocket too. In small letters.
    pub cors_origins: Vec<String>,
    /// The longest that a shutdown takes, in seconds; 0 closes everything at once.
    pub drain_seconds: u64,
    /// How long a flush waits for further updates of its topic, in milliseconds; 0: not at all.
    pub flush_interval_ms: u64,
    /// Every bound on memory, time and number.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            redis: "redis://127.0.0.1:6379/0".to_owned(),
            embedded: false,
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            diagnostics: false,
            io_uring: Switch::Auto,
            tail: TailMode::Auto,
            keys: Keys::default(),
            cors_origins: Vec::new(),
            drain_seconds: 20,
            flush_interval_ms: 0,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads the configuration: `flags` over `environment` over `file` over the defaults.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: Vec<Setting>,
    ) -> Result<Self, ConfigError> {
        let mut draft = draft::Draft::new();
        if let Some(path) = file {
            draft.apply(layers::file(path)?)?;
        }
        draft.apply(layers::environment(environment)?)?;
        draft.apply(flags)?;
        draft.finish()
    }

    /// [`Self::drain_seconds`] as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// [`Self::flush_interval_ms`] as a duration.
    pub fn flush_interval(&self) -> Duration {
        Duration::from_millis(self.flush_interval_ms)
    }

    /// The URL of Redis with `***` for its password: for logs and messages.
    pub fn redis_masked(&self) -> String {
        redis_url::masked(&self.redis)
    }
}

/// The configuration cannot be used. The text names the key, its place and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
