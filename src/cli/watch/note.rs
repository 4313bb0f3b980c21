//! A note: one thing that happened to the watched task, as a line of its own says it.

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

    pub(super) fn plain(label: &str, text: String) -> Self {
        Self { time: String::new(), label: label.to_owned(), text, tone: Tone::Plain }
    }

    pub(super) fn warning(label: &str, text: String) -> Self {
        Self { tone: Tone::Warning, ..Self::plain(label, text) }
    }
}
