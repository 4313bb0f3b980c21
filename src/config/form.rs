//! The forms of values: how each is read from text, how it is shown, and which values there are.

use std::fmt::Display;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::choice::Choice;
use super::layers::Raw;
use super::network::Network;
use super::redis_url;

/// The longest prefix of a key, in bytes.
const KEY_PREFIX_BYTES_MAX: usize = 128;

/// A kind of value.
pub(super) trait Form {
    /// What is made of it.
    type Value;

    /// The values that are allowed, as what stands behind "must be".
    fn allowed(&self) -> String;

    /// The words that can be chosen, where it is a choice.
    fn words(&self) -> &'static [&'static str] {
        &[]
    }

    /// Reads a value; the error says what is allowed.
    fn read(&self, raw: &Raw) -> Result<Self::Value, String>;

    /// The value as the file has it.
    fn show(&self, value: &Self::Value) -> toml::Value;

    /// The error of a value that is none.
    fn must_be(&self) -> String {
        format!("must be {}", self.allowed())
    }
}

/// The text of a value that is no list.
fn one(raw: &Raw) -> Result<&str, String> {
    match raw {
        Raw::One(text) => Ok(text),
        Raw::Many(_) => Err("must be one value, not a list".to_owned()),
    }
}

/// The items of a list, or of text with commas between them.
fn items(raw: &Raw) -> Vec<&str> {
    match raw {
        Raw::One(text) => text.split(',').map(str::trim).collect(),
        Raw::Many(items) => items.iter().map(String::as_str).collect(),
    }
}

/// A whole number in a range. Underscores may group its digits, as in TOML.
pub(super) struct Whole<T> {
    min: u64,
    max: u64,
    number: PhantomData<T>,
}

impl<T> Whole<T> {
    pub(super) fn new(min: u64, max: u64) -> Self {
        Self { min, max, number: PhantomData }
    }
}

impl<T: TryFrom<u64> + Copy> Form for Whole<T>
where
    i64: TryFrom<T>,
{
    type Value = T;

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.min, self.max)
    }

    fn read(&self, raw: &Raw) -> Result<T, String> {
        let digits = one(raw)?.trim().replace('_', "");
        let value = digits.parse().ok().filter(|value| (self.min..=self.max).contains(value));
        value.and_then(|value| T::try_from(value).ok()).ok_or_else(|| self.must_be())
    }

    fn show(&self, value: &T) -> toml::Value {
        i64::try_from(*value).unwrap_or(i64::MAX).into()
    }
}

/// `true` or `false`.
pub(super) struct YesOrNo;

impl Form for YesOrNo {
    type Value = bool;

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }

    fn read(&self, raw: &Raw) -> Result<bool, String> {
        one(raw)?.parse().map_err(|_| self.must_be())
    }

    fn show(&self, value: &bool) -> toml::Value {
        (*value).into()
    }
}

/// One of a few words.
pub(super) struct OneOf<T>(PhantomData<T>);

impl<T> OneOf<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Choice + FromStr + Display> Form for OneOf<T> {
    type Value = T;

    fn allowed(&self) -> String {
        format!("one of: {}", T::WORDS.join(", "))
    }

    fn words(&self) -> &'static [&'static str] {
        T::WORDS
    }

    fn read(&self, raw: &Raw) -> Result<T, String> {
        one(raw)?.parse().map_err(|_| self.must_be())
    }

    fn show(&self, value: &T) -> toml::Value {
        value.to_string().into()
    }
}

/// Addresses to listen on, as a list or as text with commas between them.
pub(super) struct Addresses;

impl Form for Addresses {
    type Value = Vec<SocketAddr>;

    fn allowed(&self) -> String {
        "an IP address and a port, such as 127.0.0.1:8000, 0.0.0.0:8000 or [::]:8000, or several"
            .to_owned()
    }

    fn read(&self, raw: &Raw) -> Result<Vec<SocketAddr>, String> {
        let addresses = items(raw).into_iter().map(|text| text.parse().ok());
        let addresses = addresses.collect::<Option<Vec<_>>>().filter(|some| !some.is_empty());
        addresses.ok_or_else(|| self.must_be())
    }

    fn show(&self, value: &Vec<SocketAddr>) -> toml::Value {
        match &value[..] {
            [one] => one.to_string().into(),
            several => several.iter().map(ToString::to_string).collect::<Vec<_>>().into(),
        }
    }
}

/// An address to listen on, or none.
pub(super) struct MaybeAddress;

impl Form for MaybeAddress {
    type Value = Option<SocketAddr>;

