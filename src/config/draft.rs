//! The second stage of configuration: settings are applied one over the other, then judged
//! together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use super::keys::{Key, LIMITS, keys};
use super::layers::{Raw, Setting, Tables, others_may_read};
use super::{Config, ConfigError, Ignored, redis_url};

/// The longest name of a key that is shown though there is no such key.
const NAME_BYTES_MAX: usize = 64;

/// A configuration in the making.
#[derive(Default)]
pub(super) struct Draft {
    config: Config,
    /// Where each key was set last, for messages.
    places: BTreeMap<String, String>,
}

impl Draft {
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

    /// The tables of a file.
    pub(super) fn set_tables(&mut self, tables: Tables) {
        self.config.sources = tables.sources;
        self.config.access = tables.access;
        self.config.exposed = tables.exposed;
    }

    /// What the environment has beside settings.
    pub(super) fn take_environment(&mut self, environment: &[(OsString, OsString)]) {
        self.config.access.take_environment(environment);
    }

    fn apply_one(&mut self, setting: Setting) -> Result<(), ConfigError> {
        let Setting { key: name, value, place } = setting;
        if let Some(ignored) = Ignored::of(&name, &place) {
            self.config.ignored.push(ignored);
            return Ok(());
        }
        let key = Key::named(&name).ok_or_else(|| unknown(&name, &place))?;
        key.set(&mut self.config, &value).map_err(|problem| {
            ConfigError::new(format!("{place}: {name} = {} {problem}", shown(&name, &value)))
        })?;
        self.places.insert(name, place);
        Ok(())
    }

    /// Judges what only shows when all layers are in.
    pub(super) fn finish(self) -> Result<Config, ConfigError> {
        let limits = &self.config.limits;
        if let Some(relation) = limits.relations().iter().find(|relation| !relation.holds) {
            return Err(ConfigError::new(format!(
                "{} must be {} {}",
                self.in_force(&format!("{LIMITS}{}", relation.smaller)),
                relation.must_be,
                self.in_force(&format!("{LIMITS}{}", relation.greater)),
            )));
        }
        self.check_addresses()?;
        self.check_tls()?;
        // Pings wait for the flush of what is before them.
        if self.config.flush_interval_ms >= limits.ping_interval_ms {
            return Err(ConfigError::new(format!(
                "{} must be less than {}",
                self.in_force("flush_interval_ms"),
                self.in_force("limits.ping_interval_ms"),
            )));
        }
        // Otherwise who names an authority would believe that the way to Redis is encrypted.
        if !self.config.redis_ca.is_empty()
            && !self.config.embedded
            && !redis_url::is_tls(&self.config.redis)
        {
            return Err(ConfigError::new(format!(
                "{} needs a rediss:// URL, but there is {}",
                self.in_force("redis_ca"),
                self.in_force("redis"),
            )));
        }
        let mut config = self.config;
        if config.tls.is_set() && others_may_read(Path::new(&config.tls.key)) {
            config.exposed.push(config.tls.key.clone());
        }
        Ok(config)
    }

    /// One half of what TLS needs would be taken for TLS.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let tls = &self.config.tls;
        let missing = match (tls.is_set(), tls.key.is_empty(), tls.client_ca.is_empty()) {
            (true, true, _) => ("tls.certificate", "tls.key"),
            (false, false, _) => ("tls.key", "tls.certificate"),
            (false, _, false) => ("tls.client_ca", "tls.certificate"),
            _ => return Ok(()),
        };
        let (given, missing) = missing;
        Err(ConfigError::new(format!("{} needs {missing} beside it", self.in_force(given))))
    }

    /// Connections to an address that is there twice would be shared out by chance.
    fn check_addresses(&self) -> Result<(), ConfigError> {
        let mut all: Vec<SocketAddr> = Vec::new();
        for address in self.config.listen.iter().copied().chain(self.config.admin_listen) {
            let is_same = |other: &SocketAddr| {
                let is_any = address.ip().is_unspecified() || other.ip().is_unspecified();
                let is_within = is_any && address.is_ipv4() == other.is_ipv4();
                let is_chosen = address.port() != 0;
                let at_one_port = is_chosen && address.port() == other.port();
                at_one_port && (address.ip() == other.ip() || is_within)
            };
            if all.iter().any(is_same) {
                return Err(ConfigError::new(format!(
                    "{address} is listened on twice: {}, {}",
                    self.in_force("listen"),
                    self.in_force("admin_listen"),
                )));
            }
            all.push(address);
        }
        Ok(())
    }

    /// A key with its value and where that comes from.
    fn in_force(&self, name: &str) -> String {
        let value = Key::named(name).map(|key| key.show(&self.config).to_string());
        let place = self.places.get(name).map_or("default", String::as_str);
        format!("{name} = {} ({place})", value.unwrap_or_default())
    }
}

fn unknown(name: &str, place: &str) -> ConfigError {
    let limits = name.starts_with(LIMITS);
    let known = keys().map(Key::name).filter(|known| known.starts_with(LIMITS) == limits);
    let known: Vec<_> =
        known.map(|known| known.strip_prefix(LIMITS).unwrap_or(&known).to_owned()).collect();
    let (what, known) = match limits {
        true => ("limits", known.join(", ")),
        false => (
            "keys",
            format!("{} and the tables [limits], [tls], [access] and [[source]]", known.join(", ")),
        ),
    };
    if name.starts_with("access.") || name.starts_with("access_") {
        return ConfigError::new(format!(
            "{place}: [access] is read from the file of --config only"
        ));
    }
    // What is written in the place of a key may be anything, a URL with its password too.
    let well_formed = name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let name = if well_formed { name } else { "(that is no name)" };
    ConfigError::new(format!("{place}: unknown key {name}; the {what} are {known}"))
}

/// A value for a message: passwords hidden, as a URL may be written anywhere.
fn shown(name: &str, value: &Raw) -> String {
    let hide = |text: &str| match name {
        "redis" => redis_url::masked(text),
        _ => redis_url::without_passwords(text),
    };
    match value {
        Raw::One(text) => format!("{:?}", hide(text)),
        Raw::Many(items) => {
            format!("{:?}", items.iter().map(|item| hide(item)).collect::<Vec<_>>())
        }
    }
}
