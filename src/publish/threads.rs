//! The manager of tasks: makes them, changes their state, reads it.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::event::{Event, Moment, error_set, result_set, status_change, thread_update};
use super::{ListedTask, NewTask, Status, TaskState, Update};
use crate::id::{StreamId, ThreadId};
use crate::log::{
    IdempotencyKey, Log, LogError, Publication, PublicationId, Snapshot, SnapshotWants, Write,
};

/// Makes tasks, changes their state and reads it. Cheap to clone.
///
/// Each change fails with [`LogError::NotFound`] where there is no such thread, and returns the
/// stream id of its event.
///
/// A change is made once, although it is sent to Redis again where an answer was lost. Where there
/// is no answer in time, it fails with [`LogError::Unknown`], which has the key to ask again with.
#[derive(Clone)]
pub struct ThreadManager {
    log: Log,
    key: Option<IdempotencyKey>,
    /// Whose publications are told apart from those of others under the same key.
    subject: Option<Arc<str>>,
}

impl ThreadManager {
    /// A manager of the tasks in this log.
    pub fn new(log: Log) -> Self {
        Self { log, key: None, subject: None }
    }

    /// The same manager for what this one publishes: what others publish under the same key is
    /// something else.
    #[must_use]
    pub fn of_subject(&self, subject: &str) -> Self {
        Self { subject: Some(subject.into()), ..self.clone() }
    }

    fn id(&self, path: &[&str], content: &[impl AsRef<str>]) -> PublicationId {
        let path: Vec<_> = path.iter().copied().chain(self.subject.as_deref()).collect();
        id(&self.key, &path, content)
    }

    /// The same manager for a change that its caller may ask for again: whatever has this key, of
    /// the same kind and to the same task, is done once within a day. Who asks again is answered the
    /// same; who asks for something else with it gets [`LogError::KeyUsed`].
    #[must_use]
    pub fn with_idempotency_key(&self, key: IdempotencyKey) -> Self {
        Self { key: Some(key), ..self.clone() }
    }

    /// Makes a task with the status `queued`.
    ///
    /// # Errors
    /// Each [`LogError`] but [`LogError::NotFound`]; nothing was written, unless it is
    /// [`LogError::Unknown`].
    pub async fn create(&self, task: NewTask) -> Result<ThreadId, LogError> {
        let thread = new_thread_id()?;
        let now = Moment::now();
        let publication = Publication {
            id: self.id(&["triage"], &task.content()),
            must_exist: false,
            writes: vec![
                Write::Status(Status::Queued.to_string()),
                Write::Metadata(task.metadata(now.iso8601())),
                Write::Context(task.into_context()),
                Write::Index(now.score()),
            ],
            events: vec![status_change(&thread, now, Status::Queued)],
        };
        Ok(self.log.publish(&thread, &publication).await?.thread)
    }

    /// Sets the status.
    ///
    /// # Errors
    /// Each [`LogError`]; nothing was written, unless it is [`LogError::Unknown`].
    pub async fn set_status(
        &self,
        thread: &ThreadId,
        status: Status,
    ) -> Result<StreamId, LogError> {
        let now = Moment::now();
        let id = self.id(&["status", thread.as_str()], &[status.as_str()]);
        let writes = vec![Write::Status(status.to_string())];
        self.change(id, thread, now, writes, vec![status_change(thread, now, status)]).await
    }

    /// Adds an update; the task keeps the newest 100.
    ///
    /// # Errors
    /// Each [`LogError`]; nothing was written, unless it is [`LogError::Unknown`].
    pub async fn add_update(
        &self,
        thread: &ThreadId,
        update: Update,
    ) -> Result<StreamId, LogError> {
        let now = Moment::now();
        let content = [&*update.message, &update.update_type, update.metadata.get()];
        let id = self.id(&["updates", thread.as_str()], &content);
        let kept = update.kept(&now.iso8601()).map_err(not_json)?;
        let event = thread_update(thread, now, &update);
        self.change(id, thread, now, vec![Write::Update(kept)], vec![event]).await
    }

