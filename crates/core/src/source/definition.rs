//! What a definition of a source says, as it was written, and what may be wrong with it.

use std::fmt;

use super::rules::{Names, Rules};
use super::template::{StateTemplate, Template};
use super::{AGENT, Source};

/// What stands beside sources in the paths of the API.
const TAKEN: [&str; 5] = ["tasks", "threads", "triage", "ws", "revocations"];
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 32;
/// The longest that may be waited for a stream that is not there, in seconds.
const WAIT_SECONDS_MAX: u64 = 3_600;

/// How an entry is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Form {
    /// Its fields are what it says.
    #[default]
    Fields,
    /// One JSON text in a field.
    Json,
    /// A text in a field.
    Text,
    /// A JSON text in each line of a field.
    Ndjson,
    /// Server-sent events in a field.
    Sse,
    /// Bytes in a field.
    Base64,
}

impl Form {
    /// Each form with its name.
    pub const NAMES: [(&str, Self); 6] = [
        ("fields", Self::Fields),
        ("json", Self::Json),
        ("text", Self::Text),
        ("ndjson", Self::Ndjson),
        ("sse", Self::Sse),
        ("base64", Self::Base64),
    ];
}

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rule {
    /// There is a field, or a top-level member, of that name.
    Has(String),
    /// The value at a path, as text, is one of these.
    In {
        /// Names with dots between them.
        path: String,
        /// The values.
        values: Vec<String>,
    },
    /// The payload, a line of it or an event's data is just this.
    Text(String),
}

/// Where a task's status is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatePlace {
    /// The template of the key.
    pub key: String,
    /// The field, where it holds a hash, and no string.
    pub field: Option<String>,
}

/// What is to be done where neither a task's stream nor its state is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Missing {
    /// There is no such task.
    #[default]
    NotFound,
    /// So many seconds are waited for the stream.
    Wait(u64),
}

/// A source as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Definition {
    /// The name.
    pub name: String,
    /// The template of the keys.
    pub key: String,
    /// The pattern of each variable in it; none is the usual one.
    pub id: Option<String>,
    /// The field with the payload.
    pub field: Option<String>,
    /// How an entry is read.
    pub form: Form,
    /// Paths of what gives an entry's type; the first that exists does.
    pub types: Vec<String>,
    /// Which entries are not sent.
    pub skip: Vec<Rule>,
    /// Which entries end the task.
    pub end: Vec<Rule>,
    /// Which ends are failures.
    pub failed: Vec<Rule>,
    /// What follows an end takes it back.
    pub end_only_if_last: bool,
    /// Where the status is.
    pub state: Option<StatePlace>,
    /// What is to be done where there is nothing.
    pub missing: Missing,
}

/// What is wrong with a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key of the definition.
    pub key: &'static str,
    /// What is wrong with its value.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.what)
    }
}

impl std::error::Error for Problem {}

/// Names the key of which something is wrong.
fn of<T>(key: &'static str, result: Result<T, String>) -> Result<T, Problem> {
    result.map_err(|what| Problem { key, what })
}

impl Source {
    /// The source that a definition describes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn new(definition: Definition) -> Result<Self, Problem> {
        let Definition { name, key, id, field, form, types, .. } = definition;
        of("name", check_name(&name))?;
        let mut template = of("key", Template::new(&key, &name))?;
        if let Some(pattern) = &id {
            template = of("id", template.with_pattern(pattern))?;
        }
        of("entry", check_entry(form, field.as_deref()))?;
        let mut names = Names::default();
        let rules = Rules {
            types: of("type", names.paths(&types))?,
            skip: of("skip", names.conditions(&definition.skip, form))?,
            end: of("end", names.conditions(&definition.end, form))?,
            failed: of("failed", names.conditions(&definition.failed, form))?,
            only_if_last: definition.end_only_if_last,
        };
        if rules.end.is_empty() && !rules.failed.is_empty() {
            let what = "says which ends are failures, and there is no end".to_owned();
            return Err(Problem { key: "failed", what });
        }
        if rules.end.is_empty() && rules.only_if_last {
            let what = "says when an end counts, and there is no end".to_owned();
            return Err(Problem { key: "end_only_if_last", what });
        }
        let place = definition.state.as_ref();
        let state =
            |place: &StatePlace| StateTemplate::new(&template, &place.key, place.field.as_deref());
        let state = of("state", place.map(state).transpose())?;
        if let Missing::Wait(seconds) = definition.missing
            && !(1..=WAIT_SECONDS_MAX).contains(&seconds)
        {
            let what = format!("must wait 1 to {WAIT_SECONDS_MAX} s");
            return Err(Problem { key: "missing", what });
        }
        Ok(Self {
            name: name.into(),
            key: template,
            state,
            missing: definition.missing,
            field: field.map(String::into_boxed_str),
            form,
            names,
            rules,
        })
    }
}

/// Whether a source other than the agent's may have this name.
///
/// # Errors
/// Says what a name must be.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_of_them = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b);
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_of_them) {
        return Err(format!("must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, _ and -"));
    }
    if name == AGENT {
        return Err(format!(
            "may not be {AGENT}: that is the agent's, of which only status is set"
        ));
    }
    if TAKEN.contains(&name) {
        return Err(format!("may not be one of {}", TAKEN.join(", ")));
    }
    Ok(())
}

fn check_entry(form: Form, field: Option<&str>) -> Result<(), String> {
    match (form, field) {
        (Form::Fields, Some(_)) => Err("as = \"fields\" has no field".to_owned()),
        (Form::Fields, None) => Ok(()),
        (_, None | Some("")) => Err("must name the field with the payload".to_owned()),
        (_, Some(_)) => Ok(()),
    }
}
