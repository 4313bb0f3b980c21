//! What publishers write for an update: the item of the list, and its entry.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::server::Fields;

/// How the times of an update and its entry are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The same text in both, as the agent writes it; no other one has it.
    Same,
    /// The same text in both, whole seconds.
    Seconds,
    /// Taken anew when the entry is written.
    Another,
    /// Of the two, only one has it.
    InUpdate,
    InEntry,
    Neither,
}

/// Whether the times of some updates that say the same tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Times {
    /// Each has its own.
    Tell,
    /// Equal ones look the same, and no others.
    InBoth,
    Vary,
}

impl From<Time> for Times {
    fn from(time: Time) -> Self {
        match time {
            Time::Same => Self::Tell,
            Time::Seconds => Self::InBoth,
            Time::Another | Time::InUpdate | Time::InEntry | Time::Neither => Self::Vary,
        }
    }
}

/// What an update says, as its JSON text in the list and as the entry's field.
struct Words {
    message: (&'static str, &'static str),
    /// The metadata in the list and in the entry: the first as the agent writes it. Empty is none.
    metadata: (&'static [&'static str], &'static [&'static str]),
}

const NOTHING: (&[&str], &[&str]) = (&["null", "", "{}"], &["{}", "", "null"]);

/// No two of these say the same.
const WORDS: [Words; 5] = [
    Words { message: (r#""tick""#, "tick"), metadata: NOTHING },
    Words {
        message: (r#""gepr\u00fcft \ud83d\ude00""#, "gepr\u{fc}ft \u{1f600}"),
        metadata: NOTHING,
    },
    Words {
        message: (r#""tick""#, "tick"),
        metadata: (
            &[r#"{"progress": 0.00001, "of": "\u00e4"}"#],
            &[r#"{"progress": 1e-05, "of": "ä"}"#, r#"{"of":"ä","progress":0.00001}"#],
        ),
    },
    Words {
        message: (r#""a \"b\" \\ c""#, r#"a "b" \ c"#),
        metadata: (
            &[r#"{"steps": [1, 2], "to": {}}"#, r#""{\"to\":{},\"steps\":[1,2]}""#],
            &[r#"{"to": {}, "steps": [1.0, 2]}"#],
        ),
    },
    Words { message: (r#""tock""#, "tock"), metadata: (&["{}"], &["not json"]) },
];

/// How a publisher writes nothing in particular: the number of the form.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    update: usize,
    entry: usize,
}

impl Form {
    pub const AGENTS: Self = Self { update: 0, entry: 0 };

    pub fn random(random: &mut StdRng) -> Self {
        Self { update: random.random_range(0..6), entry: random.random_range(0..6) }
    }
}

fn part<'a>(forms: &[&'a str], form: usize) -> Option<&'a str> {
    Some(forms[form % forms.len()]).filter(|text| !text.is_empty())
}

/// The message of a class that no words are there for says which it is.
fn numbered(class: usize) -> String {
    format!("step {class}")
}

/// An item of the list, as Python writes it.
pub fn update(class: usize, form: Form, time: Option<&str>) -> String {
    let (message, metadata) = match WORDS.get(class) {
        Some(words) => (words.message.0.to_owned(), part(words.metadata.0, form.update)),
        None => (Value::from(numbered(class)).to_string(), part(NOTHING.0, form.update)),
    };
    let mut text = format!(r#"{{"message": {message}, "update_type": "progress""#);
    for (name, value) in
        [("metadata", metadata.map(str::to_owned)), ("timestamp", time.map(quoted))]
    {
        if let Some(value) = value {
            text += &format!(r#", "{name}": {value}"#);
        }
    }
    text + "}"
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The fields of an entry. In the thread layout its type is always the same, in the task layout it is
/// the update's and the entry names the task.
pub fn entry(class: usize, form: Form, time: Option<&str>, task: Option<&str>) -> Fields {
    let (message, metadata) = match WORDS.get(class) {
        Some(words) => (words.message.1.to_owned(), part(words.metadata.1, form.entry)),
        None => (numbered(class), part(NOTHING.1, form.entry)),
    };
    let kind = if task.is_some() { "progress" } else { "thread_update" };
    let mut fields = vec![("update_type", kind.to_owned()), ("message", message)];
    let more = [("metadata", metadata), ("timestamp", time), ("task_id", task)];
    fields.extend(more.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))));
    fields
}
