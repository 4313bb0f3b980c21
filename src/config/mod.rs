//! Configuration, in two stages: what file, environment and flags say, as text; then one
//! [`Config`], whose values are valid and fit each other.
//!
//! Flags over environment over file over defaults. An unknown key or a bad value is an error that
//! names the key, the place where it was written and what is allowed. Each key is declared once, in
//! the list below or in that of the limits: everything that is said of it anywhere follows from
//! there.

mod access;
mod choice;
mod draft;
mod form;
mod gone;
mod keys;
mod layers;
mod limits;
mod network;
mod print;
pub mod redis_url;
mod source;
mod table;
mod tables;
mod tls;

use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

pub use access::{AccessTable, ApiKey, AskTable, JwtIssuer, JwtKey, KeyProof, Secret};
pub use choice::{LogFormat, NotAChoice, Publishing, Switch, TailMode};
use form::{
    Addresses, Form, Level, MaybeAddress, NAMES, NETWORKS, ORIGINS, OneOf, RedisUrl, Text, Whole,
    YesOrNo,
};
pub use gone::Ignored;
pub(crate) use keys::{Key, keys};
pub use layers::Setting;
pub use limits::Limits;
pub use network::{Network, NoNetwork};
pub use print::reference;
pub use source::SourceTables;
pub(crate) use table::Flag;
use table::{Row, settings};
pub use tls::TlsFiles;

use crate::id::Keys;

/// The greatest number of workers: well above the cores of any machine.
const WORKERS_MAX: u64 = 1_024;
/// The longest drain, an hour.
const DRAIN_SECONDS_MAX: u64 = 3_600;
/// The longest time for which what is told of a state waits for entries, a minute.
const STATE_GRACE_MS_MAX: u64 = 60_000;
/// The longest flush interval, a minute.
const FLUSH_INTERVAL_MS_MAX: u64 = 60_000;

