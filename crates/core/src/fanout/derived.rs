//! Derived: what no entry tells a viewer is told once it has everything: updates that were withheld
//! from its state, and never got their entry; and that its task ended before the position it brought.

use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::{Fanout, Io, Page, Socket, Topic};
use crate::account::{Account, Charge, Kind};
use crate::chunk::{Chunk, Ended};
use crate::encode;
use crate::id::{StreamId, ThreadId};
use crate::position::Run;
use crate::slots::Key;
use crate::topic::TopicLog;

/// The viewers that were given one state of a topic of which something was withheld, as a number.
pub type Batch = NonZeroU32;

/// What is told to a batch, or to those who come back behind an end.
#[derive(Debug)]
pub struct Derived {
    what: What,
    /// As frames, for viewers at a position, as long as anybody holds them: most stand at the same one.
    frames: Mutex<Vec<Weak<Chunk>>>,
    _charge: Charge,
}

#[derive(Debug)]
enum What {
    /// Updates as they are in the task's list, oldest first.
    Updates(Vec<Bytes>),
    /// The end of a source's task, as long as it counts.
    Ended(Ended),
}

impl Derived {
    /// Of an end.
    pub fn ended(account: &Account, ended: Ended) -> Self {
        let _charge = account.charge(Kind::Answers, 0);
        Self { what: What::Ended(ended), frames: Mutex::default(), _charge }
    }

    /// Whether it is still so, as the log of its topic has it.
    fn holds(&self, thread: &ThreadId, log: &TopicLog) -> bool {
        let What::Ended(told) = &self.what else { return true };
        let within = thread.source().map_or(0, |source| source.ends_within());
        log.ended(within).is_some_and(|ended| ended.position == told.position)
    }

    /// Of such updates.
    pub fn new(account: &Account, updates: Vec<Bytes>) -> Self {
        let bytes = updates.iter().map(Bytes::len).sum();
        let _charge = account.charge(Kind::Answers, bytes);
        Self { what: What::Updates(updates), frames: Mutex::default(), _charge }
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
        match &self.what {
            What::Updates(updates) => updates.iter().for_each(|update| {
                encode::put_derived_update(&mut out, thread, position, update);
            }),
            What::Ended(ended) => encode::put_end(&mut out, thread, position, ended.end),
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

    /// Puts what a viewer is owed before it, which has everything of its topic; where its socket is full,
    /// what will still be so when that is free. Whether it is owed something.
    pub(super) fn take_derived(&mut self, key: Key) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        if viewer.derived.is_some() && !self.sockets.get(viewer.socket).is_some_and(Socket::is_free)
        {
            return true;
        }
        let Some(derived) = viewer.derived.take() else { return false };
        let Some(local) = self.topics.get(viewer.topic) else { return false };
        let thread = local.topic.thread();
        if local.topic.with_log(|log| derived.holds(thread, log)) != Some(true) {
            return false;
        }
        let position = viewer.position;
        let frames = derived.frames(&self.account, local.topic.thread(), position.id);
        let run = Run::of_state(frames);
        viewer.position.forget_place();
        viewer.page = Some(Box::new(Page { run, then: Some(position), state: None, lasts: true }));
        true
    }
}
