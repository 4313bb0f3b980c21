//! A note: one thing that happened to the watched task, as a line of its own says it.

use serde_json::value::RawValue;

use super::members::{Members, time_of};
use crate::id::StreamId;

/// One thing that happened, for a line of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// `HH:MM:SS`; empty if not known.
    pub(super) time: String,
    pub(super) label: String,
    pub(super) text: String,
    pub(super) tone: Tone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Warning,
    Bad,
}

impl Note {
    /// An update or entry as a line. The time is its own, or that of its stream id.
    pub(super) fn of(update: &Members<'_>, label: &str, id: Option<StreamId>) -> Self {
        let label = update.text(label).or_else(|| update.text("update_type"));
        Self {
            time: update.time().or_else(|| Some(time_of(id?))).unwrap_or_default(),
            label: label.unwrap_or_default(),
            text: update.text("message").unwrap_or_default(),
            tone: Tone::Plain,
        }
    }

    /// One of the several events of an entry: what it says for people, or else the whole of it.
    pub(super) fn of_event(event: &RawValue, entry: &Members<'_>, id: Option<StreamId>) -> Self {
        let members = Members::read(event.get());
        let mut note = Self::of(&members, "type", None);
        note.label = members.text("event").unwrap_or(note.label);
        if note.label.is_empty() {
            note.label = entry.text("update_type").unwrap_or_default();
        }
        if note.time.is_empty() {
            note.time = Self::of(entry, "type", id).time;
        }
        if note.text.is_empty() {
            note.text = members.text("data").unwrap_or_else(|| event.get().to_owned());
        }
        note
    }

    pub(super) fn plain(label: &str, text: String) -> Self {
        Self { time: String::new(), label: label.to_owned(), text, tone: Tone::Plain }
    }

    pub(super) fn warning(label: &str, text: String) -> Self {
        Self { tone: Tone::Warning, ..Self::plain(label, text) }
    }
}
