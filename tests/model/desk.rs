//! The other hands in the core: the tail that appends to the logs, and the desk that answers those
//! who ask; both as `src/worker/tail.rs` and `src/worker/desk.rs` do, but from naive streams.

use std::sync::Arc;

use bytes::Bytes;
use rand::RngExt as _;
use rand::rngs::StdRng;
use taskcast::core::chunk::{Chunk, Unit};
use taskcast::id::StreamId;

use crate::worker::{Wants, Worker};

/// What a topic's log may hold, in bytes.
pub(crate) const TOPIC_BYTES_MAX: usize = 2_000;

pub(crate) enum Answer {
    State { frames: Bytes, position: StreamId },
    After { chunks: Vec<Arc<Chunk>>, then: Option<StreamId> },
}

/// Reads what is new in a stream and appends it to the topic's log.
pub(crate) fn tail(worker: &mut Worker, number: usize, random: &mut StdRng) {
    let stream = &worker.streams[number];
    let log = &mut worker.topics[number].log;
    let head = log.head();
    if stream.continues(head) {
        let ids = stream.after(head, random.random_range(1..6));
        if ids.is_empty() {
            return;
        }
        for chunk in stream.chunks(head, &ids, random) {
            log.append(chunk);
        }
    } else {
        let bytes = stream.gap_frames(head);
        let units = [Unit { end: bytes.len(), position: stream.last }].into();
        log.renew(Arc::new(Chunk { bytes, units, after: head }));
    }
    log.trim(TOPIC_BYTES_MAX);
    worker.topic_has_news(number);
}

/// The answer to a viewer of that topic.
pub(crate) fn answer(
    worker: &mut Worker,
    topic: usize,
    wants: Wants,
    random: &mut StdRng,
) -> Answer {
    let stream = &worker.streams[topic];
    let log = &mut worker.topics[topic].log;
    let position = stream.last;
    let Some(after) = wants else {
        return Answer::State { frames: stream.state_frame(), position };
    };
    if after == position {
        return Answer::After { chunks: Vec::new(), then: Some(position) };
    }
    if !stream.is_honest(after) {
        return Answer::State { frames: stream.gap_frames(after), position };
    }
    if after != StreamId::ZERO && log.locate(after).is_some() && random.random_bool(0.5) {
        return Answer::After { chunks: Vec::new(), then: None };
    }
    let entries_max = random.random_range(1..8);
    let ids = stream.after(after, entries_max);
    let chunks = stream.chunks(after, &ids, random);
    for chunk in chunks.iter().rev() {
        if !log.prepend(chunk, TOPIC_BYTES_MAX) {
            break;
        }
    }
    Answer::After { chunks, then: (ids.len() < entries_max).then_some(position) }
}
