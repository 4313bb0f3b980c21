//! One task in memory: its state in the `thread` layout and its stream.
//!
//! Knows no other task and no clock.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::stream::Stream;
use crate::log::{State, Write};

/// How many updates a task keeps, as in Redis (protocol §2).
const UPDATES_MAX: usize = 100;
/// What an empty task costs, roughly: this struct, its id, its places in the maps.
const TASK_OVERHEAD_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Task {
    pub(super) stream: Option<Stream>,
    /// The score in the index, in seconds; none where the task is not listed.
    pub(super) score: Option<f64>,
    status: Option<Bytes>,
    /// Oldest first.
    updates: VecDeque<Bytes>,
    result: Option<Bytes>,
    error: Option<Bytes>,
    metadata: Hash,
    context: Hash,
}

type Hash = BTreeMap<Bytes, Bytes>;

impl Task {
    /// Does one change of the state.
    pub(super) fn apply(&mut self, write: &Write) {
        let bytes = |text: &String| Bytes::from(text.clone());
        match write {
            Write::Status(status) => self.status = Some(bytes(status)),
            Write::Update(json) => {
                self.updates.push_back(bytes(json));
                if self.updates.len() > UPDATES_MAX {
                    self.updates.pop_front();
                }
            }
            Write::Result(json) => self.result = Some(bytes(json)),
            Write::Error(text) => self.error = Some(bytes(text)),
            Write::Metadata(fields) => set_fields(&mut self.metadata, fields),
            Write::Context(fields) => set_fields(&mut self.context, fields),
            Write::Index(score) => self.score = Some(*score),
        }
    }

    /// Whether the thread exists: by its status, its metadata or its stream (protocol §2).
    pub(super) fn exists(&self) -> bool {
        self.has_state() || self.stream.is_some()
    }

    fn has_state(&self) -> bool {
        self.status.is_some() || !self.metadata.is_empty()
    }

    /// The state with that many of the newest updates; with metadata and context where it is to be
    /// whole.
    pub(super) fn state(&self, updates_max: u64) -> Option<State> {
        if !self.has_state() {
            return None;
        }
        let updates_total = self.updates.len() as u64;
        let skipped = updates_total.saturating_sub(updates_max) as usize;
        let whole = |hash: &Hash| {
            let fields = hash.clone().into_iter();
            if updates_max == u64::MAX { fields.collect() } else { Vec::new() }
        };
        Some(State {
            status: self.status.clone(),
            updates: self.updates.iter().skip(skipped).cloned().collect(),
            updates_total,
            result: self.result.clone(),
            error: self.error.clone(),
            metadata: whole(&self.metadata),
            context: whole(&self.context),
            task: None,
        })
    }

    /// What a row of the list of tasks shows of the state, with that many of the newest updates.
    pub(super) fn row(&self, updates_max: u64) -> Option<State> {
        let State { status, updates, .. } = self.state(updates_max)?;
        let mut metadata: Vec<_> = self.metadata.clone().into_iter().collect();
        metadata.retain(|(name, _)| [&b"created_at"[..], b"subject"].contains(&name.as_ref()));
        Some(State { status, updates, metadata, ..State::default() })
    }

    /// Whether nothing more is expected of the task.
    pub(super) fn finished(&self) -> bool {
        let status = self.status.as_deref().unwrap_or_default();
        [&b"done"[..], b"completed", b"failed", b"cancelled"].contains(&status)
    }

    /// About how much memory the task takes.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.status, &self.result, &self.error];
        let fields = self.metadata.iter().chain(&self.context);
        TASK_OVERHEAD_BYTES
            + self.stream.as_ref().map_or(0, Stream::bytes)
            + texts.into_iter().flatten().map(|text| text.len()).sum::<usize>()
            + self.updates.iter().map(|json| size_of::<Bytes>() + json.len()).sum::<usize>()
            + fields
                .map(|(name, value)| 2 * size_of::<Bytes>() + name.len() + value.len())
                .sum::<usize>()
    }

    /// Drops the oldest entries, then the oldest updates, until the task takes at most that much,
    /// or nothing is left that may go.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        while self.bytes() > bytes_max {
            let dropped = self.stream.as_mut().is_some_and(Stream::drop_oldest)
                || self.updates.pop_front().is_some();
            if !dropped {
                return;
            }
        }
    }
}

fn set_fields(hash: &mut Hash, fields: &[(String, String)]) {
    hash.extend(fields.iter().map(|(name, value)| (name.clone().into(), value.clone().into())));
}
