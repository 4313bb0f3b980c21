//! The second stage of configuration: settings are applied one over the other, then judged
//! together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::layers::{Raw, Setting};
use super::limits::{Limits, number};
use super::{Config, ConfigError, redis_url};
use crate::id::Keys;

/// The keys outside of `[limits]`.
const KEYS: &[&str] = &[
    "listen",
    "redis",
    "embedded",
    "workers",
    "log_format",
    "log_level",
    "diagnostics",
    "io_uring",
    "tail",
    "key_prefix",
    "stream_key_template",
    "cors_origins",
    "drain_seconds",
    "flush_interval_ms",
];

/// The greatest number of workers: well above the cores of any machine.
const WORKERS_MAX: u64 = 1_024;
/// The longest drain, an hour.
const DRAIN_SECONDS_MAX: u64 = 3_600;
/// The longest flush interval, a minute.
const FLUSH_INTERVAL_MS_MAX: u64 = 60_000;
/// The longest prefix of a key, in bytes.
const KEY_PREFIX_BYTES_MAX: usize = 128;
/// The name of the one table.
const LIMITS: &str = "limits.";

/// A configuration in the making.
pub(super) struct Draft {
    config: Config,
    key_prefix: String,
    stream_key_template: String,
    /// Where each key was set last, for messages.
    places: BTreeMap<String, String>,
}

impl Draft {
    pub(super) fn new() -> Self {
        Self {
            config: Config::default(),
            key_prefix: "sre".to_owned(),
            stream_key_template: "{prefix}:stream:task:{thread_id}".to_owned(),
            places: BTreeMap::new(),
        }
    }

    /// Applies one layer over those before it.
    pub(super) fn apply(&mut self, layer: Vec<Setting>) -> Result<(), ConfigError> {
        let redis = layer.iter().find(|setting| setting.key == "redis");
        let embedded = layer.iter().find(|setting| {
            setting.key == "embedded" && setting.value == Raw::One("true".to_owned())
        });
        match (redis, embedded) {
            (Some(redis), Some(embedded)) => {
                return Err(ConfigError::new(format!(
                    "redis ({}) and embedded ({}) exclude each other: give one of them",
                    redis.place, embedded.place
                )));
            }
            // The last layer that names a log decides: a Redis given here ends an earlier
            // `embedded`.
            (Some(_), None) => self.config.embedded = false,
            _ => {}
        }
        layer.into_iter().try_for_each(|setting| self.apply_one(setting))
    }

    fn apply_one(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let Setting { key, value, place } = setting;
        // The shorter name is that of the protocol's feature, the longer one has the unit.
        let key = match key.as_str() {
            "limits.viewer_lag_max" => "limits.viewer_lag_max_entries".to_owned(),
            _ => key,
        };
        if !is_key(&key) {
            return Err(unknown(&key, &place));
        }
        self.set(&key, &value).map_err(|problem| {
            ConfigError::new(format!("{place}: {key} = {} {problem}", shown(&key, &value)))
        })?;
        self.places.insert(key, place);
        Ok(())
    }

    fn set(&mut self, key: &str, value: &Raw) -> Result<(), String> {
        let config = &mut self.config;
        if key == "cors_origins" {
            config.cors_origins = origins(value)?;
            return Ok(());
        }
        let Raw::One(text) = value else { return Err("must be one value, not a list".into()) };
        if let Some(limit) = key.strip_prefix(LIMITS) {
            return config.limits.set(limit, text);
        }
        match key {
            "listen" => config.listen = listen(text)?,
            "redis" => {
                redis_url::check(text)?;
                config.redis.clone_from(text);
            }
            "embedded" => config.embedded = flag(text)?,
            "workers" => config.workers = number(text, 1, WORKERS_MAX)?,
            "log_format" => config.log_format = FromStr::from_str(text)?,
            "log_level" => config.log_level = log_level(text)?,
            "diagnostics" => config.diagnostics = flag(text)?,
            "io_uring" => config.io_uring = FromStr::from_str(text)?,
            "tail" => config.tail = FromStr::from_str(text)?,
            "key_prefix" => self.key_prefix = key_prefix(text)?,
            "stream_key_template" => self.stream_key_template.clone_from(text),
            "drain_seconds" => config.drain_seconds = number(text, 0, DRAIN_SECONDS_MAX)?,
            "flush_interval_ms" => {
                config.flush_interval_ms = number(text, 0, FLUSH_INTERVAL_MS_MAX)?;
            }
            _ => return Err("is not a key".into()),
        }
        Ok(())
    }