    /// Sets the result, any JSON.
    ///
    /// # Errors
    /// Each [`LogError`]; nothing was written, unless it is [`LogError::Unknown`].
    pub async fn set_result(
        &self,
        thread: &ThreadId,
        result: &(impl Serialize + ?Sized),
    ) -> Result<StreamId, LogError> {
        let now = Moment::now();
        let result = to_raw_value(result).map_err(not_json)?;
        let id = self.id(&["result", thread.as_str()], &[result.get()]);
        let event = result_set(thread, now, result.get());
        let writes = vec![Write::Result(result.get().to_owned())];
        self.change(id, thread, now, writes, vec![event]).await
    }

    /// Sets the error, and with it the status `failed`.
    ///
    /// # Errors
    /// Each [`LogError`]; nothing was written, unless it is [`LogError::Unknown`].
    pub async fn set_error(
        &self,
        thread: &ThreadId,
        error_message: &str,
    ) -> Result<StreamId, LogError> {
        let now = Moment::now();
        let id = self.id(&["error", thread.as_str()], &[error_message]);
        let writes =
            vec![Write::Error(error_message.to_owned()), Write::Status(Status::Failed.to_string())];
        let events =
            vec![error_set(thread, now, error_message), status_change(thread, now, Status::Failed)];
        self.change(id, thread, now, writes, events).await
    }

    /// The state of a task, in either layout.
    ///
    /// # Errors
    /// Each [`LogError`].
    pub async fn state(&self, thread: &ThreadId) -> Result<TaskState, LogError> {
        let wants = SnapshotWants { updates_max: Some(u64::MAX), ..SnapshotWants::default() };
        shown(thread, self.log.snapshot(thread, wants).await?)
    }

    /// The same of a task whose state has at most so many bytes, about.
    ///
    /// [`LogError::TooLarge`] where it has more.
    pub(crate) async fn state_within(
        &self,
        thread: &ThreadId,
        bytes_max: u64,
    ) -> Result<TaskState, LogError> {
        let bytes_max = Some(bytes_max);
        let wants = SnapshotWants { updates_max: Some(u64::MAX), bytes_max, ..Default::default() };
        shown(thread, self.log.snapshot(thread, wants).await?)
    }

    /// The same of a task whose state is large: what may be of two instants, to hold up nobody.
    pub(crate) async fn large_state(&self, thread: &ThreadId) -> Result<TaskState, LogError> {
        shown(thread, self.log.large_state(thread).await?)
    }

    /// The tasks that changed last, newest first.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] and [`LogError::Refused`].
    pub async fn newest(&self, limit: u64) -> Result<Vec<ListedTask>, LogError> {
        let rows = self.log.newest_tasks(limit).await?;
        Ok(rows.into_iter().map(ListedTask::new).collect())
    }

    async fn change(
        &self,
        id: PublicationId,
        thread: &ThreadId,
        now: Moment,
        mut writes: Vec<Write>,
        events: Vec<Event>,
    ) -> Result<StreamId, LogError> {
        writes.push(Write::Metadata(vec![("updated_at".to_owned(), now.iso8601())]));
        writes.push(Write::Index(now.score()));
        let publication = Publication { id, must_exist: true, writes, events };
        Ok(self.log.publish(thread, &publication).await?.stream_id)
    }
}

/// The id of what is published: `path` is what is done to which task, as in the path of the API.
pub(super) fn id(
    key: &Option<IdempotencyKey>,
    path: &[&str],
    content: &[impl AsRef<str>],
) -> PublicationId {
    let key = key.clone().unwrap_or_else(IdempotencyKey::unique);
    PublicationId::new(key, path, content)
}

fn shown(thread: &ThreadId, snapshot: Snapshot) -> Result<TaskState, LogError> {
    if snapshot.thread_exists() {
        Ok(TaskState::new(thread, snapshot))
    } else {
        Err(LogError::NotFound)
    }
}

fn not_json(error: serde_json::Error) -> LogError {
    LogError::Refused(format!("the value does not serialise as JSON: {error}"))
}

/// A new id, a ULID: it sorts by the time of its making.
fn new_thread_id() -> Result<ThreadId, LogError> {
    let ulid = ulid::Ulid::generate().to_string();
    ulid.parse().map_err(|error| LogError::Refused(format!("a new id is none: {error}")))
}
