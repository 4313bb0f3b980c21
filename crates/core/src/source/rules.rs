//! Rules: paths and conditions, and what they find in an entry.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::definition::{Form, Rule};
use crate::json::{self, Kind};

/// The most rules of one kind, and the most paths.
const RULES_MAX: usize = 16;
/// The most values that a rule allows.
const VALUES_MAX: usize = 64;
/// The longest text in a rule, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// How deep a path may go.
const PATH_NAMES_MAX: usize = 8;

/// All that is asked of an entry.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) types: Vec<Path>,
    pub(super) skip: Vec<Condition>,
    pub(super) end: Vec<Condition>,
    pub(super) failed: Vec<Condition>,
    pub(super) only_if_last: bool,
}

impl Rules {
    /// Whether nothing is asked.
    pub(super) fn are_none(&self) -> bool {
        self.types.is_empty() && self.skip.is_empty() && self.end.is_empty()
    }
}

/// The way to a value: a top-level name by its number, and names below it.
#[derive(Debug)]
pub(super) struct Path {
    head: usize,
    rest: Vec<Box<str>>,
}

/// A rule whose names are numbers.
#[derive(Debug)]
pub(super) enum Condition {
    Has(usize),
    In(Path, Vec<Box<str>>),
    Text(Box<str>),
}

/// The top-level names that rules look for, each once.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Box<str>>);

impl Names {
    pub(super) fn paths(&mut self, paths: &[String]) -> Result<Vec<Path>, String> {
        bounded(paths)?;
        paths.iter().map(|path| self.path(path)).collect()
    }

    pub(super) fn conditions(
        &mut self,
        rules: &[Rule],
        form: Form,
    ) -> Result<Vec<Condition>, String> {
        bounded(rules)?;
        rules.iter().map(|rule| self.condition(rule, form)).collect()
    }

    fn condition(&mut self, rule: &Rule, form: Form) -> Result<Condition, String> {
        Ok(match rule {
            Rule::Has(name) => Condition::Has(self.number(name)?),
            Rule::In { path, values } => {
                if values.is_empty() || values.len() > VALUES_MAX {
                    return Err(format!("must have 1 to {VALUES_MAX} values in `in`"));
                }
                let values = values.iter().map(|value| short(value));
                Condition::In(self.path(path)?, values.collect::<Result<_, _>>()?)
            }
            Rule::Text(_) if form == Form::Fields => {
                return Err("has a text, which is a payload's, and as = \"fields\" has none".into());
            }
            Rule::Text(text) => Condition::Text(short(text)?),
        })
    }

    fn path(&mut self, path: &str) -> Result<Path, String> {
        let mut names = path.split('.');
        let head = self.number(names.next().unwrap_or_default())?;
        let rest = names.map(name).collect::<Result<Vec<_>, _>>()?;
        if rest.len() >= PATH_NAMES_MAX {
            return Err(format!("has a path of more than {PATH_NAMES_MAX} names"));
        }
        Ok(Path { head, rest })
    }

    fn number(&mut self, text: &str) -> Result<usize, String> {
        if let Some(number) = self.find(text) {
            return Ok(number);
        }
        self.0.push(name(text)?);
        Ok(self.0.len() - 1)
    }

    /// The number of a name, if any rule looks for it.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|known| **known == *name)
    }

    /// Nothing is found yet.
    pub(super) fn nothing(&self) -> Found {
        vec![None; self.0.len()]
    }

    /// What there is of these names in a text, where that is an object.
    pub(super) fn in_text(&self, text: &str) -> Found {
        let mut found = self.nothing();
        let kind = json::members(text, |name, value| {
            if let Some(number) = self.find(&json::name(&text[name])) {
                found[number] = Some(value);
            }
        });
        if kind == Kind::Object { found } else { self.nothing() }
    }
}

fn bounded<T>(rules: &[T]) -> Result<(), String> {
    if rules.len() > RULES_MAX { Err(format!("may have {RULES_MAX} at most")) } else { Ok(()) }
}

fn name(text: &str) -> Result<Box<str>, String> {
    if text.is_empty() { Err("has an empty name".to_owned()) } else { short(text) }
}

fn short(text: &str) -> Result<Box<str>, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(format!("has a text of more than {TEXT_BYTES_MAX} bytes"));
    }
    Ok(text.into())
}

/// Where the values of the names are in a text.
pub(super) type Found = Vec<Option<Range<usize>>>;

/// An entry's fields, each once.
pub(super) type Fields<'a> = [(Cow<'a, str>, &'a Bytes)];

/// A part of an entry that rules look into: all of it, a line of it, an event.
pub(super) struct Item<'a> {
    pub(super) names: &'a Names,
    /// The payload; none where there is none that is a text.
    pub(super) text: Option<&'a str>,
    /// What was found in it.
    pub(super) found: &'a [Option<Range<usize>>],
    /// The event's name, if it is one that has a name.
    pub(super) event: Option<&'a str>,
    /// It is an event.
    pub(super) is_event: bool,
    pub(super) fields: &'a Fields<'a>,
}

impl<'a> Item<'a> {
    /// Whether one of these holds.
    pub(super) fn is_any(&self, conditions: &[Condition]) -> bool {
        conditions.iter().any(|condition| match condition {
            Condition::Has(name) => self.has(*name),
            Condition::In(path, values) => {
                self.said(path).is_some_and(|said| values.iter().any(|value| **value == *said))
            }
            Condition::Text(text) => self.text == Some(text),
        })
    }

    fn has(&self, number: usize) -> bool {
        let name = &*self.names.0[number];
        self.found[number].is_some()
            || (name == "event" && self.event.is_some())
            || (name == "data" && self.is_event)
            || self.field(name).is_some()
    }

    /// The value at a path as text. It is looked for in the payload, then in the event around that, then
    /// in the entry's fields.
    pub(super) fn said(&self, path: &Path) -> Option<Cow<'a, str>> {
        let name = &*self.names.0[path.head];
        let in_payload = self.found[path.head].clone().zip(self.text);
        if let Some(value) = in_payload.and_then(|(at, text)| below(&text[at], &path.rest)) {
            return Some(json::said(value));
        }
        match name {
            "event" if path.rest.is_empty() && self.event.is_some() => {
                return self.event.map(Cow::Borrowed);
            }
            "data" if self.is_event => {
                let text = self.text?;
                if path.rest.is_empty() {
                    return Some(Cow::Borrowed(text));
                }
                if let Some(value) = below(text, &path.rest) {
                    return Some(json::said(value));
                }
            }
            _ => {}
        }
        let field = self.field(name)?;
        match json::text(field) {
            text if path.rest.is_empty() => Some(text),
            Cow::Borrowed(text) => below(text, &path.rest).map(json::said),
            // What is no UTF-8 is no JSON.
            Cow::Owned(_) => None,
        }
    }

    fn field(&self, name: &str) -> Option<&'a Bytes> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

/// The value below a value.
fn below<'a>(value: &'a str, names: &[Box<str>]) -> Option<&'a str> {
    names.iter().try_fold(value, |value, name| json::member(value, name))
}