    /// Judges what only shows when all layers are in.
    pub(super) fn finish(mut self) -> Result<Config, ConfigError> {
        self.config.keys =
            Keys::new(&self.key_prefix, &self.stream_key_template).map_err(|problem| {
                ConfigError::new(format!("{}: {problem}", self.place("stream_key_template")))
            })?;
        let limits = &self.config.limits;
        if let Some(relation) = limits.relations().iter().find(|relation| !relation.holds) {
            return Err(ConfigError::new(format!(
                "{} must be {} {}",
                self.limit_shown(relation.smaller),
                relation.must_be,
                self.limit_shown(relation.greater),
            )));
        }
        // Pings wait for the flush of what is before them.
        if self.config.flush_interval_ms >= limits.ping_interval_ms {
            return Err(ConfigError::new(format!(
                "flush_interval_ms = {} ({}) must be less than {}",
                self.config.flush_interval_ms,
                self.place("flush_interval_ms"),
                self.limit_shown("ping_interval_ms"),
            )));
        }
        Ok(self.config)
    }

    fn place(&self, key: &str) -> &str {
        self.places.get(key).map_or("default", String::as_str)
    }

    fn limit_shown(&self, name: &str) -> String {
        let rows = self.config.limits.rows();
        let value = rows.iter().find(|row| row.name == name).map_or(0, |row| row.value);
        let key = format!("{LIMITS}{name}");
        format!("{key} = {value} ({})", self.place(&key))
    }
}

fn is_key(key: &str) -> bool {
    match key.strip_prefix(LIMITS) {
        Some(limit) => Limits::NAMES.contains(&limit),
        None => KEYS.contains(&key),
    }
}

fn unknown(key: &str, place: &str) -> ConfigError {
    let (what, known) = match key.starts_with(LIMITS) {
        true => ("limits", Limits::NAMES.join(", ")),
        false => ("keys", format!("{} and the table [limits]", KEYS.join(", "))),
    };
    ConfigError::new(format!("{place}: unknown key {key}; the {what} are {known}"))
}

/// A value for a message: passwords hidden.
fn shown(key: &str, value: &Raw) -> String {
    match value {
        Raw::One(text) if key == "redis" => format!("{:?}", redis_url::masked(text)),
        Raw::One(text) => format!("{text:?}"),
        Raw::Many(items) => format!("{items:?}"),
    }
}

fn flag(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "must be true or false".to_owned())
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "must be an IP address and a port, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::]:8000"
            .to_owned()
    })
}

/// A level, or directives such as `info,taskcast=debug`.
fn log_level(text: &str) -> Result<String, String> {
    // The filter takes any lone word for the name of a module and then shows nothing else.
    let mistaken = text
        .split(',')
        .map(str::trim)
        .any(|part| !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err());
    match EnvFilter::try_new(text) {
        Ok(_) if !mistaken => Ok(text.to_owned()),
        _ => Err("must be off, error, warn, info, debug or trace, \
                  or directives such as info,taskcast=debug"
            .to_owned()),
    }
}

fn key_prefix(text: &str) -> Result<String, String> {
    let well_formed = (1..=KEY_PREFIX_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}');
    if well_formed {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "must be 1 to {KEY_PREFIX_BYTES_MAX} printable ASCII characters \
             without spaces and braces"
        ))
    }
}

/// Origins from a list, or from text with commas between them.
fn origins(value: &Raw) -> Result<Vec<String>, String> {
    let items: Vec<&str> = match value {
        Raw::One(text) => text.split(',').map(str::trim).collect(),
        Raw::Many(items) => items.iter().map(String::as_str).collect(),
    };
    items.into_iter().map(origin).collect()
}

/// `*`, or what a browser sends: scheme, host and port, nothing after them, in small letters.
fn origin(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let well_formed = text == "*"
        || host.is_some_and(|host| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@*,".contains(&b))
        });
    if well_formed {
        Ok(text)
    } else {
        Err("must be \"*\" or origins such as https://tasks.example, without a path".to_owned())
    }
}
