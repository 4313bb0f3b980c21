//! The flags of the configuration's keys, made of the table of keys, and where else settings come
//! from.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Config, ConfigError, Flag, Key, Setting, keys};

/// Which keys have flags.
pub(super) trait Which {
    /// Whether this one's does.
    fn has(flag: &Flag) -> bool;
}

/// All flags: for `serve`.
pub(super) struct All;

impl Which for All {
    fn has(_: &Flag) -> bool {
        true
    }
}

/// The flags of each command that uses Redis.
pub(super) struct Everywhere;

impl Which for Everywhere {
    fn has(flag: &Flag) -> bool {
        flag.everywhere
    }
}

/// Where the configuration comes from, for every command that uses Redis.
#[derive(Args)]
pub(super) struct SourceArgs<W: Which> {
    /// Read configuration from this TOML file; flags and environment go over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: SettingFlags<W>,
    /// Set any key of the file, such as limits.ping_interval_ms=500; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl<W: Which> SourceArgs<W> {
    /// The configuration: flags over the environment over the file.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(super) fn load(self) -> Result<Config, ConfigError> {
        let mut flags = self.flags.settings;
        for text in &self.set {
            flags.push(Setting::assignment(text)?);
        }
        Config::load(self.config.as_deref(), std::env::vars_os(), flags)
    }
}

/// What the flags of keys say.
struct SettingFlags<W> {
    settings: Vec<Setting>,
    which: PhantomData<W>,
}

/// The keys with flags, each with its flag and the name by which both are known.
fn flags<W: Which>() -> impl Iterator<Item = (Key, Flag, String)> {
    keys().filter_map(|key| Some((key, key.flag().filter(W::has)?, key.name())))
}

fn arg(key: Key, flag: Flag, name: String) -> Arg {
    let mut help = key.about_line();
    let long = flag.name.map_or_else(|| name.replace('_', "-"), str::to_owned);
    let mut arg = Arg::new(name).long(long);
    if let Some(variable) = flag.variable {
        help.push_str(&format!(" [env: {variable}]"));
    }
    arg = match flag.value_name {
        None => arg.action(ArgAction::SetTrue),
        Some(value_name) if flag.repeated => {
            help.push_str(" May be repeated.");
            arg.value_name(value_name).action(ArgAction::Append)
        }
        Some(value_name) => {
            help.push_str(&format!(" [default: {}]", key.default().trim_matches('"')));
            arg.value_name(value_name)
        }
    };
    if !key.words().is_empty() {
        arg = arg.value_parser(key.words().to_vec());
    }
    if let Some(other) = flag.excludes {
        arg = arg.conflicts_with(other);
    }
    arg.help(help)
}

impl<W: Which> Args for SettingFlags<W> {
    fn augment_args(command: Command) -> Command {
        command.args(flags::<W>().map(|(key, flag, name)| arg(key, flag, name)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<W: Which> FromArgMatches for SettingFlags<W> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = Vec::new();
        for (_, flag, name) in flags::<W>() {
            let values = || matches.get_many::<String>(&name).unwrap_or_default().cloned();
            if flag.value_name.is_none() {
                settings.extend(matches.get_flag(&name).then(|| Setting::flag(&name, "true")));
            } else if flag.repeated && values().len() > 0 {
                let long = format!("--{}", flag.name.unwrap_or(&name));
                settings.push(Setting::flag_list(&name, &long, values().collect()));
            } else {
                settings.extend(values().map(|value| Setting::flag(&name, value)));
            }
        }
        Ok(Self { settings, which: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
