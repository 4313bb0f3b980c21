//! A row of the list of tasks: what a person needs to choose one.

use serde::Serialize;

use super::Status;
use super::json::Fields;
use super::state::{display, metadata};
use crate::core::json::text;
use crate::id::ThreadId;
use crate::log::{LISTED_TEXT_BYTES_MAX, Listed};
use crate::timestamp::from_ms;

/// A task in the list of the newest ones.
#[derive(Debug, Clone, Serialize)]
pub struct ListedTask {
    /// The task.
    #[serde(serialize_with = "display")]
    pub thread_id: ThreadId,
    /// Its status.
    pub status: Option<String>,
    /// The message of its newest update.
    pub message: Option<String>,
    /// How far it is in whole percent, 0 to 100, by the newest update that says so.
    pub progress: Option<f64>,
    /// When it was made, ISO 8601.
    pub created_at: Option<String>,
    /// When it changed last, ISO 8601.
    pub updated_at: String,
    /// What it is about.
    pub subject: Option<String>,
}

impl ListedTask {
    /// The row of a task.
    pub(super) fn new(row: Listed) -> Self {
        let state = row.state;
        let status = state.status.as_deref().map(|status| cut(text(status).into_owned()));
        let updates: Vec<Fields> = state
            .updates
            .iter()
            .map(|json| serde_json::from_str(&text(json)).unwrap_or_default())
            .collect();
        let finished = [Status::Done, Status::Completed].map(Status::as_str);
        let ended_well = status.as_deref().is_some_and(|status| finished.contains(&status));
        let metadata = metadata(&state);
        Self {
            thread_id: row.thread,
            status,
            progress: if ended_well {
                Some(100.0)
            } else {
                updates.iter().rev().find_map(progress)
            },
            message: updates.last().and_then(|newest| newest.string("message")).map(cut),
            created_at: metadata.string("created_at").map(cut),
            updated_at: from_ms((row.updated_at * 1000.0) as u64),
            subject: metadata.string("subject").map(cut),
        }
    }
}

/// A text as a row shows it: the beginning of a long one.
fn cut(mut text: String) -> String {
    let mut length = text.len().min(LISTED_TEXT_BYTES_MAX);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    text.truncate(length);
    text
}

/// How far a task is by this update; publishers may put any JSON anywhere.
fn progress(update: &Fields) -> Option<f64> {
    let metadata: Fields = serde_json::from_str(update.get("metadata")?.get()).ok()?;
    let number = |name: &str| serde_json::from_str::<f64>(metadata.get(name)?.get()).ok();
    let steps = || Some(100.0 * number("step")? / number("total_steps")?);
    let progress = number("progress").or_else(steps)?;
    progress.is_finite().then(|| progress.clamp(0.0, 100.0).round())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::State;

    fn listed(status: &str, updates: &[&str]) -> ListedTask {
        let state = State {
            status: Some(status.to_owned().into()),
            updates: updates.iter().map(|update| update.to_string().into()).collect(),
            ..State::default()
        };
        let thread = "t".parse().unwrap();
        ListedTask::new(Listed { thread, updated_at: 1.5, state })
    }

    #[test]
    fn progress_comes_from_the_newest_update_or_the_status() {
        for (status, update, progress) in [
            ("in_progress", r#"{"metadata":{"progress":42}}"#, Some(42.0)),
            ("in_progress", r#"{"metadata":{"progress":420}}"#, Some(100.0)),
            ("in_progress", r#"{"metadata":{"step":1,"total_steps":4}}"#, Some(25.0)),
            ("in_progress", r#"{"metadata":{"step":0,"total_steps":0}}"#, None),
            ("in_progress", r#"{"metadata":{"progress":"half"}}"#, None),
            ("in_progress", r#"{"metadata":null}"#, None),
            ("in_progress", "no JSON", None),
            ("failed", r#"{"metadata":{"progress":42}}"#, Some(42.0)),
            ("done", "{}", Some(100.0)),
            ("completed", "{}", Some(100.0)),
        ] {
            assert_eq!(listed(status, &[update]).progress, progress, "{status} {update}");
        }
    }

    #[test]
    fn an_update_without_progress_does_not_hide_an_earlier_one() {
        let updates = [
            r#"{"metadata":{"progress":20}}"#,
            r#"{"metadata":{"progress":40}}"#,
            r#"{"message":"thinking","metadata":{}}"#,
            "no JSON",
        ];
        assert_eq!(listed("in_progress", &updates).progress, Some(40.0));
        assert_eq!(listed("in_progress", &updates[..3]).message.as_deref(), Some("thinking"));
    }

    #[test]
    fn a_long_text_is_cut_at_the_end_of_a_character() {
        let update = format!(r#"{{"message":"x{}"}}"#, "é".repeat(5000));
        let message = listed("in_progress", &[&update]).message.unwrap();
        assert_eq!((message.len(), message.chars().count()), (4095, 2048));
    }

    #[test]
    fn a_row_survives_any_update() {
        for update in [r#"{"message":5}"#, "[]", "5", r#""x""#, "", r#"{"message":"m"}"#] {
            let row = listed("odd status", &[update]);
            assert_eq!(row.status.as_deref(), Some("odd status"));
            assert_eq!(row.message.is_some(), update.contains("\"m\""));
            assert_eq!(row.updated_at, "1970-01-01T00:00:01.500+00:00");
        }
    }
}
