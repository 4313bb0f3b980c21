//! The manager of streams: publishes any event, and says what a stream is like.

use serde::Serialize;

use super::event::{Moment, event};
use super::json::Fields;
use super::threads::id;
use crate::id::{StreamId, ThreadId};
use crate::log::{IdempotencyKey, Log, LogError, Publication, SnapshotWants, StreamFacts};

/// An event may have that many fields: the publish script hands them to Redis in one call, and Lua
/// takes fewer than 8,000 names and values there.
const EVENT_FIELDS_MAX: usize = 1_000;

/// Publishes events of any kind to the streams of tasks. Cheap to clone.
#[derive(Clone)]
pub struct TaskStreamManager {
    log: Log,
    key: Option<IdempotencyKey>,
}

impl TaskStreamManager {
    /// A manager of the streams in this log.
    pub fn new(log: Log) -> Self {
        Self { log, key: None }
    }

    /// The same manager for an event that its caller may publish again, as by
    /// [`ThreadManager::with_idempotency_key`](super::ThreadManager::with_idempotency_key).
    #[must_use]
    pub fn with_idempotency_key(&self, key: IdempotencyKey) -> Self {
        Self { log: self.log.clone(), key: Some(key) }
    }

    /// Adds an event to a task's stream, which need not exist. `fields` serialises as an object;
    /// values that are not strings are JSON-encoded. `thread_id` and `update_type` in it are
    /// overridden; `timestamp` is now, unless it says otherwise.
    ///
    /// # Errors
    /// Each [`LogError`] but [`LogError::NotFound`]; nothing was written, unless it is
    /// [`LogError::Unknown`].
    pub async fn publish(
        &self,
        thread: &ThreadId,
        update_type: &str,
        fields: &(impl Serialize + ?Sized),
    ) -> Result<StreamId, LogError> {
        let refused = |why: String| LogError::Refused(why);
        let fields = Fields::of(fields)
            .map_err(|error| refused(format!("the event's fields are no JSON object: {error}")))?;
        let content = fields.iter().flat_map(|(name, value)| [name, value.get()]);
        let content: Vec<_> = [update_type].into_iter().chain(content).collect();
        let id = id(&self.key, &["event", thread.as_str()], &content);
        let timestamp = fields.string("timestamp").unwrap_or_else(|| Moment::now().iso8601());
        let mut event = event(thread, update_type, timestamp, []);
        let common = ["thread_id", "update_type", "timestamp"];
        event.extend(fields.into_pairs().filter(|(name, _)| !common.contains(&name.as_str())));
        if event.len() > EVENT_FIELDS_MAX {
            return Err(refused(format!("an event has at most {EVENT_FIELDS_MAX} fields")));
        }
        let publication = Publication { id, events: vec![event], ..Publication::default() };
        Ok(self.log.publish(thread, &publication).await?.stream_id)
    }

    /// What the stream of a task is like; an unknown task has an empty one.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn info(&self, thread: &ThreadId) -> Result<StreamFacts, LogError> {
        let wants = SnapshotWants::default();
        Ok(self.log.snapshot(thread, wants).await?.stream)
    }
}
