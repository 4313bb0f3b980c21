//! What a caller gives to publish: a new task, an update.

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::json::{Fields, Json, json_or_string};

/// The subject of a task is the beginning of its query, at most that long.
const SUBJECT_CHARS_MAX: usize = 80;

/// A task to be made.
#[derive(Debug, Clone, Default)]
pub struct NewTask {
    /// What is asked.
    pub query: String,
    /// Who asks.
    pub user_id: Option<String>,
    /// The session in which it is asked.
    pub session_id: Option<String>,
    /// Its urgency: a task with a greater one is more urgent.
    pub priority: i64,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Whatever else the task's worker is to know.
    pub context: Fields,
}

impl NewTask {
    /// A task that asks this and has nothing else.
    pub fn new(query: impl Into<String>) -> Self {
        Self { query: query.into(), ..Self::default() }
    }

    /// The query on one line, shortened.
    pub(super) fn subject(&self) -> String {
        let line = self.query.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(SUBJECT_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// All that it was given, to compare by.
    pub(super) fn content(&self) -> Vec<String> {
        let metadata = self.metadata(String::new()).into_iter();
        metadata
            .chain(self.clone().into_context())
            .flat_map(|(name, value)| [name, value])
            .collect()
    }

    /// The metadata hash of the new task.
    pub(super) fn metadata(&self, created_at: String) -> Vec<(String, String)> {
        let tags = serde_json::Value::from(self.tags.as_slice());
        let always = [
            ("created_at", created_at.clone()),
            ("updated_at", created_at),
            ("priority", self.priority.to_string()),
            ("tags", tags.to_string()),
            ("subject", self.subject()),
        ];
        let given = [("user_id", &self.user_id), ("session_id", &self.session_id)];
        let given = given.into_iter().filter_map(|(name, id)| Some((name, id.clone()?)));
        always.into_iter().chain(given).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The context hash of the new task.
    pub(super) fn into_context(self) -> Vec<(String, String)> {
        let query = ("query".to_owned(), self.query);
        let others = self.context.into_pairs().filter(|(name, _)| name != "query");
        std::iter::once(query).chain(others).collect()
    }
}

/// An update of a task.
#[derive(Debug, Clone)]
pub struct Update {
    /// What happened, for people.
    pub message: String,
    /// What kind of update it is: `progress`, `tool_call`, …
    pub update_type: String,
    /// What happened, for programs: a JSON object. `progress` (0 to 100), or `step` and
    /// `total_steps`, move the bars that viewers draw.
    pub metadata: Json,
}

impl Update {
    /// A `progress` update without metadata.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            update_type: "progress".to_owned(),
            metadata: json_or_string(b"{}"),
        }
    }

    /// The same update with another type.
    #[must_use]
    pub fn with_type(self, update_type: impl Into<String>) -> Self {
        Self { update_type: update_type.into(), ..self }
    }

    /// The same update with metadata.
    ///
    /// # Errors
    /// The metadata does not serialise.
    pub fn with_metadata(
        self,
        metadata: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        Ok(Self { metadata: to_raw_value(metadata)?, ..self })
    }

    /// The JSON object that the task's list of updates keeps (protocol §2).
    pub(super) fn kept(&self, timestamp: &str) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Kept<'a> {
            timestamp: &'a str,
            message: &'a str,
            update_type: &'a str,
            metadata: &'a Json,
        }
        serde_json::to_string(&Kept {
            timestamp,
            message: &self.message,
            update_type: &self.update_type,
            metadata: &self.metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_the_query_on_one_line_and_shortened() {
        let subject = |query: &str| NewTask::new(query).subject();
        assert_eq!(subject("  Why\n is  it slow? "), "Why is it slow?");
        assert_eq!(subject(&"ä".repeat(80)), "ä".repeat(80));
        assert_eq!(subject(&"ä".repeat(81)), format!("{}…", "ä".repeat(80)));
    }
}
