//! Which task is followed.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use taskcast_core::id::{InvalidThreadId, ThreadId};
use taskcast_core::source::{AGENT, ID_BYTES_MAX, check_name};

/// What stands for itself in a path.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// A task of a server: one of the agent's, by its thread id, or one of another source, by the name of
/// that and the task's id there. As text it is `THREAD_ID`, or `SOURCE:ID`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Task {
    /// None is the agent's.
    source: Option<String>,
    id: String,
}

impl Task {
    /// A task of a source, as `[[source]]` in the server's configuration names it; `sre` is the agent's.
    ///
    /// # Errors
    /// There can be no source of that name, or no task of that id in it.
    pub fn of(source: &str, id: &str) -> Result<Self, InvalidTask> {
        if source == AGENT {
            return id.parse::<ThreadId>().map(Self::from).map_err(|_| InvalidTask::ThreadId);
        }
        check_name(source).map_err(InvalidTask::Source)?;
        if !(1..=ID_BYTES_MAX).contains(&id.len()) {
            return Err(InvalidTask::Id);
        }
        Ok(Self { source: Some(source.to_owned()), id: id.to_owned() })
    }

    /// The name of its source; none is the agent's.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Its id: the thread's, or that in its source.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its path has behind `/api/v1/ws/`.
    pub(super) fn path(&self) -> String {
        let source = self.source().unwrap_or("tasks");
        format!("{source}/{}", utf8_percent_encode(&self.id, ESCAPED))
    }
}

impl From<ThreadId> for Task {
    fn from(thread: ThreadId) -> Self {
        let source = thread.source_name().map(str::to_owned);
        Self { source, id: thread.as_str().to_owned() }
    }
}

impl FromStr for Task {
    type Err = InvalidTask;

    fn from_str(text: &str) -> Result<Self, InvalidTask> {
        // What stands before the first ':' is a source: no thread id has one.
        let (source, id) = text.split_once(':').unwrap_or((AGENT, text));
        Self::of(source, id)
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}:")?;
        }
        f.write_str(&self.id)
    }
}

/// There can be no such task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTask {
    /// The text is no thread id of the agent's.
    ThreadId,
    /// The text is no name of a source: what such a name must be.
    Source(String),
    /// The id of a task in a source is empty, or too long.
    Id,
}

impl fmt::Display for InvalidTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThreadId => InvalidThreadId.fmt(f),
            Self::Source(problem) => write!(f, "a source's name {problem}"),
            Self::Id => write!(f, "a task's id is 1 to {ID_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for InvalidTask {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_reads_and_prints_with_its_source_before_it() {
        for (text, source, id, path) in [
            ("01JX-a_b", None, "01JX-a_b", "tasks/01JX-a_b"),
            ("sre:01JX", None, "01JX", "tasks/01JX"),
            ("jobs:q:1", Some("jobs"), "q:1", "jobs/q:1"),
            ("a-b_1:x/y?z%ü", Some("a-b_1"), "x/y?z%ü", "a-b_1/x%2Fy%3Fz%25%C3%BC"),
        ] {
            let task: Task = text.parse().unwrap();
            assert_eq!((task.source(), task.id()), (source, id));
            assert_eq!(task.path(), path);
            assert_eq!(task.to_string(), text.trim_start_matches("sre:"));
        }
    }

    #[test]
    fn what_can_be_no_task_is_told() {
        let long = format!("jobs:{}", "x".repeat(ID_BYTES_MAX + 1));
        for (text, problem) in [
            ("", "a thread id is"),
            ("a b", "a thread id is"),
            ("sre:a:b", "a thread id is"),
            (":x", "a source's name must be"),
            ("Jobs:x", "a source's name must be"),
            ("../x:y", "a source's name must be"),
            ("tasks:x", "a source's name may not be"),
            ("jobs:", "a task's id is"),
            (&long, "a task's id is"),
        ] {
            let told = text.parse::<Task>().unwrap_err().to_string();
            assert!(told.starts_with(problem), "{text}: {told}");
        }
    }
}
