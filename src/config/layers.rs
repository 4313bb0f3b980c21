//! The first stage of configuration: what file, environment and flags say, as text with its place.
//!
//! Nothing is judged here but the form: whether a key exists and a value fits is the draft's to say.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{Key, LIMITS, keys};
use super::source::{self, SourceTables};
use super::tls::TLS;
use super::{AccessTable, ConfigError, access, redis_url};

/// The prefix of the environment's variables.
const PREFIX: &str = "TASKCAST_";
/// The token that a command shows to a server is none of a configuration.
const TOKEN: &str = "TASKCAST_TOKEN";

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    One(String),
    Many(Vec<String>),
}

/// One key with its value and the place where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub(super) key: String,
    pub(super) value: Raw,
    pub(super) place: String,
}

impl Setting {
    /// A flag with one value, such as `("listen", "127.0.0.1:8000")` for `--listen`.
    pub fn flag(key: &str, value: impl Into<String>) -> Self {
        let place = format!("--{}", key.replace('_', "-"));
        Self { key: key.to_owned(), value: Raw::One(value.into()), place }
    }

    /// A flag that may be given several times.
    pub fn flag_list(key: &str, flag: &str, values: Vec<String>) -> Self {
        Self { key: key.to_owned(), value: Raw::Many(values), place: flag.to_owned() }
    }

    /// An assignment such as `limits.ping_interval_ms=500`, of `--set`.
    ///
    /// # Errors
    /// There is no `=`.
    pub fn assignment(text: &str) -> Result<Self, ConfigError> {
        let (key, value) = text
            .split_once('=')
            // What it is instead may be a URL with its password.
            .ok_or_else(|| ConfigError::new("--set: write --set KEY=VALUE"))?;
        Ok(Self {
            key: key.trim().to_owned(),
            value: Raw::One(value.trim().to_owned()),
            place: "--set".to_owned(),
        })
    }
}

/// What a file has beside settings: there is no other place for it.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) sources: SourceTables,
    pub(super) access: AccessTable,
    /// Files with secrets that everybody on this machine may read.
    pub(super) exposed: Vec<String>,
}

/// The settings of a TOML file, and its tables.
pub(super) fn file(path: &Path) -> Result<(Vec<Setting>, Tables), ConfigError> {
    let name = redis_url::without_passwords(&path.display().to_string());
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::new(format!("cannot read the configuration, {name}: {error}"))
    })?;
    let (settings, mut tables) = toml_text(&text, &name)?;
    let is_of_redis = |setting: &Setting| match (&*setting.key, &setting.value) {
        ("redis", Raw::One(url)) => redis_url::without_passwords(url) != *url,
        _ => false,
    };
    let access = &tables.access;
    let itself = access.has_secrets || settings.iter().any(is_of_redis);
    let secrets = access.secret_files.iter().map(PathBuf::as_path);
    let secrets = secrets.chain(itself.then_some(path)).filter(|path| others_may_read(path));
    tables.exposed = secrets.map(|path| path.display().to_string()).collect();
    Ok((settings, tables))
}

/// Whether everybody on this machine may read a file.
pub(super) fn others_may_read(path: &Path) -> bool {
    const READABLE_BY_OTHERS: u32 = 0o004;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & READABLE_BY_OTHERS != 0)
}

fn toml_text(text: &str, name: &str) -> Result<(Vec<Setting>, Tables), ConfigError> {
    let place = |offset| {
        let before: &str = text.get(..offset).unwrap_or(text);
        format!("{name}, line {}", before.matches('\n').count() + 1)
    };
    let table = DeTable::parse(text).map_err(|error| {
        // Not as it shows itself: with the line in which it is, whatever that holds.
        let place = place(error.span().map_or(0, |span| span.start));
        ConfigError::new(format!("{place}: this is not TOML: {}", error.message()))
    })?;
    let wrong = |(offset, what)| ConfigError::new(format!("{}: {what}", place(offset)));
    let found = |name: &str| {
        table.get_ref().iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    };
    let sources = found(source::NAME).map(SourceTables::read).transpose().map_err(wrong)?;
    let access = found(access::NAME).map(AccessTable::read).transpose().map_err(wrong)?;
    let (sources, access) = (sources.unwrap_or_default(), access.unwrap_or_default());
    let tables = Tables { sources, access, exposed: Vec::new() };
    let mut settings = Vec::new();
    flatten(table.get_ref(), "", &mut |offset, key, value| {
        // Also what is in it.
        if ![source::NAME, access::NAME].contains(&key.split('.').next().unwrap_or_default()) {
            settings.push(Setting { key, value, place: place(offset) });
        }
    });
    Ok((settings, tables))
}

