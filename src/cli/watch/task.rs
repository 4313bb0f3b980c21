//! What is known of the watched task, folded from its frames. Knows neither terminal nor socket.
//!
//! Any value may be of an odd type: then it is shown as JSON, or passed over.

use std::ops::ControlFlow;

use serde_json::value::RawValue;

use super::members::Members;
use super::note::{Note, Tone};
use crate::client::{self, Outcome, Since, Standing, Update, events};
use crate::core::source::STATUSES;
use crate::id::StreamId;

/// The watched task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: client::Task,
    standing: Standing,
    /// One turn was asked for.
    asked_for: bool,
    /// How far it got, from 0 to 1.
    pub(super) progress: Option<f64>,
    /// The status is what the newest entry means.
    ended_by_entry: bool,
    /// Whether it has ended is the server's to say: of a source, something came behind an end, which may
    /// take it back; of the agent's, a status came in the publisher's own word.
    pub(super) end_in_doubt: bool,
    /// One turn of a thread was asked for, and it was said what is told of it.
    turn_was_noted: bool,
    /// JSON.
    pub(super) result: Option<String>,
    pub(super) error: Option<String>,
    /// Whether an `initial_state` came.
    pub(super) has_state: bool,
    /// Whether an update came, in a state or as an entry.
    pub(super) has_updates: bool,
    /// Where the task is followed: entries behind this are still to come.
    pub(super) at: StreamId,
    /// Entries up to this one were shown, or were not asked for.
    shown: StreamId,
    connection: Connection,
}

#[derive(Debug)]
enum Connection {
    /// None, with the reason where there is one.
    Down(Option<String>),
    /// Open; what happened until now is still coming.
    Replaying,
    Live,
}

/// The status that a task ends with whose worker writes its status to keys only, by the type of the entry
/// that ends it.
fn status_of_end(update_type: &str) -> Option<&'static str> {
    match update_type {
        "turn_complete" => Some("done"),
        "error" => Some("failed"),
        "cancellation" => Some("cancelled"),
        _ => None,
    }
}

impl Task {
    /// A task that is followed after an entry, or else from its state.
    ///
    /// With a `turn`, of a thread's tasks that one counts; else the newest one, as the server says.
    pub(super) fn new(id: client::Task, since: Option<Since>, turn: Option<String>) -> Self {
        let since = since.map(Since::position).unwrap_or_default();
        Self {
            id,
            standing: turn.clone().map_or_else(Standing::new, Standing::of_turn),
            asked_for: turn.is_some(),
            progress: None,
            ended_by_entry: false,
            end_in_doubt: false,
            turn_was_noted: turn.is_none(),
            result: None,
            error: None,
            has_state: false,
            has_updates: false,
            at: since,
            shown: since,
            connection: Connection::Down(None),
        }
    }

    /// Empty until it is known.
    pub(super) fn status(&self) -> &str {
        self.standing.status().unwrap_or_default()
    }

    /// How its status, or its end, says that it ended; none if it has not.
    pub(super) fn ended(&self) -> Option<Outcome> {
        self.standing.outcome()
    }

    pub(super) fn connected(&mut self) {
        self.connection = Connection::Replaying;
    }

    pub(super) fn disconnected(&mut self, reason: String) {
        self.connection = Connection::Down(Some(reason));
    }

    /// Why there is no connection.
    pub(super) fn problem(&self) -> Option<&str> {
        match &self.connection {
            Connection::Down(reason) => reason.as_deref(),
            _ => None,
        }
    }

    /// The connection in a word or more.
    pub(super) fn connection(&self) -> &str {
        match &self.connection {
            Connection::Down(reason) => reason.as_deref().unwrap_or("connecting"),
            Connection::Replaying => "catching up",
            Connection::Live => "live",
        }
    }

