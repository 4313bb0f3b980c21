//! A source: whose streams there are beside the agent's, under which keys, and what their entries
//! mean (protocol §2.2).
//!
//! A [`Source`] that exists is well-formed, and all that it may ask of an entry is bounded: its rules
//! in number, an entry's bytes by being looked at a fixed number of times.
//!
//! | file | what it owns |
//! |---|---|
//! | `definition` | what a definition says, and what may be wrong with it |
//! | `template` | keys and ids: each out of the other |
//! | `rules` | paths and conditions, and what they find in an entry |
//! | `payload` | the payload of an entry: how it is cut into items, and written as members |
//! | `sse` | the events of a text in the form of server-sent events |
//! | `meaning` | what an entry means: sent or not, of which type, an end or not |
//! | `words` | what a publisher's words for a status mean |

mod definition;
mod meaning;
pub(crate) mod payload;
mod rules;
mod sse;
mod template;
mod words;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use definition::{Definition, Form, Missing, Problem, Rule, StatePlace, check_name};
pub use meaning::{End, Meaning};
use rules::{Names, Rules};
pub use template::StateKey;
use template::Template;
pub use words::{STATUSES, Words};

use crate::id::{InvalidThreadId, ThreadId};

/// The name of the agent's source, which is built in.
pub const AGENT: &str = "sre";

/// How many of the newest entries are looked at for an end (protocol §3.2).
pub const ENTRIES_LOOKED_AT: u64 = 50;

/// The longest id of a task, in bytes.
pub const ID_BYTES_MAX: usize = 512;

/// Streams of one kind, and what their entries mean. Two are the same where their names are.
#[derive(Debug)]
pub struct Source {
    name: Box<str>,
    key: Template,
    state: Option<template::StateTemplate>,
    missing: Missing,
    /// The field of the payload, if there is one.
    field: Option<Box<str>>,
    form: Form,
    /// The top-level names that any rule looks for.
    names: Names,
    rules: Rules,
}

impl Source {
    /// Its name, which is a part of paths and frames.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its streams' keys look like, as it was written.
    pub fn key_template(&self) -> &str {
        self.key.as_str()
    }

    /// What is to be done about a stream that is not there.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Whether a text is the id of one of its tasks.
    pub fn has(&self, id: &str) -> bool {
        self.key.has(id)
    }

    /// The id of the task whose stream's key this is.
    pub fn id_of(&self, key: &str) -> Option<String> {
        self.key.id_of(key)
    }

    /// Whether any of its entries may be an end.
    pub fn has_ends(&self) -> bool {
        !self.rules.end.is_empty()
    }

    /// The key of a task's stream.
    pub fn stream_key(&self, id: &str) -> String {
        self.key.fill(id)
    }

    /// The key, or the field of one, that holds a task's status: what would have to be watched to
    /// learn of its changes.
    pub fn state_key(&self, id: &str) -> Option<StateKey> {
        Some(self.state.as_ref()?.fill(id))
    }
}

/// The sources beside the agent's. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources(Arc<[Arc<Source>]>);

/// Why there is no such task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoThread {
    /// There is no source of that name.
    UnknownSource,
    /// It has no task of that id.
    InvalidId,
}

impl Sources {
    /// These; of each name there is one.
    pub fn new(sources: Vec<Source>) -> Self {
        Self(sources.into_iter().map(Arc::new).collect())
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.0.iter()
    }

    /// The source of that name.
    pub fn find(&self, name: &str) -> Option<&Arc<Source>> {
        self.iter().find(|source| source.name() == name)
    }

    /// A task of a source; without one, and of [`AGENT`], of the agent's.
    ///
    /// # Errors
    /// There is no such source, or no such task in it.
    pub fn thread(&self, source: Option<&str>, id: &str) -> Result<ThreadId, NoThread> {
        let thread = match source.filter(|name| *name != AGENT) {
            None => id.parse(),
            Some(name) => ThreadId::of(self.find(name).ok_or(NoThread::UnknownSource)?, id),
        };
        thread.map_err(|InvalidThreadId| NoThread::InvalidId)
    }
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Source {}

impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PartialOrd for Source {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Source {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

#[cfg(test)]
mod tests;
