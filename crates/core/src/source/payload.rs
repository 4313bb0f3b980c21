//! The payload of an entry: what it is, and how it is cut into what rules look into.

use std::borrow::Cow;
use std::ops::Range;

use super::rules::{Fields, Found, Names};
use super::sse;
use crate::json::{self, Kind};

/// Members that are always ours.
pub(crate) const OURS: [&str; 5] =
    ["thread_id", "source", "stream_id", "prev_stream_id", "derived"];

/// What an entry carries.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    /// Nothing but its fields.
    None,
    /// A JSON object.
    Object(Object<'a>),
    /// Another JSON text.
    Json(Cow<'a, str>),
    /// A text that is no JSON, or need not be.
    Text(Cow<'a, str>),
    /// JSON texts, one a line.
    Lines(Cow<'a, str>),
    /// Server-sent events.
    Events(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A JSON object, of which some members are left out.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    pub(crate) text: Cow<'a, str>,
    /// The members that are kept: runs of them, with the commas in between.
    pub(crate) kept: Vec<Range<usize>>,
    pub(super) found: Found,
    /// It has a `timestamp`,
    pub(crate) has_timestamp: bool,
    /// and an `update_type`.
    pub(crate) has_update_type: bool,
    /// Of each field of the entry, whether there is a member of that name.
    pub(super) shadows: Vec<bool>,
}

impl<'a> Payload<'a> {
    /// A JSON text, or what should be one.
    pub(super) fn json(raw: &'a [u8], names: &Names, fields: &Fields<'_>) -> Self {
        let text = json::text(raw);
        let mut kept: Vec<Range<usize>> = Vec::new();
        let mut found = names.nothing();
        let mut shadows = vec![false; fields.len()];
        let (mut has_timestamp, mut has_update_type, mut goes_on) = (false, false, false);
        let kind = json::members(&text, |name, value| {
            let (from, name) = (name.start - 1, json::name(&text[name]));
            let is_kept = !OURS.contains(&&*name);
            match kept.last_mut().filter(|_| goes_on && is_kept) {
                Some(run) => run.end = value.end,
                None if is_kept => kept.push(from..value.end),
                None => {}
            }
            goes_on = is_kept;
            has_timestamp |= name == "timestamp";
            has_update_type |= name == "update_type";
            if let Some(number) = names.find(&name) {
                found[number] = Some(value);
            }
            if let Some(number) = fields.iter().position(|(field, _)| *field == name) {
                shadows[number] = true;
            }
        });
        match kind {
            Kind::Object => {
                Self::Object(Object { text, kept, found, has_timestamp, has_update_type, shadows })
            }
            Kind::Other => Self::Json(text),
            Kind::None => Self::Text(text),
        }
    }

    /// The name of the member that it is as a whole.
    pub(crate) fn member(&self) -> Option<&'static str> {
        match self {
            Self::None | Self::Object(_) => None,
            Self::Json(_) | Self::Text(_) | Self::Bytes(_) => Some("data"),
            Self::Lines(_) | Self::Events(_) => Some("events"),
        }
    }
}

/// The lines of a text that have anything in them.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n')
        .map(|line| line.trim_matches(['\r', ' ', '\t']))
        .filter(|line| !line.is_empty())
}

/// The events of a text: each one's name, where it has one, and its data.
pub(crate) fn events(text: &str) -> impl Iterator<Item = (Option<&str>, Cow<'_, str>)> {
    sse::events(text).map(|event| (event.name, event.data))
}