settings! {
    /// How the server is to run.
    struct Config;

    /// The addresses that the server listens on, several with commas between them.
    listen: Vec<SocketAddr> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8000))], Addresses,
        flag Flag::of("IP:PORT");
    /// Where /metrics, /healthz and /readyz are, in plain HTTP and without access; nowhere else then.
    admin_listen: Option<SocketAddr> = None, MaybeAddress, flag Flag::of("IP:PORT");
    /// Names under which the server is reached. A request for another one is answered 421: on a loopback
    /// listener, and on any where there are such names. Addresses and localhost always count.
    hosts: Vec<String> = Vec::new(), NAMES,
        flag Flag { name: Some("host"), repeated: true, ..Flag::of("NAME") };
    /// redis://, rediss://, unix://, redis+unix:// or redis+sentinel://.
    redis: String = "redis://127.0.0.1:6379/0".to_owned(), RedisUrl,
        flag Flag { variable: Some("REDIS_URL"), ..Flag::of("URL").everywhere() };
    /// A PEM file with the authorities that vouch for the certificate of a rediss:// Redis. Where it
    /// is empty, the system's do, or those of the file that SSL_CERT_FILE names.
    redis_ca: String = String::new(), Text("a path, or empty"), flag Flag::of("FILE").everywhere();
    /// The log lies in this process and is gone with it; no Redis.
    embedded: bool = false, YesOrNo,
        flag Flag { excludes: Some("redis"), ..Flag::SWITCH };
    /// Threads that serve viewers.
    workers: usize = std::thread::available_parallelism().map_or(1, usize::from),
        Whole::<usize>::new(1, WORKERS_MAX),
        flag Flag { default: Some("one per core"), ..Flag::of("N") };
    /// The form of log lines: text or json.
    log_format: LogFormat = LogFormat::Text, OneOf::<LogFormat>::new(), flag Flag::of("FORMAT");
    /// Which log lines there are: a level, or directives such as info,taskcast=debug.
    log_level: String = "info".to_owned(), Level,
        flag Flag { variable: Some("RUST_LOG"), ..Flag::of("LEVEL") };
    /// Whether /api/v1/ws/echo is there, which echoes messages: for tests and for debugging proxies.
    diagnostics: bool = false, YesOrNo, flag Flag::SWITCH;
    /// Whether sends go out in batches through io_uring: auto, on or off.
    io_uring: Switch = Switch::Auto, OneOf::<Switch>::new(), flag Flag::of("SWITCH");
    /// How changes in Redis are noticed: auto, tracking or block.
    tail: TailMode = TailMode::Auto, OneOf::<TailMode>::new(), flag Flag::of("MODE");
    /// Origins that browsers may use the server from; ["*"]: all. Where it is empty,
    /// there are no CORS headers, and any page may open a WebSocket.
    cors_origins: Vec<String> = Vec::new(), ORIGINS,
        flag Flag { name: Some("cors-origin"), repeated: true, ..Flag::of("ORIGIN") };
    /// Whether tasks may be made and published to over HTTP: on or off.
    publish: Publishing = Publishing::On, OneOf::<Publishing>::new(), flag Flag::of("SWITCH");
    /// Whether the log says of each publication who did it, and of those who are refused.
    audit: bool = false, YesOrNo, flag Flag::SWITCH;
    /// Proxies, as addresses or networks: where a request comes from is what they say in Forwarded or
    /// X-Forwarded-For.
    trusted_proxies: Vec<Network> = Vec::new(), NETWORKS,
        flag Flag { name: Some("trusted-proxy"), repeated: true, ..Flag::of("ADDRESS") };
    /// Whether each connection begins with a header of the PROXY protocol, version 2: from
    /// trusted_proxies, where there are any.
    proxy_protocol: bool = false, YesOrNo, flag Flag::SWITCH;
    /// How long a shutdown may take, in seconds; viewers are closed spread over it. 0: at once.
    drain_seconds: u64 = 20, Whole::<u64>::new(0, DRAIN_SECONDS_MAX), flag Flag::of("SECONDS");
    /// When a task's status has changed in its key, an entry that says the same may come so many
    /// milliseconds later, before viewers are told.
    state_grace_ms: u64 = 500, Whole::<u64>::new(0, STATE_GRACE_MS_MAX), flag Flag::of("MS");
    /// Updates of a task that come within so many milliseconds share one send per viewer; 0: at
    /// once.
    flush_interval_ms: u64 = 0, Whole::<u64>::new(0, FLUSH_INTERVAL_MS_MAX), flag Flag::of("MS");

    beside {
        /// The keys in Redis.
        keys: Keys = Keys::default();
        /// With what the listeners speak TLS.
        tls: TlsFiles = TlsFiles::default();
        /// Every bound on memory, time and number.
        limits: Limits = Limits::default();
        /// Who may what.
        access: AccessTable = AccessTable::default();
        /// Whose streams are served beside the agent's, and the agent's words.
        sources: SourceTables = SourceTables::default();
        /// Files with secrets that everybody on this machine may read, for a warning.
        exposed: Vec<String> = Vec::new();
        /// What was given and is ignored, for a warning.
        ignored: Vec<Ignored> = Vec::new();
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
        let environment: Vec<_> = environment.into_iter().collect();
        let mut draft = draft::Draft::default();
        if let Some(path) = file {
            let (settings, tables) = layers::file(path)?;
            draft.apply(settings)?;
            draft.set_tables(tables);
        }
        draft.take_environment(&environment);
        draft.apply(layers::environment(environment)?)?;
        draft.apply(flags)?;
        draft.finish()
    }

    /// [`Self::drain_seconds`] as a duration.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// The address for those who look whether the server lives.
    pub(crate) fn health_address(&self) -> SocketAddr {
        let first = || self.listen.first().copied();
        self.admin_listen.or_else(first).unwrap_or((Ipv4Addr::LOCALHOST, 8000).into())
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
