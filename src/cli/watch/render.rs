//! The watched task as text. Pure: the same task gives the same text.

use std::borrow::Cow;

use serde_json::Value;

use super::note::{Note, Tone};
use super::task::Task;
use crate::cli::terminal::{clean, clean_json};
use crate::client::Outcome;

/// Clears the line that the cursor is in.
pub(super) const ERASE_LINE: &str = "\r\x1b[2K";
/// Without wrapping, a long line is cut at the terminal's edge and stays one line to redraw.
const WRAP_OFF: &str = "\x1b[?7l";
const WRAP_ON: &str = "\x1b[?7h";

const BAR_CELLS: usize = 24;
/// The longest status or label that is shown whole, in characters.
const WORD_CHARS_MAX: usize = 24;
const LABEL_CHARS: usize = 10;
/// Where the text of a note begins: after time and label.
const NOTE_INDENT: usize = 8 + 2 + LABEL_CHARS + 2;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

/// Whether to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colour,
}

impl Paint {
    fn with<'a>(self, code: &str, text: &'a str) -> Cow<'a, str> {
        match self {
            Self::Colour if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m").into(),
            _ => text.into(),
        }
    }
}

/// A note as lines, with a newline at the end of each.
pub(super) fn note(note: &Note, paint: Paint) -> String {
    let time = format!("{:8}", note.time);
    let label = format!("{:LABEL_CHARS$}", word(&note.label));
    let text = indented(&note.text, NOTE_INDENT);
    let text = match note.tone {
        Tone::Plain => text.into(),
        Tone::Warning => paint.with(YELLOW, &text),
        Tone::Bad => paint.with(RED, &text),
    };
    let line = format!("{}  {}  {text}", paint.with(DIM, &time), paint.with(CYAN, &label));
    format!("{}\n", line.trim_end())
}

/// The task in one line: thread id, status, progress.
pub(super) fn state(task: &Task, paint: Paint) -> String {
    let code = match (task.ended(), task.status()) {
        (Some(Outcome::Done), _) => GREEN,
        (Some(_), _) => RED,
        (None, "awaiting_approval") => YELLOW,
        (None, _) => CYAN,
    };
    let id = clean(&task.id.to_string()).replace('\n', " ");
    let status = word(match (Outcome::of(task.status()), task.ended()) {
        // A source's end, which its status may not tell.
        (None, Some(Outcome::Done)) => "done",
        (None, Some(_)) => "failed",
        _ => task.status(),
    });
    let mut text = format!("{}  {}", paint.with(BOLD, &id), paint.with(code, &status));
    // A task that completed got all the way, whatever it said last.
    let progress = task.progress.map(|share| if code == GREEN { 1.0 } else { share });
    if let Some(share) = progress {
        let percent = (share * 100.0).floor();
        text.push_str(&format!("  {} {percent:.0} %", paint.with(code, &bar(share))));
    }
    text
}

/// The state and the connection as the line to redraw, without a newline.
pub(super) fn state_line(task: &Task, paint: Paint) -> String {
    let connection = clean(task.connection()).replace('\n', " ");
    let connection = match task.problem() {
        Some(_) => paint.with(YELLOW, &connection),
        None => paint.with(DIM, &connection),
    };
    format!("{WRAP_OFF}{}  {connection}{WRAP_ON}", state(task, paint))
}

/// What came of the task: its result and its error.
pub(super) fn outcome(task: &Task, paint: Paint) -> String {
    let mut text = String::new();
    if let Some(result) = &task.result {
        let result = indented(&pretty(result), 2);
        text.push_str(&format!("{}\n  {result}\n", paint.with(BOLD, "Result")));
    }
    if let Some(error) = &task.error {
        let error = indented(error, 2);
        let error = paint.with(RED, &error);
        text.push_str(&format!("{}\n  {error}\n", paint.with(BOLD, "Error")));
    }
    text
}

/// A frame as one line, with the newline. Still the same JSON: raw line breaks stand only between
/// its values.
pub(super) fn json_line(json: &str) -> String {
    format!("{}\n", clean_json(json).replace('\n', " "))
}