    fn allowed(&self) -> String {
        "an IP address and a port, such as 127.0.0.1:9000, or empty".to_owned()
    }

    fn read(&self, raw: &Raw) -> Result<Option<SocketAddr>, String> {
        match one(raw)? {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| self.must_be()),
        }
    }

    fn show(&self, value: &Option<SocketAddr>) -> toml::Value {
        value.map(|address| address.to_string()).unwrap_or_default().into()
    }
}

/// The URL of Redis; its password is not shown.
pub(super) struct RedisUrl;

impl Form for RedisUrl {
    type Value = String;

    fn allowed(&self) -> String {
        format!("a Redis URL: {}", redis_url::FORMS)
    }

    fn read(&self, raw: &Raw) -> Result<String, String> {
        let url = one(raw)?;
        redis_url::check(url)?;
        Ok(url.to_owned())
    }

    fn show(&self, value: &String) -> toml::Value {
        redis_url::masked(value).into()
    }
}

/// A level of log lines, or directives such as `info,taskcast=debug`.
pub(super) struct Level;

impl Form for Level {
    type Value = String;

    fn allowed(&self) -> String {
        "off, error, warn, info, debug or trace, or directives such as info,taskcast=debug"
            .to_owned()
    }

    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = one(raw)?;
        // The filter takes any lone word for the name of a module and then shows nothing else.
        let mistaken = text
            .split(',')
            .map(str::trim)
            .any(|part| !part.contains(['=', '[']) && part.parse::<LevelFilter>().is_err());
        match EnvFilter::try_new(text) {
            Ok(_) if !mistaken => Ok(text.to_owned()),
            _ => Err(self.must_be()),
        }
    }

    fn show(&self, value: &String) -> toml::Value {
        value.as_str().into()
    }
}

/// The prefix of every key in Redis.
pub(super) struct Prefix;

impl Form for Prefix {
    type Value = String;

    fn allowed(&self) -> String {
        format!("1 to {KEY_PREFIX_BYTES_MAX} printable ASCII characters without spaces and braces")
    }

    fn read(&self, raw: &Raw) -> Result<String, String> {
        let text = one(raw)?;
        let well_formed = (1..=KEY_PREFIX_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}');
        if well_formed { Ok(text.to_owned()) } else { Err(self.must_be()) }
    }

    fn show(&self, value: &String) -> toml::Value {
        value.as_str().into()
    }
}

/// Any text; whether it fits is judged by whoever takes it.
pub(super) struct Text(pub(super) &'static str);

impl Form for Text {
    type Value = String;

    fn allowed(&self) -> String {
        self.0.to_owned()
    }

    fn read(&self, raw: &Raw) -> Result<String, String> {
        one(raw).map(str::to_owned)
    }

    fn show(&self, value: &String) -> toml::Value {
        value.as_str().into()
    }
}

/// Several values, as a list or as text with commas between them.
pub(super) struct List<T> {
    allowed: &'static str,
    item: fn(&str) -> Option<T>,
}

/// Origins of pages.
pub(super) const ORIGINS: List<String> = List {
    allowed: "\"*\" or origins such as https://tasks.example, without a path",
    item: origin,
};

/// Names of hosts.
pub(super) const NAMES: List<String> =
    List { allowed: "names such as tasks.example, without a scheme and a port", item: name };

/// Networks.
pub(super) const NETWORKS: List<Network> = List {
    allowed: "addresses or networks such as 10.0.0.1, 10.0.0.0/8 or fd00::/8",
    item: |text| text.parse().ok(),
};

impl<T: Display> Form for List<T> {
    type Value = Vec<T>;

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn read(&self, raw: &Raw) -> Result<Vec<T>, String> {
        let items = items(raw).into_iter().map(self.item);
        items.collect::<Option<_>>().ok_or_else(|| self.must_be())
    }

    fn show(&self, value: &Vec<T>) -> toml::Value {
        value.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }
}

/// `*`, or what a browser sends: scheme, host and port, nothing after them, in small letters.
fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let well_formed = text == "*"
        || host.is_some_and(|host| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@*,".contains(&b))
        });
    well_formed.then_some(text)
}

/// A name of a host, in small letters.
fn name(text: &str) -> Option<String> {
    let is_of_it = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    (!text.is_empty() && text.bytes().all(is_of_it)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_to_its_range() {
        let read = |text: &str| Whole::<u64>::new(1, 1_000).read(&Raw::One(text.to_owned()));
        assert_eq!(read("1_000"), Ok(1_000));
        for text in ["0", "1001", "-1", "1.5", "x", "", "99999999999999999999"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
