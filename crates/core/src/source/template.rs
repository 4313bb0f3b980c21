//! Keys and ids of a source, each out of the other.
//!
//! `{name}` in a template is a variable, `{{` and `}}` are braces. Several variables make an id, in
//! the order in which they come, joined by ':', which none of them contains then. Without any there is
//! one stream, and its id is the source's name.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::ID_BYTES_MAX;

/// The longest template, in bytes.
const TEMPLATE_BYTES_MAX: usize = 512;
/// The most variables of one template.
const VARIABLES_MAX: usize = 8;
/// The longest pattern of a variable, in bytes,
const PATTERN_BYTES_MAX: usize = 256;
/// and what it may take in memory.
const PATTERN_MEMORY_BYTES_MAX: usize = 256 * 1024;

/// What joins several variables to an id.
const JOINT: char = ':';

/// The pattern of each variable where a source says nothing else.
pub(super) const PATTERN: &str = "[A-Za-z0-9_-]{1,128}";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The variable with this number.
    Variable(usize),
}

/// A text with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    parts: Vec<Part>,
    /// Their names, in the order in which they come first.
    variables: Vec<String>,
}

impl Parts {
    /// `known` are the only variables that there may be, if there are such.
    fn parse(text: &str, known: Option<&[String]>) -> Result<Self, String> {
        if text.is_empty() || text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("must have 1 to {TEMPLATE_BYTES_MAX} bytes"));
        }
        let mut parsed = Self { parts: Vec::new(), variables: known.unwrap_or_default().to_vec() };
        let (mut rest, mut plain) = (text, String::new());
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..];
            if brace.starts_with("{{") || brace.starts_with("}}") {
                plain.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let name = brace.strip_prefix('{').and_then(|behind| behind.split_once('}'));
            let Some((name, behind)) = name.filter(|(name, _)| is_name(name)) else {
                return Err("must have each '{' and '}' twice, or around the name of a variable, \
                            1 to 32 of a-z, 0-9 and _"
                    .to_owned());
            };
            if !plain.is_empty() {
                parsed.parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            let number = parsed.number(name, known.is_some())?;
            parsed.parts.push(Part::Variable(number));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parsed.parts.push(Part::Text(plain));
        }
        Ok(parsed)
    }

    fn number(&mut self, name: &str, all_known: bool) -> Result<usize, String> {
        if let Some(number) = self.variables.iter().position(|known| known == name) {
            return Ok(number);
        }
        if all_known {
            return Err(format!("has {{{name}}}, which is no variable of the source's key"));
        }
        if self.variables.len() == VARIABLES_MAX {
            return Err(format!("may have {VARIABLES_MAX} variables"));
        }
        self.variables.push(name.to_owned());
        Ok(self.variables.len() - 1)
    }

    fn fill(&self, id: &str) -> String {
        let values: Vec<&str> = match self.variables.len() {
            0 | 1 => vec![id],
            number => id.splitn(number, JOINT).collect(),
        };
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Variable(number) => values.get(*number).copied().unwrap_or_default().to_owned(),
        };
        self.parts.iter().map(part).collect()
    }
}

fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The template of the streams' keys.
pub(super) struct Template {
    written: String,
    parts: Parts,
    /// What each variable may be, whole.
    variable: Regex,
    /// What a key may be, with a group for each variable.
    key: Regex,
    /// The id where there are no variables.
    only: Box<str>,
}

impl Template {
    /// `pattern` is that of each variable; `only` the id where there is none.
    pub(super) fn new(text: &str, only: &str) -> Result<Self, String> {
        Self::with(Parts::parse(text, None)?, text, PATTERN, only)
    }

