//! The tables `[[source]]` of a file: whose streams are served beside the agent's, and the words that
//! the agent has for its statuses (protocol §2.2).

use std::fmt::Write as _;

use toml::Spanned;
use toml::de::DeValue;

use super::tables::{Table, Value, Wrong, shown};
use crate::core::source::{
    AGENT, Definition, Form, Missing, Rule, Source, Sources, StatePlace, Words,
};

/// The most tables.
const SOURCES_MAX: usize = 64;

/// The name of the tables, and of a key that there is for nothing else.
pub(super) const NAME: &str = "source";

const KEYS: [&str; 12] = [
    "name",
    "key",
    "id",
    "entry",
    "type",
    "skip",
    "end",
    "failed",
    "end_only_if_last",
    "state",
    "missing",
    "status",
];

/// What the tables say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceTables {
    /// The sources beside the agent's.
    pub sources: Sources,
    /// What the agent's words for a status mean.
    pub words: Words,
    /// The tables, as a file has them.
    written: String,
}

impl SourceTables {
    /// The tables, as a file has them.
    pub(super) fn to_toml(&self) -> &str {
        &self.written
    }

    /// Reads what a file has under the name `source`.
    pub(super) fn read(given: &Value<'_>) -> Result<Self, Wrong> {
        let at = given.span().start;
        let tables = match given.get_ref() {
            DeValue::Array(tables) => tables,
            _ => return Err((at, "write [[source]], with two brackets".to_owned())),
        };
        let (mut sources, mut words): (Vec<Source>, _) = (Vec::new(), None);
        let mut written = String::new();
        for given in tables {
            let at = given.span().start;
            let DeValue::Table(table) = given.get_ref() else {
                return Err((at, "write [[source]], a table".to_owned()));
            };
            let source = Table { at, table, name: "a source" };
            let name = source.text("name")?.unwrap_or_default();
            let source = Table { name: &format!("source {name:?}"), ..source };
            source.check_keys(&KEYS)?;
            if sources.len() == SOURCES_MAX {
                return Err(source.wrong("name", format!("one more than {SOURCES_MAX} sources")));
            }
            let twice = sources.iter().any(|known| known.name() == name);
            if twice || (name == AGENT && words.is_some()) {
                return Err(source.wrong("name", "is there twice"));
            }
            if name == AGENT {
                words = Some(source.agents_words()?);
            } else {
                sources.push(source.source(name)?);
            }
            // Writing to a String does not fail.
            _ = write!(written, "\n[[source]]\n{}", shown(table, &KEYS, &[]));
        }
        let (sources, words) = (Sources::new(sources), words.unwrap_or_default());
        Ok(Self { sources, words, written })
    }
}

impl<'a> Table<'a> {
    fn source(self, name: String) -> Result<Source, Wrong> {
        if self.find("status").is_some() {
            let what = format!("is for {AGENT} only: others tell it by state");
            return Err(self.wrong("status", what));
        }
        let (form, field) = self.entry()?;
        let definition = Definition {
            name,
            key: self.text("key")?.unwrap_or_default(),
            id: self.text("id")?,
            field,
            form,
            types: self.texts("type")?,
            skip: self.rules("skip")?,
            end: self.rules("end")?,
            failed: self.rules("failed")?,
            end_only_if_last: self.yes("end_only_if_last")?,
            state: self.state()?,
            missing: self.missing()?,
        };
        Source::new(definition).map_err(|problem| self.wrong(problem.key, problem.what))
    }

    fn agents_words(self) -> Result<Words, Wrong> {
        let others = KEYS.iter().filter(|key| !["name", "status"].contains(key));
        for key in others {
            if self.find(key).is_some() {
                return Err(self.wrong(key, "is built in: only status is set of the agent's"));
            }
        }
        let Some(words) = self.inner("status")? else { return Ok(Words::default()) };
        let texts: Vec<(&str, String)> = words
            .table
            .iter()
            .map(|(word, _)| {
                Ok((&**word.get_ref(), words.text(word.get_ref())?.unwrap_or_default()))
            })
            .collect::<Result<_, Wrong>>()?;
        let words = Words::new(texts.iter().map(|(word, status)| (*word, status.as_str())));
        words.map_err(|what| self.wrong("status", what))
    }

    fn entry(self) -> Result<(Form, Option<String>), Wrong> {
        let Some(entry) = self.inner("entry")? else { return Ok(Default::default()) };
        entry.check_keys(&["field", "as"])?;
        let form = match entry.text("as")? {
            None => Form::default(),
            Some(word) => match Form::NAMES.iter().find(|(name, _)| *name == word) {
                Some((_, form)) => *form,
                None => {
                    let names = Form::NAMES.map(|(name, _)| name).join(", ");
                    return Err(entry.wrong("as", format!("must be one of {names}")));
                }
            },
        };
        Ok((form, entry.text("field")?))
    }

    fn state(self) -> Result<Option<StatePlace>, Wrong> {
        let Some(state) = self.inner("state")? else { return Ok(None) };
        state.check_keys(&["string", "hash", "field"])?;
        match (state.text("string")?, state.text("hash")?, state.text("field")?) {
            (Some(key), None, None) => Ok(Some(StatePlace { key, field: None })),
            (None, Some(key), Some(field)) => Ok(Some(StatePlace { key, field: Some(field) })),
            _ => Err(self.wrong("state", "must be { string = … } or { hash = …, field = … }")),
        }
    }

    fn missing(self) -> Result<Missing, Wrong> {
        let what = "must be \"not_found\" or { wait_s = SECONDS }";
        match self.find("missing").map(Spanned::get_ref) {
            None => Ok(Missing::default()),
            Some(DeValue::String(text)) if text == "not_found" => Ok(Missing::NotFound),
            Some(DeValue::Table(_)) => {
                let Some(missing) = self.inner("missing")? else { return Ok(Missing::default()) };
                missing.check_keys(&["wait_s"])?;
                let seconds = missing.find("wait_s").map(Spanned::get_ref);
                let seconds = match seconds {
                    Some(DeValue::Integer(number)) => number.as_str().parse().ok(),
                    _ => None,
                };
                seconds.map(Missing::Wait).ok_or_else(|| self.wrong("missing", what))
            }
            Some(_) => Err(self.wrong("missing", what)),
        }
    }

    fn rules(self, key: &str) -> Result<Vec<Rule>, Wrong> {
        let form = "must be a list of { has = … }, { path = …, in = […] } and { text = … }";
        let Some(given) = self.find(key) else { return Ok(Vec::new()) };
        let DeValue::Array(rules) = given.get_ref() else { return Err(self.wrong(key, form)) };
        let rule = |given: &'a Value<'a>| {
            let DeValue::Table(table) = given.get_ref() else { return Err(self.wrong(key, form)) };
            let name = format!("{}, {key}", self.name);
            let rule = Table { at: given.span().start, table, name: &name };
            rule.check_keys(&["has", "path", "in", "text"])?;
            let values = rule.find("in").map(|_| rule.texts("in")).transpose()?;
            match (rule.text("has")?, rule.text("path")?, values, rule.text("text")?) {
                (Some(name), None, None, None) => Ok(Rule::Has(name)),
                (None, Some(path), Some(values), None) => Ok(Rule::In { path, values }),
                (None, None, None, Some(text)) => Ok(Rule::Text(text)),
                _ => Err((rule.at, format!("{}: {key} {form}", self.name))),
            }
        };
        rules.iter().map(rule).collect()
    }
}

#[cfg(test)]
mod tests;
