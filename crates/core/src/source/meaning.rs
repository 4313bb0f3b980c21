//! What an entry means: whether it is sent, of which type it is, and whether it ends its task.

use std::borrow::Cow;

use bytes::Bytes;

use super::Source;
use super::definition::Form;
use super::payload::{Payload, events, lines};
use super::rules::Item;
use crate::encode::fields;
use crate::entry::Entry;
use crate::json;

/// The longest text that is taken for a type, in bytes.
const TYPE_BYTES_MAX: usize = 256;

/// An end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The task failed.
    pub failed: bool,
}

/// What an entry means.
#[derive(Debug)]
pub struct Meaning<'a> {
    /// It is not sent. Then it is no end either.
    pub skipped: bool,
    /// It ends its task.
    pub end: Option<End>,
    /// What `type` gives, where the entry does not say it itself; none where nothing does.
    pub update_type: Option<String>,
    /// The entry's fields, each once.
    pub(crate) fields: Vec<(Cow<'a, str>, &'a Bytes)>,
    /// The number of the payload's field.
    field: Option<usize>,
    pub(crate) payload: Payload<'a>,
}

/// What rules found in the items of an entry.
#[derive(Default)]
struct Judged {
    items: usize,
    skipped: usize,
    end: Option<End>,
    /// The first type of the first path that gives one.
    update_type: Option<(usize, String)>,
}

impl Judged {
    fn look_at(&mut self, source: &Source, item: &Item<'_>) {
        let rules = &source.rules;
        self.items += 1;
        self.skipped += usize::from(item.is_any(&rules.skip));
        if item.is_any(&rules.end) {
            let end = self.end.get_or_insert(End { failed: false });
            end.failed |= item.is_any(&rules.failed);
        }
        let better = self.update_type.as_ref().map_or(rules.types.len(), |(path, _)| *path);
        for (number, path) in rules.types[..better].iter().enumerate() {
            if let Some(text) = item.said(path).filter(|text| is_type(text)) {
                self.update_type = Some((number, text.into_owned()));
                break;
            }
        }
    }
}

/// Whether a text can be a type: not what stands for nothing, nor an object or a list.
fn is_type(text: &str) -> bool {
    let is_value = text == "null" || text.starts_with(['{', '[']);
    (1..=TYPE_BYTES_MAX).contains(&text.len()) && !is_value
}

impl Source {
    /// What an entry means.
    ///
    /// An entry with several lines or events is skipped where each of them is to be; it ends its task
    /// where one of them does.
    pub fn meaning<'a>(&self, entry: &'a Entry) -> Meaning<'a> {
        let fields = fields(entry);
        let name = self.field.as_deref();
        let field = name.and_then(|name| fields.iter().position(|(field, _)| field == name));
        let payload = match field.map(|number| &fields[number].1[..]) {
            None => Payload::None,
            Some(raw) => match self.form {
                Form::Fields => Payload::None,
                Form::Json => Payload::json(raw, &self.names, &fields),
                Form::Text => Payload::Text(json::text(raw)),
                Form::Ndjson => Payload::Lines(json::text(raw)),
                Form::Sse => Payload::Events(json::text(raw)),
                Form::Base64 => Payload::Bytes(raw),
            },
        };
        let mut meaning =
            Meaning { skipped: false, end: None, update_type: None, fields, field, payload };
        if !self.rules.are_none() {
            let judged = self.judge(&meaning);
            meaning.skipped = judged.items > 0 && judged.skipped == judged.items;
            meaning.end = judged.end.filter(|_| !meaning.skipped);
            meaning.update_type = judged.update_type.map(|(_, text)| text);
        }
        meaning
    }

    fn judge(&self, meaning: &Meaning<'_>) -> Judged {
        let mut judged = Judged::default();
        let nothing = self.names.nothing();
        let item = Item {
            names: &self.names,
            text: None,
            found: &nothing,
            event: None,
            is_event: false,
            fields: &meaning.fields,
        };
        match &meaning.payload {
            Payload::None => {}
            Payload::Object(object) => {
                let (text, found) = (Some(&*object.text), &object.found[..]);
                judged.look_at(self, &Item { text, found, ..item });
            }
            Payload::Json(text) | Payload::Text(text) => {
                judged.look_at(self, &Item { text: Some(text), ..item });
            }
            Payload::Bytes(raw) => {
                let text = std::str::from_utf8(raw).ok();
                judged.look_at(self, &Item { text, ..item });
            }
            Payload::Lines(text) => {
                for line in lines(text) {
                    let found = &self.names.in_text(line)[..];
                    judged.look_at(self, &Item { text: Some(line), found, ..item });
                }
            }
            Payload::Events(text) => {
                for (event, data) in events(text) {
                    let found = &self.names.in_text(&data)[..];
                    let (text, is_event) = (Some(&*data), true);
                    judged.look_at(self, &Item { text, found, event, is_event, ..item });
                }
            }
        }
        if judged.items == 0 {
            // Its fields are all that there is.
            judged.look_at(self, &item);
        }
        judged
    }

    /// Which of some entries, that came one behind the other, is the last end that counts.
    pub fn last_end(&self, entries: &[Entry]) -> Option<(usize, End)> {
        if !self.has_ends() {
            return None;
        }
        let mut newest_first = entries.iter().enumerate().rev().take(self.ends_within());
        newest_first.find_map(|(number, entry)| Some((number, self.meaning(entry).end?)))
    }

    /// An end counts while it is one of so many newest entries.
    pub fn ends_within(&self) -> usize {
        if self.rules.only_if_last { 1 } else { super::ENTRIES_LOOKED_AT as usize }
    }
}

impl Meaning<'_> {
    /// Whether there is a member of that name, of those that we would add.
    pub(crate) fn has_timestamp(&self) -> bool {
        self.has("timestamp", |object| object.has_timestamp)
    }

    /// The same of the type.
    pub(crate) fn has_update_type(&self) -> bool {
        self.has("update_type", |object| object.has_update_type)
    }

    fn has(&self, name: &str, in_object: impl FnOnce(&super::payload::Object<'_>) -> bool) -> bool {
        let in_payload = matches!(&self.payload, Payload::Object(object) if in_object(object));
        in_payload || self.further_fields().any(|(field, _)| field == name)
    }

    /// The fields beside the payload, but for those that the payload has, and ours.
    pub(crate) fn further_fields(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        let shadowed = |number: usize, name: &str| match &self.payload {
            Payload::Object(object) => object.shadows[number],
            payload => payload.member() == Some(name),
        };
        let fields = self.fields.iter().enumerate();
        fields.filter_map(move |(number, (name, value))| {
            let is_one = self.field != Some(number)
                && !super::payload::OURS.contains(&&**name)
                && !shadowed(number, name);
            is_one.then_some((&**name, *value))
        })
    }
}