    /// The same with another pattern of each variable.
    pub(super) fn with_pattern(self, pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("must have 1 to {PATTERN_BYTES_MAX} bytes"));
        }
        Self::with(self.parts, &self.written, pattern, &self.only)
    }

    fn with(parts: Parts, written: &str, pattern: &str, only: &str) -> Result<Self, String> {
        // By itself first: within the whole, what is wrong with it would be another thing.
        regex(pattern)?;
        let variable = regex(&format!("^(?:{pattern})$"))?;
        let mut key = String::from("^");
        for (place, part) in parts.parts.iter().enumerate() {
            match part {
                Part::Text(text) => key.push_str(&regex::escape(text)),
                Part::Variable(number) => {
                    key.push_str(&format!("(?P<taskcast_{number}_{place}>{pattern})"));
                }
            }
        }
        let (key, only) = (regex(&format!("{key}$"))?, only.into());
        Ok(Self { written: written.to_owned(), parts, variable, key, only })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.written
    }

    pub(super) fn fill(&self, id: &str) -> String {
        self.parts.fill(id)
    }

    /// Whether a text is the id of a task.
    pub(super) fn has(&self, id: &str) -> bool {
        let is_value = |value: &str| self.variable.is_match(value.as_bytes());
        id.len() <= ID_BYTES_MAX
            && match self.parts.variables.len() {
                0 => id == &*self.only,
                1 => is_value(id),
                number => id.split(JOINT).count() == number && id.split(JOINT).all(is_value),
            }
    }

    /// The id of the task whose stream's key this is.
    pub(super) fn id_of(&self, key: &str) -> Option<String> {
        let found = self.key.captures(key.as_bytes())?;
        let mut values: Vec<Option<&[u8]>> = vec![None; self.parts.variables.len()];
        for (place, part) in self.parts.parts.iter().enumerate() {
            let Part::Variable(number) = part else { continue };
            let value = found.name(&format!("taskcast_{number}_{place}"))?.as_bytes();
            // A variable that comes twice is the same both times.
            if *values[*number].get_or_insert(value) != value {
                return None;
            }
        }
        let values: Option<Vec<&str>> =
            values.into_iter().map(|value| std::str::from_utf8(value?).ok()).collect();
        let id = match &values?[..] {
            [] => self.only.to_string(),
            values => values.join(&JOINT.to_string()),
        };
        (self.has(&id) && self.fill(&id) == key).then_some(id)
    }

    /// A template of the same variables.
    fn of_same_variables(&self, text: &str) -> Result<Parts, String> {
        Parts::parse(text, Some(&self.parts.variables))
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn regex(pattern: &str) -> Result<Regex, String> {
    let mut builder = RegexBuilder::new(pattern);
    // Ids are matched as bytes: what is a letter elsewhere is to be named.
    builder.unicode(false).size_limit(PATTERN_MEMORY_BYTES_MAX);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "is too large a pattern".to_owned(),
        // Its last line says what is wrong; those before show where, over several lines.
        error => {
            let text = error.to_string();
            let what = text.lines().last().unwrap_or_default();
            format!("is no regular expression: {}", what.trim_start_matches("error: "))
        }
    })
}

/// Where a task's status is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateKey {
    /// In the string under this key.
    String(String),
    /// In a field of the hash under this key.
    Field {
        /// The key.
        hash: String,
        /// The field.
        field: String,
    },
}

/// The template of the key that holds a task's status.
#[derive(Debug)]
pub(super) struct StateTemplate {
    key: Parts,
    /// The field, where the key holds a hash.
    field: Option<Parts>,
}

impl StateTemplate {
    pub(super) fn new(template: &Template, key: &str, field: Option<&str>) -> Result<Self, String> {
        let parts = |text| template.of_same_variables(text);
        Ok(Self { key: parts(key)?, field: field.map(parts).transpose()? })
    }

    pub(super) fn fill(&self, id: &str) -> StateKey {
        let key = self.key.fill(id);
        match &self.field {
            None => StateKey::String(key),
            Some(field) => StateKey::Field { hash: key, field: field.fill(id) },
        }
    }
}
