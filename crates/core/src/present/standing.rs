//! The newest reading of a state, and the frames that tell of it.

use std::sync::{Arc, Weak};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::account::{Account, Charge, Kind};
use crate::chunk::Chunk;
use crate::encode;
use crate::id::{StreamId, ThreadId};
use crate::state::{State, TaskPart};

/// What takes no more than this is held, however tight memory is, in bytes.
const SMALL_BYTES: usize = 1024;

/// Which parts of a state somebody is to be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lacks {
    /// The status, and with it what waits for approval.
    pub status: bool,
    /// The result.
    pub result: bool,
    /// The error.
    pub error: bool,
}

impl Lacks {
    /// Whether it is anything.
    pub fn any(self) -> bool {
        self.status || self.result || self.error
    }
}

/// What a reading brought of what is told.
#[derive(Debug)]
pub struct Standing {
    state: State,
    /// When it was read, by the log's clock.
    now_ms: u64,
    frames: Mutex<Frames>,
    charge: Charge,
}

/// The frames of those who lack the same at one position,
#[derive(Debug, Default)]
struct Frames {
    /// as long as anybody holds them;
    made: Vec<(Lacks, Weak<Chunk>)>,
    /// the last ones by themselves, where they are small: very many who come back are given them one after
    /// the other.
    last: Option<Arc<Chunk>>,
}

impl Standing {
    pub(super) fn new(account: &Account, state: &State, now_ms: u64) -> Self {
        // Copied, so that it holds on to nothing else of what was read.
        let copy = |value: &Option<Bytes>| value.as_deref().map(Bytes::copy_from_slice);
        let told = ["pending_approval", "resume_supported"];
        let is_told =
            |(name, _): &&(Bytes, Bytes)| told.iter().any(|told| told.as_bytes() == name.as_ref());
        let own = |task: &TaskPart| TaskPart {
            task_id: Bytes::copy_from_slice(&task.task_id),
            metadata: task
                .metadata
                .iter()
                .filter(is_told)
                .map(|(name, value)| (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)))
                .collect(),
        };
        let state = State {
            status: copy(&state.status),
            result: copy(&state.result),
            error: copy(&state.error),
            task: state.task.as_ref().map(own),
            ..State::default()
        };
        let charge = account.charge(Kind::Answers, state.bytes_len());
        Self { state, now_ms, frames: Mutex::default(), charge }
    }

    /// Whether it takes little.
    pub(super) fn is_small(&self) -> bool {
        self.charge.bytes() <= SMALL_BYTES
    }

    /// The frames for somebody at a position: what came of the work before its status.
    pub(crate) fn frames(
        &self,
        account: &Account,
        thread: &ThreadId,
        position: StreamId,
        lacks: Lacks,
    ) -> Arc<Chunk> {
        let mut frames = self.frames.lock();
        let Frames { made, last } = &mut *frames;
        made.retain(|(_, frames)| frames.strong_count() > 0);
        let mut held =
            made.iter().filter(|(of, _)| *of == lacks).filter_map(|(_, it)| it.upgrade());
        if let Some(frames) = held.find(|frames| frames.last() == position) {
            return frames;
        }
        drop(held);
        let mut out = BytesMut::new();
        let Self { state, now_ms, .. } = self;
        encode::Standing { thread, position, state, now_ms: *now_ms }.put(&mut out, lacks);
        let chunk = Arc::new(Chunk::of_one(account, out.freeze(), StreamId::ZERO, position));
        made.push((lacks, Arc::downgrade(&chunk)));
        *last = (chunk.weight() <= SMALL_BYTES).then(|| chunk.clone());
        chunk
    }
}
