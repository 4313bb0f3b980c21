//! Tables of a file that are no keys of a configuration: what is read out of them, and how what is wrong is
//! told with its place.

use std::fmt::Write as _;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::redis_url;

/// What is wrong, and where in the file: how many bytes are before it.
pub(super) type Wrong = (usize, String);

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// A table, and how it is called in messages.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) at: usize,
    pub(super) table: &'a DeTable<'a>,
    pub(super) name: &'a str,
}

impl<'a> Table<'a> {
    pub(super) fn find(self, key: &str) -> Option<&'a Value<'a>> {
        self.table.iter().find(|(known, _)| known.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn inner(self, key: &str) -> Result<Option<Self>, Wrong> {
        match self.find(key).map(|value| (value.span().start, value.get_ref())) {
            None => Ok(None),
            Some((at, DeValue::Table(table))) => Ok(Some(Table { at, table, ..self })),
            Some(_) => Err(self.wrong(key, "must be a table")),
        }
    }

    pub(super) fn text(self, key: &str) -> Result<Option<String>, Wrong> {
        match self.find(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text.to_string())),
            Some(_) => Err(self.wrong(key, "must be a text")),
        }
    }

    /// A text or a list of such; numbers and truth values as texts.
    pub(super) fn texts(self, key: &str) -> Result<Vec<String>, Wrong> {
        let text = |value: &Value<'_>| match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Boolean(truth) => Ok(truth.to_string()),
            _ => Err(self.wrong(key, "must be a text or a list of texts")),
        };
        match self.find(key) {
            None => Ok(Vec::new()),
            Some(value) => match value.get_ref() {
                DeValue::Array(values) => values.iter().map(text).collect(),
                _ => Ok(vec![text(value)?]),
            },
        }
    }

    pub(super) fn yes(self, key: &str) -> Result<bool, Wrong> {
        match self.find(key).map(Spanned::get_ref) {
            None => Ok(false),
            Some(DeValue::Boolean(truth)) => Ok(*truth),
            Some(_) => Err(self.wrong(key, "must be true or false")),
        }
    }

    pub(super) fn check_keys(self, known: &[&str]) -> Result<(), Wrong> {
        let unknown = self.table.iter().find(|(key, _)| !known.contains(&&**key.get_ref()));
        match unknown {
            None => Ok(()),
            // What is written in the place of a key may be anything.
            Some((key, _)) => {
                let what = format!("{}: an unknown key; there are {}", self.name, known.join(", "));
                Err((key.span().start, what))
            }
        }
    }

    /// Something is wrong with a key; where it is not there, with the table.
    pub(super) fn wrong(self, key: &str, what: impl Into<String>) -> Wrong {
        let given = self.table.iter().find(|(known, _)| known.get_ref() == key);
        let at = given.map_or(self.at, |(key, _)| key.span().start);
        (at, format!("{}: {key} {}", self.name, what.into()))
    }
}

/// A table as a file has it, but for the values that are secrets.
pub(super) fn shown(table: &DeTable<'_>, keys: &[&str], secrets: &[&str]) -> String {
    let mut text = String::new();
    for key in keys {
        if let Some((_, value)) = table.iter().find(|(known, _)| known.get_ref() == key) {
            let shown = match value.get_ref() {
                _ if secrets.contains(key) => "***".into(),
                DeValue::String(url) if key.ends_with("url") => {
                    redis_url::without_passwords(url).into()
                }
                other => value_of(other),
            };
            _ = writeln!(text, "{key} = {shown}");
        }
    }
    text
}

fn value_of(value: &DeValue<'_>) -> toml::Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Boolean(truth) => (*truth).into(),
        DeValue::Array(values) => {
            values.iter().map(|value| value_of(value.get_ref())).collect::<Vec<_>>().into()
        }
        DeValue::Table(table) => {
            let pairs = table.iter();
            let pairs =
                pairs.map(|(key, value)| (key.get_ref().to_string(), value_of(value.get_ref())));
            toml::Value::Table(pairs.collect())
        }
        DeValue::Integer(number) => number.as_str().parse().unwrap_or(0_i64).into(),
        // Nothing else is a value of any key.
        _ => toml::Value::String(String::new()),
    }
}
