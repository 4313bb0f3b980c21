//! All keys together, those of `[limits]` with it before them: what is looked up by its name.

use super::form::{Form as _, Prefix, Text};
use super::layers::Raw;
use super::table::{Flag, Row};
use super::{Config, Limits, tls};
use crate::id::Keys;

/// The name of the one table, with the dot behind it.
pub(super) const LIMITS: &str = "limits.";

/// The keys that together are one field.
const KEYS_IN_REDIS: &[Row<Config>] = &[
    Row {
        name: "key_prefix",
        about: " The prefix of every key in Redis.\n",
        flag: Some(Flag::of("PREFIX").everywhere()),
        allowed: || Prefix.allowed(),
        words: || &[],
        set: |config, raw| {
            let prefix = Prefix.read(raw)?;
            config.keys = Keys::new(&prefix, config.keys.stream_template())?;
            Ok(())
        },
        show: |config| config.keys.prefix().into(),
    },
    Row {
        name: "stream_key_template",
        about: " The key of a task's stream; {prefix} stands for key_prefix.\n",
        flag: Some(Flag::of("TEMPLATE").everywhere()),
        allowed: || STREAM_KEY.allowed(),
        words: || &[],
        set: |config, raw| {
            let template = STREAM_KEY.read(raw)?;
            config.keys = Keys::new(config.keys.prefix(), &template)?;
            Ok(())
        },
        show: |config| config.keys.stream_template().into(),
    },
];

const STREAM_KEY: Text = Text("a text with {thread_id} exactly once");

/// A key of the configuration, wherever its value lies.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    Top(&'static Row<Config>),
    Limit(&'static Row<Limits>),
}

/// Every key, in the order in which they are printed.
pub(crate) fn keys() -> impl Iterator<Item = Key> {
    let top = Config::ROWS.iter().chain(KEYS_IN_REDIS).chain(tls::KEYS).map(Key::Top);
    top.chain(Limits::ROWS.iter().map(Key::Limit))
}

impl Key {
    /// The key with this name, where there is one.
    pub(super) fn named(name: &str) -> Option<Self> {
        keys().find(|key| key.name() == name)
    }

    /// The name, as `--set` takes it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Top(row) => row.name.to_owned(),
            Self::Limit(row) => format!("{LIMITS}{}", row.name),
        }
    }

    /// What it does: lines, each with a newline.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Top(row) => row.about,
            Self::Limit(row) => row.about,
        }
    }

    /// What it does, in one line.
    pub(crate) fn about_line(self) -> String {
        self.about().lines().map(str::trim).collect::<Vec<_>>().join(" ")
    }

    /// Its flag, where it has one.
    pub(crate) fn flag(self) -> Option<Flag> {
        match self {
            Self::Top(row) => row.flag,
            Self::Limit(row) => row.flag,
        }
    }

    /// The values that are allowed, as what stands behind "must be".
    pub(super) fn allowed(self) -> String {
        match self {
            Self::Top(row) => (row.allowed)(),
            Self::Limit(row) => (row.allowed)(),
        }
    }

    /// The words that can be chosen, where it is a choice.
    pub(crate) fn words(self) -> &'static [&'static str] {
        match self {
            Self::Top(row) => (row.words)(),
            Self::Limit(row) => (row.words)(),
        }
    }

    /// Its default, in words or as the file has it.
    pub(crate) fn default(self) -> String {
        let in_words = self.flag().and_then(|flag| flag.default).map(str::to_owned);
        in_words.unwrap_or_else(|| self.show(&Config::default()).to_string())
    }

    /// Sets it; the error says what is allowed.
    pub(super) fn set(self, config: &mut Config, raw: &Raw) -> Result<(), String> {
        match self {
            Self::Top(row) => (row.set)(config, raw),
            Self::Limit(row) => (row.set)(&mut config.limits, raw),
        }
    }

    /// Its value, as the file has it.
    pub(super) fn show(self, config: &Config) -> toml::Value {
        match self {
            Self::Top(row) => (row.show)(config),
            Self::Limit(row) => (row.show)(&config.limits),
        }
    }
}
