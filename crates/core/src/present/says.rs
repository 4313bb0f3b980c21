//! What a state says, and what an entry tells of one, as hashes.

use std::num::NonZeroU64;

use crate::entry::Entry;
use crate::hash;
use crate::id::StreamId;
use crate::json::text;
use crate::source::Words;
use crate::state::State;

/// A result of more bytes is compared as it is written.
const COMPARED_BYTES_MAX: usize = 64 * 1024;

/// Types of entries with which a turn ends, or stands still.
const ENDS: [&[u8]; 4] = [b"turn_complete", b"error", b"cancellation", b"awaiting_approval"];

/// What something says: very many topics hold some.
pub(super) type Hashed = NonZeroU64;

/// A part of a state that is told by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The status.
    Status,
    /// The result.
    Result,
    /// The error.
    Error,
}

/// What a state says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Says {
    task: Option<Hashed>,
    status: Option<Hashed>,
    result: Option<Hashed>,
    error: Option<Hashed>,
    /// What waits for approval, and whether it can go on.
    approval: Option<Hashed>,
}

/// What an entry tells of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tells {
    pub(super) part: Part,
    pub(super) value: Hashed,
    /// Of which task; none where the entry does not say.
    task: Option<Hashed>,
    /// It is what this entry is for. Others may mention a status.
    pub(super) changes: bool,
    pub(super) id: StreamId,
}

/// What an entry tells.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) task: Option<Hashed>,
    pub(super) ends_turn: bool,
    pub(super) tells: [Option<Tells>; 3],
}

impl Says {
    /// Of this state; `before` says what one with the same result said.
    pub(super) fn of(state: &State, before: Option<&Self>) -> Self {
        let field = |name| state.task.as_ref().and_then(|task| task.field(name));
        let approval = (field("pending_approval"), field("resume_supported"));
        Self {
            task: state.task.as_ref().map(|task| hash_of_text(&task.task_id)),
            status: state.status.as_deref().map(hash_of_text),
            result: match before {
                Some(before) => before.result,
                None => state.result.as_deref().map(hash_of_json),
            },
            error: state.error.as_deref().map(hash_of_text),
            approval: (approval != (None, None)).then(|| hashed(hash::of(&approval))),
        }
    }

    pub(super) fn has_status(&self, status: Option<&[u8]>) -> bool {
        self.status == status.map(hash_of_text)
    }

    pub(super) fn task(&self) -> Option<Hashed> {
        self.task
    }

    pub(super) fn value(&self, part: Part) -> Option<Hashed> {
        match part {
            Part::Status => self.status,
            Part::Result => self.result,
            Part::Error => self.error,
        }
    }

    /// Whether it says the same of a part, of the same task.
    pub(super) fn says_as(&self, part: Part, other: &Self) -> bool {
        self.value(part) == other.value(part) && self.task == other.task
    }
}

impl Tells {
    /// Whether a state says just that.
    pub(super) fn is_as(&self, says: &Says) -> bool {
        // What another task of the thread tells of itself says nothing of this one.
        !self.may_be_of(says) || says.value(self.part) == Some(self.value)
    }

    pub(super) fn may_be_of(&self, says: &Says) -> bool {
        self.task.is_none() || says.task.is_none() || self.task == says.task
    }

    /// Whether another entry tells just the same.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        Self { id: other.id, ..*self } == *other
    }
}

/// What an entry tells: any `status`, and what `result_set` and `error_set` set. Of a name that repeats
/// the last value counts.
pub(super) fn tells_of(entry: &Entry, words: &Words) -> Found {
    let mut found = Found::default();
    let (mut kind, mut status, mut result, mut error) = (None, None, None, None);
    for (name, value) in &entry.fields {
        let kept = match name.as_ref() {
            b"update_type" => &mut kind,
            b"status" => &mut status,
            b"result" => &mut result,
            b"error_message" => &mut error,
            b"task_id" => {
                found.task = Some(hash_of_text(value));
                continue;
            }
            _ => continue,
        };
        *kept = Some(value);
    }
    let kind = kind.map_or(&b""[..], AsRef::as_ref);
    let (task, id) = (found.task, entry.id);
    let tells = |part, value: Hashed, changes| Some(Tells { part, value, task, changes, id });
    if let Some(status) = status {
        let status = words.status(status.clone());
        found.tells[0] = tells(Part::Status, hash_of_text(&status), kind == b"status_change");
    }
    match kind {
        b"result_set" => {
            found.tells[1] =
                result.and_then(|value| tells(Part::Result, hash_of_json(value), true));
        }
        b"error_set" => {
            found.tells[2] = error.and_then(|value| tells(Part::Error, hash_of_text(value), true));
        }
        _ => found.ends_turn = ENDS.contains(&kind),
    }
    found
}

fn hash_of_text(bytes: &[u8]) -> Hashed {
    hashed(hash::of(&*text(bytes)))
}

/// The same for what is the same JSON value, however it is written, unless it is large.
fn hash_of_json(bytes: &[u8]) -> Hashed {
    let is_small = bytes.len() <= COMPARED_BYTES_MAX;
    let value = is_small.then(|| serde_json::from_slice(bytes).ok()).flatten();
    hashed(value.map_or_else(|| hash::of(bytes), |value| hash::of_json(&value)))
}

fn hashed(hash: u64) -> Hashed {
    Hashed::new(hash).unwrap_or(Hashed::MIN)
}
