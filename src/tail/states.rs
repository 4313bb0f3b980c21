//! Seeing that a task is something else now: the one key with its status and the list of the thread's
//! tasks are looked at once for each topic, and then when Redis tells that they changed; where it does
//! not tell, again and again, at a pace that is bounded in all. What is seen only makes a reading
//! (`src/readings.rs`) come; nothing that changes with each update is looked at.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexSet;

use super::Tail;
use crate::core::hash;
use crate::core::source::StateKey;
use crate::log::LogError;
use crate::log::source::Source;
use crate::log::tail::{HintMode, StateKeys, StateSeen};
use crate::readings;
use crate::shared::Shared;
use crate::topic::Topic;

/// So many topics are looked at together.
const TOGETHER_MAX: usize = 128;

/// Without hints a part of the topics is looked at so often, at most [`POLLED_MAX`] of them,
pub(super) const POLL: Duration = Duration::from_millis(100);
const POLLED_MAX: usize = 1_000;
/// and each in about so many parts.
const POLL_PARTS: usize = 9;

/// Which topics are to be looked at, and whose keys are whose.
#[derive(Default)]
pub(super) struct States {
    /// Streams by the keys of their states, which are hashed: there are two for each topic.
    streams: HashMap<u64, Streams>,
    /// Streams whose states are to be looked at. Bounded by those that are watched.
    due: IndexSet<Bytes>,
    polled_to: usize,
}

/// Whose state's key it is.
enum Streams {
    One(Bytes),
    /// Some publishers have one hash for all.
    Many(Vec<Bytes>),
}

/// What was seen of a topic's state: where, and what.
#[derive(Default)]
pub(super) struct Seen {
    keys: Option<[u64; 2]>,
    hash: Option<u64>,
}

impl States {
    pub(super) fn is_due(&mut self, stream: Bytes) {
        self.due.insert(stream);
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Redis tells of a key. Whether it is that of a state, which is to be looked at then.
    pub(super) fn told(&mut self, key: &Bytes) -> bool {
        match self.streams.get(&hash::of(key)) {
            Some(Streams::One(stream)) => _ = self.due.insert(stream.clone()),
            Some(Streams::Many(streams)) => self.due.extend(streams.iter().cloned()),
            None => return false,
        }
        true
    }

    /// A stream is watched no more.
    pub(super) fn forget(&mut self, stream: &Bytes, seen: &mut Seen) {
        self.due.swap_remove(stream);
        for key in seen.keys.take().into_iter().flatten() {
            let is_last = match self.streams.get_mut(&key) {
                Some(Streams::One(known)) => known == stream,
                Some(Streams::Many(streams)) => {
                    streams.retain(|known| known != stream);
                    streams.is_empty()
                }
                None => false,
            };
            if is_last {
                self.streams.remove(&key);
            }
        }
    }

    fn remember(&mut self, key: u64, stream: &Bytes) {
        match self.streams.entry(key) {
            Entry::Vacant(vacant) => _ = vacant.insert(Streams::One(stream.clone())),
            Entry::Occupied(mut known) => match known.get_mut() {
                Streams::One(one) if one == stream => {}
                Streams::One(one) => {
                    let both = vec![one.clone(), stream.clone()];
                    known.insert(Streams::Many(both));
                }
                Streams::Many(streams) if streams.contains(stream) => {}
                Streams::Many(streams) => streams.push(stream.clone()),
            },
        }
    }

    fn take_due(&mut self) -> Vec<Bytes> {
        let from = self.due.len().saturating_sub(TOGETHER_MAX);
        self.due.split_off(from).into_iter().collect()
    }
}

/// Where it is seen that what a task is now may have changed; none where a source does not say, or as long
/// as it is not known whose keys those are.
fn keys_of(shared: &Shared, topic: &Topic) -> Option<StateKeys> {
    let id = topic.thread.as_str();
    if let Some(source) = topic.thread.source() {
        let (status, field) = match source.state_key(id)? {
            StateKey::String(key) => (key, None),
            StateKey::Field { hash, field } => (hash, Some(field.into())),
        };
        return Some(StateKeys { status: status.into(), field, tasks: None });
    }
    let task_id = topic.recent.lock().log.as_ref()?.present().task_id().cloned();
    let prefix = shared.config.keys.prefix();
    let status = match task_id {
        Some(task) => [prefix.as_bytes(), b":task:", &task, b":status"].concat(),
        None => format!("{prefix}:thread:{id}:status").into_bytes(),
    };
    let tasks = Some(format!("{prefix}:thread:{id}:tasks").into());
    Some(StateKeys { status: status.into(), field: None, tasks })
}

impl Tail {
    /// Looks at some of the states that are due.
    pub(super) async fn look_at_states(&mut self, source: &mut Source) -> Result<(), LogError> {
        if source.mode().is_none() {
            self.states.due.clear();
            return Ok(());
        }
        let due = self.states.take_due();
        let (mut streams, mut questions) = (Vec::new(), Vec::new());
        for stream in due {
            let Some(watched) = self.watched.get_mut(&stream) else { continue };
            let Some(keys) = keys_of(&self.shared, &watched.topic) else { continue };
            let status = hash::of(&keys.status);
            let hashed = [status, keys.tasks.as_ref().map_or(status, hash::of)];
            if watched.seen.keys != Some(hashed) {
                self.states.forget(&stream, &mut watched.seen);
                hashed.iter().for_each(|key| self.states.remember(*key, &stream));
                watched.seen = Seen { keys: Some(hashed), hash: None };
            }
            streams.push(stream);
            questions.push(keys);
        }
        if questions.is_empty() {
            return Ok(());
        }
        let found = source.look_at(&questions).await?;
        for (stream, found) in streams.iter().zip(found) {
            let Some(watched) = self.watched.get_mut(stream) else { continue };
            if watched.seen.is_news(&found, &watched.topic) {
                readings::read(&self.shared, &watched.topic);
            }
        }
        Ok(())
    }

    /// Where hints do not come by tracking: has a part of the states looked at.
    pub(super) fn poll_states(&mut self, source: &Source) {
        if source.mode() != Some(HintMode::Block) {
            return;
        }
        let number = self.watched.len().div_ceil(POLL_PARTS).min(POLLED_MAX);
        for _ in 0..number {
            if self.states.polled_to >= self.watched.len() {
                self.states.polled_to = 0;
            }
            let Some((stream, _)) = self.watched.get_index(self.states.polled_to) else { return };
            self.states.due.insert(stream.clone());
            self.states.polled_to += 1;
        }
    }
}

impl Seen {
    /// Whether something else is seen than before; at first, than the state that was read.
    fn is_news(&mut self, found: &StateSeen, topic: &Topic) -> bool {
        let hash = hash::of(found);
        match self.hash.replace(hash) {
            Some(before) => before != hash,
            None => !topic.recent.lock().log.as_ref().is_some_and(|log| {
                let present = log.present();
                let of_newest = present.task_id() == found.newest.as_ref();
                // Nothing was read yet: nobody was told anything that could have changed.
                present.told() == 0 || of_newest && present.has_status(found.status.as_deref())
            }),
        }
    }
}