/// Clean text whose further lines begin `indent` columns in.
fn indented(text: &str, indent: usize) -> String {
    clean(text.trim_end()).replace('\n', &format!("\n{:indent$}", ""))
}

/// A status or label: one line, and not too long.
fn word(text: &str) -> String {
    let clean = clean(text).replace('\n', " ");
    match clean.char_indices().nth(WORD_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

fn bar(share: f64) -> String {
    // A share is from 0 to 1, so this is from 0 to `BAR_CELLS`.
    let full = (share * BAR_CELLS as f64) as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR_CELLS - full))
}

/// JSON for people: a string as its text, anything else over several lines. What is nested too
/// deep to be read stays as it is.
fn pretty(json: &str) -> String {
    match serde_json::from_str(json) {
        Ok(Value::String(text)) => text,
        Ok(value) => serde_json::to_string_pretty(&value).unwrap_or_else(|_| json.to_owned()),
        Err(_) => json.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::terminal::is_hostile;
    use crate::client::Update;

    fn task(frame: &str) -> Task {
        let mut task = Task::new("t1".parse().unwrap(), None, None);
        task.connected();
        task.apply(&Update::Initial { stream_id: None, lost: false }, frame);
        task
    }

    fn a_note(label: &str, text: &str) -> Note {
        Note {
            time: "12:00:00".to_owned(),
            label: label.to_owned(),
            text: text.to_owned(),
            tone: Tone::Plain,
        }
    }

    #[test]
    fn a_note_is_time_label_and_text() {
        assert_eq!(
            note(&a_note("progress", "one\r\ntwo\n"), Paint::Plain),
            "12:00:00  progress    one\n                      two\n"
        );
        assert_eq!(
            note(&a_note("a", "b"), Paint::Colour),
            "\x1b[2m12:00:00\x1b[0m  \x1b[36ma         \x1b[0m  b\n"
        );
    }

    #[test]
    fn the_state_shows_how_far_it_is() {
        let task =
            task(r#"{"status":"in_progress","updates":[{"metadata":{"step":1,"total_steps":2}}]}"#);
        assert_eq!(state(&task, Paint::Plain), "t1  in_progress  ████████████░░░░░░░░░░░░ 50 %");
        assert!(state_line(&task, Paint::Plain).ends_with("50 %  live\x1b[?7h"));
        assert!(state(&task, Paint::Colour).contains("\x1b[36min_progress\x1b[0m"));
    }

    #[test]
    fn the_outcome_is_laid_out() {
        let task = task(r#"{"status":"failed","result":{"a":[1]},"error_message":"x\ny"}"#);
        let text = "Result\n  {\n    \"a\": [\n      1\n    ]\n  }\nError\n  x\n  y\n";
        assert_eq!(outcome(&task, Paint::Plain), text);
        assert_eq!(pretty(r#""a\nb""#), "a\nb");
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(pretty(&deep), deep);
    }

    #[test]
    fn a_line_of_json_is_the_same_json() {
        let json = "{\"a\":\n\t[1],\r\n\"b\":\"\u{9b}31m\u{7f}\u{202e}\\n\"}";
        let line = json_line(json);
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(value(&line), value(json));
        assert!(!line.trim_end().contains(is_hostile));
    }

    proptest! {
        #[test]
        fn no_text_controls_the_terminal(text in "\\PC*|[\\x00-\\x1f\\x7f-\\x9f\u{202e}a\n]{0,40}") {
            let frame = serde_json::json!({
                "status": text, "error_message": text, "result": {"a": text, &text: [&text]},
            });
            let mut task = task(&frame.to_string());
            task.disconnected(text.clone());
            let shown = [
                note(&a_note(&text, &text), Paint::Plain),
                state(&task, Paint::Plain),
                outcome(&task, Paint::Plain),
            ];
            for shown in shown {
                prop_assert!(shown.chars().all(|c| c == '\n' || !is_hostile(c)), "{shown:?}");
            }
            let line = state_line(&task, Paint::Plain);
            let line = line.replace(WRAP_OFF, "").replace(WRAP_ON, "");
            prop_assert!(!line.contains(is_hostile), "{line:?}");
        }
    }
}
