//! The state of a task as readers get it, out of either layout (protocol §2 and §4).

use std::collections::HashSet;
use std::fmt::Display;

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::json::{Fields, Json, json_or_string, json_string};
use crate::core::json::text;
use crate::id::{StreamId, ThreadId};
use crate::log::{Snapshot, State, TaskPart};

/// The state of a task; it serialises as the body of `GET /api/v1/tasks/{thread_id}`.
///
/// What should be JSON and is not is a JSON string; what is not UTF-8 has U+FFFD.
#[derive(Debug, Clone, Serialize)]
pub struct TaskState {
    /// The task.
    #[serde(serialize_with = "display")]
    pub thread_id: ThreadId,
    /// The status, which need not be one of [`Status`](super::Status).
    pub status: Option<String>,
    /// All updates that are kept, oldest first.
    pub updates: Vec<Json>,
    /// The result.
    pub result: Option<Json>,
    /// The error.
    pub error_message: Option<String>,
    /// When it was made, by whom, and what else its maker wrote.
    pub metadata: Fields,
    /// What its worker was told.
    pub context: Fields,
    /// The position in the stream that this state belongs to.
    #[serde(serialize_with = "display")]
    pub stream_id: StreamId,
    /// In the `task` layout: the newest task of the thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// In the `task` layout: what waits for approval, or `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_approval: Option<Json>,
    /// In the `task` layout: whether the task can go on after it was interrupted, or `null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume_supported: Option<Json>,
}

impl TaskState {
    pub(super) fn new(thread: &ThreadId, snapshot: Snapshot) -> Self {
        let mut state = snapshot.state.unwrap_or_default();
        // Each is let go as soon as it is converted: there may be much of it.
        let updates = std::mem::take(&mut state.updates).into_iter();
        let updates = updates.map(|json| json_or_string(&json)).collect();
        let result = state.result.take().map(|json| json_or_string(&json));
        let part = |name| state.task.as_ref().map(|task| json_field(task, name));
        Self {
            thread_id: thread.clone(),
            status: state.status.as_deref().map(|status| text(status).into_owned()),
            updates,
            result,
            error_message: state.error.as_deref().map(|error| text(error).into_owned()),
            metadata: metadata(&state),
            context: fields(&state.context, |name| name != "query"),
            stream_id: snapshot.stream.last_generated,
            task_id: state.task.as_ref().map(|task| text(&task.task_id).into_owned()),
            pending_approval: part("pending_approval"),
            resume_supported: part("resume_supported"),
        }
    }
}

/// The thread's metadata; in the `task` layout the task's own goes before it.
pub(super) fn metadata(state: &State) -> Fields {
    let own = state.task.as_ref().map_or(&[][..], |task| &task.metadata);
    let own = own.iter().filter(|(name, _)| !TASK_MEMBERS.contains(&name.as_ref()));
    let shadowed: HashSet<&Bytes> = own.clone().map(|(name, _)| name).collect();
    let thread = state.metadata.iter().filter(|(name, _)| !shadowed.contains(name));
    fields(thread.chain(own), |name| ["priority", "tags"].contains(&name))
}

/// Members of the state itself rather than of its metadata.
const TASK_MEMBERS: [&[u8]; 3] = [b"thread_id", b"pending_approval", b"resume_supported"];

/// A hash as a JSON object; the values of some fields may be JSON, the others are strings.
fn fields<'a>(
    hash: impl IntoIterator<Item = &'a (Bytes, Bytes)>,
    may_be_json: impl Fn(&str) -> bool,
) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in hash {
        let name = text(name);
        let json = may_be_json(&name);
        let value = if json { json_or_string(value) } else { json_string(&text(value)) };
        fields.push(name, value);
    }
    fields
}

fn json_field(task: &TaskPart, name: &str) -> Json {
    task.field(name).map_or_else(|| RawValue::NULL.to_owned(), |value| json_or_string(value))
}

pub(super) fn display<S: Serializer>(
    value: &impl Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