    /// Whether everything so far has come.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.connection, Connection::Live)
    }

    /// How the task ended; none while it runs, or while more about its end may be on the way.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let told = self.result.is_some() || self.error.is_some();
        let complete = match self.connection {
            Connection::Live => true,
            Connection::Replaying => false,
            Connection::Down(_) => told,
        };
        self.ended().filter(|_| complete)
    }

    /// Takes a frame and says what is new in it.
    pub(super) fn apply(&mut self, update: &Update, json: &str) -> Vec<Note> {
        let frame = Members::read(json);
        let before = self.standing.clone();
        let counts = self.stand(update, json);
        match update {
            Update::Initial { stream_id, lost } => {
                self.connection = Connection::Live;
                self.at = stream_id.unwrap_or_default();
                let mut notes = self.initial(&frame, counts);
                // A source's state has no updates: they are looked for in its stream.
                if !notes.is_empty() && !self.is_of_source() {
                    self.shown = self.at;
                }
                if !std::mem::replace(&mut self.turn_was_noted, true) {
                    notes.extend(self.of_another_turn(&frame));
                }
                if *lost {
                    let text = "the server went on from here; updates may be missing".to_owned();
                    notes.insert(0, Note::warning("gap", text));
                }
                notes
            }
            Update::Entry { stream_id, .. } => {
                (self.at, self.shown) = (*stream_id, *stream_id);
                let had_ended = before.outcome().is_some();
                let taken_back = had_ended && self.ended().is_none() && self.is_of_source();
                let in_own_word =
                    counts && frame.changes_status() && !STATUSES.contains(&self.status());
                self.end_in_doubt |= taken_back || in_own_word;
                let notes = self.entry(json, &frame, Some(*stream_id), counts);
                if self.asked_for && (self.status().is_empty() || self.ended_by_entry) {
                    // The state of another turn says nothing of this one.
                    self.end_by_entry(&frame, counts);
                }
                notes
            }
            // Who comes back is told what may be known already.
            Update::Derived if counts && frame.changes_status() && self.standing == before => {
                Vec::new()
            }
            Update::Derived => self.entry(json, &frame, None, counts),
            Update::End { failed } => {
                self.end_in_doubt = false;
                let (text, tone) =
                    if *failed { ("it failed", Tone::Bad) } else { ("it ended", Tone::Plain) };
                vec![Note { tone, ..Note::plain("end", text.to_owned()) }]
            }
            Update::CaughtUp => {
                self.connection = Connection::Live;
                Vec::new()
            }
            Update::Gap(gap) => {
                if gap.reason == "reset" {
                    // Of the stream that is there now, nothing was shown.
                    self.shown = StreamId::ZERO;
                }
                let after = gap.requested.map(|id| format!(" after {id}")).unwrap_or_default();
                let text =
                    format!("updates{after} may be missing: {}; the state follows", gap.reason);
                vec![Note::warning("gap", text)]
            }
            _ => Vec::new(),
        }
    }

    /// What of the turn that was asked for is told, where the state is another one's.
    fn of_another_turn(&self, state: &Members<'_>) -> Option<Note> {
        let asked = self.standing.turn().unwrap_or_default();
        let text = match state.text("task_id") {
            Some(turn) if turn == asked => return None,
            Some(turn) => format!(
                "the thread's turn is {turn}; of {asked} only entries are told, and its end where one says so"
            ),
            None => "the thread has no tasks: all of it is shown".to_owned(),
        };
        Some(Note::warning("turn", text))
    }

    /// Takes what a frame tells of the turn, which may be another one then. Whether it is about the turn.
    pub(super) fn stand(&mut self, update: &Update, json: &str) -> bool {
        let turn = self.standing.turn().map(str::to_owned);
        let counts = self.standing.take(update, json);
        if turn.is_some() && turn.as_deref() != self.standing.turn() {
            (self.result, self.error, self.progress) = (None, None, None);
        }
        counts
    }

    /// Whether it is none of the agent's.
    pub(super) fn is_of_source(&self) -> bool {
        self.id.source().is_some()
    }

    /// Whether everything so far has come, and no status with it; of a source, nothing but a state.
    pub(super) fn lacks_past(&self) -> bool {
        let lacks = match self.is_of_source() {
            true => self.has_state && !self.has_updates,
            false => self.status().is_empty(),
        };
        self.is_live() && lacks
    }

    /// Takes a frame of a look back, and gives what was not shown yet. Breaks where the rest is of
    /// no use: what comes after `at` is still to be told.
    pub(super) fn recall(&mut self, update: &Update, json: &str) -> ControlFlow<(), Vec<Note>> {
        let frame = Members::read(json);
        match update {
            Update::Entry { stream_id, .. } if *stream_id <= self.at => {
                let counts = self.stand(update, json);
                let notes = self.entry(json, &frame, Some(*stream_id), counts);
                let is_new = *stream_id > self.shown;
                self.shown = self.shown.max(*stream_id);
                self.end_by_entry(&frame, counts);
                return ControlFlow::Continue(if is_new { notes } else { Vec::new() });
            }
            Update::End { .. } => {
                self.stand(update, json);
                return ControlFlow::Continue(Vec::new());
            }
            Update::Derived | Update::Other => return ControlFlow::Continue(Vec::new()),
            Update::Initial { .. } => {
                let counts = self.stand(update, json);
                self.initial(&frame, counts);
            }
            _ => {}
        }
        self.connection = Connection::Live;
        ControlFlow::Break(())
    }

    /// Where its state is gone, the newest entry may say how it ended: what comes behind an end takes it
    /// back.
    fn end_by_entry(&mut self, frame: &Members<'_>, counts: bool) {
        // A child's end is its own, and not the thread's.
        let is_childs = frame.text("parent_task_id").is_some() && !self.asked_for;
        if is_childs || !counts || self.is_of_source() {
            return;
        }
        let update_type = frame.text("update_type").unwrap_or_default();
        match status_of_end(&update_type) {
            Some(status) => {
                self.standing.set_status(Some(status.to_owned()));
                self.ended_by_entry = true;
            }
            None if std::mem::take(&mut self.ended_by_entry) => self.standing.set_status(None),
            None => {}
        }
    }

    fn initial(&mut self, frame: &Members<'_>, counts: bool) -> Vec<Note> {
        self.has_state = true;
        if counts {
            self.result = frame.json("result");
            self.error = frame.text("error_message");
            self.progress = None;
        }
        let updates: Vec<&RawValue> = frame.read_as("updates").unwrap_or_default();
        let mut notes: Vec<_> = updates
            .iter()
            .map(|update| {
                let members = Members::read(update.get());
                self.note_progress(&members);
                let mut note = Note::of(&members, "update_type", None);
                if note.text.is_empty() {
                    // Nothing that was meant for people, so the whole of it.
                    note.text = update.get().to_owned();
                }
                note
            })
            .collect();
        self.has_updates |= !notes.is_empty();
        let total = frame.read_as::<u64>("updates_total").unwrap_or_default();
        if let Some(earlier @ 1..) = total.checked_sub(notes.len() as u64) {
            notes.insert(0, Note::plain("", format!("{earlier} earlier updates not shown")));
        }
        if !self.status().is_empty() {
            notes.push(Note::plain("status", self.status().to_owned()));
        }
        notes
    }

    /// An entry, or what a derived frame tells in place of one; `counts` if it is about the turn.
    fn entry(
        &mut self,
        json: &str,
        frame: &Members<'_>,
        id: Option<StreamId>,
        counts: bool,
    ) -> Vec<Note> {
        self.has_updates = true;
        self.note_progress(frame);
        let several = if self.is_of_source() { events(json) } else { Vec::new() };
        if !several.is_empty() {
            return several.iter().map(|event| Note::of_event(event, frame, id)).collect();
        }
        let label = if self.is_of_source() { "update_type" } else { "type" };
        let mut note = Note::of(frame, label, id);
        match frame.text("update_type").as_deref() {
            Some("status_change") if !counts && note.text.is_empty() => {
                note.text = frame.text("status").unwrap_or_default();
            }
            _ if !counts => {}
            Some("status_change") => {
                note.label = "status".to_owned();
                note.text = self.status().to_owned();
            }
            Some("result_set") => {
                self.result = frame.json("result");
                note.label = "result".to_owned();
            }
            Some("error_set") => {
                self.error = frame.text("error_message");
                note.label = "error".to_owned();
                note.text = self.error.clone().unwrap_or(note.text);
                note.tone = Tone::Bad;
            }
            _ if note.text.is_empty() && self.is_of_source() => note.text = frame.own(),
            // An update that was no object, as a derived frame has it.
            _ if id.is_none() && note.text.is_empty() => {
                note.text = frame.text("data").unwrap_or_default();
            }
            _ => {}
        }
        vec![note]
    }

    fn note_progress(&mut self, update: &Members<'_>) {
        if let Some(share) = update.progress() {
            self.progress = Some(share);
        }
    }
}

#[cfg(test)]
mod tests;
