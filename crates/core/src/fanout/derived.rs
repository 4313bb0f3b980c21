//! Derived: updates that were withheld from a state, and never got their entry, told to those who
//! were given that state, once they have everything up to where that was found out.

use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{Fanout, Io, Page, Topic};
use crate::account::{Account, Charge, Kind};
use crate::chunk::Chunk;
use crate::encode;
use crate::id::{StreamId, ThreadId};
use crate::position::Run;
use crate::slots::Key;

/// The viewers that were given one state of a topic of which something was withheld, as a number.
pub type Batch = NonZeroU32;

/// What is told to a batch.
#[derive(Debug)]
pub struct Derived {
    /// Updates as they are in the task's list, oldest first.
    updates: Vec<Bytes>,
    /// As frames, for viewers at a position, as long as anybody holds them: most stand at the same one.
    frames: Mutex<Vec<Weak<Chunk>>>,
    _charge: Charge,
}

impl Derived {
    /// Of such updates.
    pub fn new(account: &Account, updates: Vec<Bytes>) -> Self {
        let bytes = updates.iter().map(Bytes::len).sum();
        let _charge = account.charge(Kind::Answers, bytes);
        Self { updates, frames: Mutex::default(), _charge }
    }

    /// The frames for a viewer at a position.
    fn frames(&self, account: &Account, thread: &ThreadId, position: StreamId) -> Arc<Chunk> {
        let mut made = self.frames.lock();
        made.retain(|frames| frames.strong_count() > 0);
        let mut held = made.iter().filter_map(Weak::upgrade);
        if let Some(frames) = held.find(|frames| frames.last() == position) {
            return frames;
        }
        drop(held);
        let mut out = BytesMut::new();
        for update in &self.updates {
            encode::put_derived_update(&mut out, thread, position, update);
        }
        let chunk = Arc::new(Chunk::of_one(account, out.freeze(), StreamId::ZERO, position));
        made.push(Arc::downgrade(&chunk));
        chunk
    }
}

impl<T: Topic> Fanout<T> {
    /// The viewers of a batch are owed something.
    pub fn derive(
        &mut self,
        topic: &T,
        batch: Batch,
        derived: &Arc<Derived>,
        io: &mut impl Io<Topic = T>,
    ) {
        let Some(&key) = self.by_thread.get(topic.thread()) else { return };
        let Some(local) = self.topics.get(key).filter(|local| local.topic.is(topic)) else {
            return;
        };
        for viewer_key in local.roster.keys().to_vec() {
            let Some(viewer) = self.viewers.get_mut(viewer_key) else { continue };
            if viewer.batch == Some(batch) {
                viewer.batch = None;
                viewer.derived = Some(derived.clone());
                self.push(viewer_key, io);
            }
        }
    }

    /// Puts what a viewer is owed before it, which has everything of its topic. Whether it is owed
    /// something.
    pub(super) fn take_derived(&mut self, key: Key) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        let Some(derived) = viewer.derived.take() else { return false };
        let Some(local) = self.topics.get(viewer.topic) else { return false };
        let position = viewer.position;
        let frames = derived.frames(&self.account, local.topic.thread(), position.id);
        let run = Run::of_state(frames);
        viewer.position.forget_place();
        viewer.page = Some(Box::new(Page { run, then: Some(position), state: None, lasts: true }));
        true
    }
}