/// Hands every key outside and inside of tables on, `table.key` for the latter.
fn flatten(table: &DeTable<'_>, path: &str, found: &mut impl FnMut(usize, String, Raw)) {
    for (key, value) in table {
        let name = format!("{path}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => flatten(inner, &format!("{name}."), found),
            DeValue::Array(items) => {
                let items = items.iter().map(|item| scalar(item.get_ref())).collect();
                found(key.span().start, name, Raw::Many(items));
            }
            other => found(key.span().start, name, Raw::One(scalar(other))),
        }
    }
}

/// A TOML value as text. What has no place in a configuration comes out as the name of its type,
/// which no key allows.
fn scalar(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        other => other.type_str().to_owned(),
    }
}

/// The settings of the environment: `REDIS_URL`, `RUST_LOG` and `TASKCAST_…`.
///
/// An empty variable counts as not set.
pub(super) fn environment(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for (name, value) in variables {
        let Some(key) = name.to_str().and_then(key_of_variable) else { continue };
        let place = format!("environment variable {}", name.to_string_lossy());
        let value = value
            .into_string()
            .map_err(|_| ConfigError::new(format!("{place}: must be UTF-8 text")))?;
        if !value.is_empty() && !made_by_kubernetes(&key, &value) {
            settings.push(Setting { key, value: Raw::One(value), place });
        }
    }
    // What comes later wins: RUST_LOG gives way to TASKCAST_LOG_LEVEL, REDIS_URL to TASKCAST_REDIS.
    settings.sort_by_key(|setting| setting.place.contains(PREFIX));
    Ok(settings)
}

/// The key that a variable sets, where it is one of ours.
fn key_of_variable(name: &str) -> Option<String> {
    let has_it = |key: &Key| key.flag().is_some_and(|flag| flag.variable == Some(name));
    if let Some(key) = keys().find(has_it) {
        return Some(key.name());
    }
    if name == TOKEN || access::VARIABLES.contains(&name) {
        return None;
    }
    let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let in_table = [("limits_", LIMITS), ("tls_", TLS)]
        .into_iter()
        .find_map(|(prefix, table)| key.strip_prefix(prefix).map(|key| format!("{table}{key}")));
    Some(in_table.unwrap_or(key))
}

/// Kubernetes sets `TASKCAST_PORT=tcp://…`, `TASKCAST_PORT_8000_TCP…` and `TASKCAST_SERVICE_…` in
/// every pod of a namespace that has a Service named `taskcast`. Nobody wrote those.
fn made_by_kubernetes(key: &str, value: &str) -> bool {
    (key == "port" && value.contains("://"))
        || key.starts_with("port_")
        || key.starts_with("service_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Vec<(String, Raw)> {
        let pairs = pairs.iter().map(|(name, value)| (name.into(), value.into()));
        let settings = environment(pairs).unwrap();
        settings.into_iter().map(|setting| (setting.key, setting.value)).collect()
    }

    fn one(key: &str, value: &str) -> (String, Raw) {
        (key.to_owned(), Raw::One(value.to_owned()))
    }

    #[test]
    fn a_file_gives_keys_with_their_lines() {
        let text = "workers = 2\n\n[limits]\nping_interval_ms = 1_000\n";
        let settings = toml_text(text, "t.toml").unwrap().0;
        let place = |line| format!("t.toml, line {line}");
        assert!(settings.contains(&Setting {
            key: "workers".to_owned(),
            value: Raw::One("2".to_owned()),
            place: place(1),
        }));
        assert!(settings.contains(&Setting {
            key: "limits.ping_interval_ms".to_owned(),
            value: Raw::One("1000".to_owned()),
            place: place(4),
        }));
    }

    #[test]
    fn the_environment_names_keys_in_one_way() {
        assert_eq!(
            variables(&[
                ("REDIS_URL", "redis://h"),
                ("TASKCAST_REDIS", "redis://ours"),
                ("TASKCAST_LOG_LEVEL", "debug"),
                ("RUST_LOG", "warn"),
                ("TASKCAST_LIMITS_PING_INTERVAL_MS", "5"),
                ("PATH", "/bin"),
                ("TASKCAST_TOKEN", "a token"),
                ("TASKCAST_ACCESS_SECRET", "a secret"),
                ("TASKCAST_LISTEN", ""),
            ]),
            [
                one("redis", "redis://h"),
                one("log_level", "warn"),
                one("redis", "redis://ours"),
                one("log_level", "debug"),
                one("limits.ping_interval_ms", "5"),
            ]
        );
    }

    #[test]
    fn variables_of_kubernetes_are_nobodys() {
        assert_eq!(
            variables(&[
                ("TASKCAST_PORT", "tcp://10.0.0.1:8000"),
                ("TASKCAST_PORT_8000_TCP_PORT", "8000"),
                ("TASKCAST_SERVICE_HOST", "10.0.0.1"),
            ]),
            []
        );
        assert_eq!(variables(&[("TASKCAST_PORT", "8000")]), [one("port", "8000")]);
    }
}
