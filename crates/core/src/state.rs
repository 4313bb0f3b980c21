//! The state of a task, as its keys hold it.

use bytes::Bytes;

/// The state of a task, from either layout (protocol §2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The status, as it was read; none where no key holds one.
    pub status: Option<Bytes>,
    /// Updates as JSON texts, oldest first: those the read asked for, the newest at most.
    pub updates: Vec<Bytes>,
    /// How many updates are kept in all.
    pub updates_total: u64,
    /// The result, a JSON text.
    pub result: Option<Bytes>,
    /// The error, plain text.
    pub error: Option<Bytes>,
    /// The metadata hash.
    pub metadata: Vec<(Bytes, Bytes)>,
    /// The context hash.
    pub context: Vec<(Bytes, Bytes)>,
    /// In the `task` layout: the newest task and the hash `sre:task:{task_id}:metadata`.
    pub task: Option<TaskPart>,
}

impl State {
    /// The size of all that it holds, in bytes.
    pub fn bytes_len(&self) -> usize {
        let pairs = |pairs: &[(Bytes, Bytes)]| -> usize {
            pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
        };
        let texts = [&self.status, &self.result, &self.error];
        texts.into_iter().flatten().map(Bytes::len).sum::<usize>()
            + self.updates.iter().map(Bytes::len).sum::<usize>()
            + pairs(&self.metadata)
            + pairs(&self.context)
            + self.task.as_ref().map_or(0, |task| pairs(&task.metadata))
    }
}

/// What only the `task` layout has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskPart {
    /// The newest member of `sre:thread:{id}:tasks`.
    pub task_id: Bytes,
    /// The hash `sre:task:{task_id}:metadata`.
    pub metadata: Vec<(Bytes, Bytes)>,
}

impl TaskPart {
    /// A field of the task's metadata; an empty one is none.
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        let (_, value) = self.metadata.iter().find(|(key, _)| key.as_ref() == name.as_bytes())?;
        (!value.is_empty()).then_some(value)
    }
}
