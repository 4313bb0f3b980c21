//! The other hands at the fan-out: the tail that appends to the logs, and the desk that answers those
//! who ask. Both work from naive streams.

use rand::RngExt as _;
use rand::rngs::StdRng;
use taskcast_core::account::Account;
use taskcast_core::chunk::After;
use taskcast_core::fanout::{Answer, Refusal, Wants};
use taskcast_core::id::StreamId;
use taskcast_core::position::Position;

use crate::stream::Stream;
use crate::topic::Followed;

/// What a topic's log may hold, in bytes.
const TOPIC_BYTES_MAX: usize = 2_000;

/// A question on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) topic: usize,
    pub(crate) wants: Wants,
    pub(crate) epoch: Option<u32>,
}

/// Reads what is new in a stream and appends it to the topic's log. Whether there was something.
pub(crate) fn tail(
    account: &Account,
    stream: &Stream,
    topic: &Followed,
    random: &mut StdRng,
) -> bool {
    let mut log = topic.0.log.borrow_mut();
    let head = log.head();
    if stream.continues(head) {
        let ids = stream.after(head, random.random_range(1..6));
        if ids.is_empty() {
            return false;
        }
        let after = After { position: head, sent: log.sent() };
        for chunk in stream.chunks(account, after, &ids, random) {
            log.append(chunk);
        }
    } else {
        let another = head.seq != stream.last.seq;
        let sent = log.sent();
        log.renew(stream.gap_chunk(account, sent), None, 0);
        if another {
            log.begin_epoch();
        }
    }
    log.trim(TOPIC_BYTES_MAX);
    true
}

/// The answer to a viewer of that topic; none yet where the tail has not seen that the stream is
/// another one.
pub(crate) fn answer(
    account: &Account,
    stream: &Stream,
    topic: &Followed,
    question: Question,
    random: &mut StdRng,
) -> Option<Answer> {
    if stream.is_unknown {
        return Some(Answer::Refused(Refusal::NotFound));
    }
    if random.random_bool(0.01) {
        return Some(Answer::Refused(Refusal::Unavailable));
    }
    let mut log = topic.0.log.borrow_mut();
    let epoch = log.epoch();
    let position = stream.last;
    if log.head().seq != position.seq {
        return None;
    }
    let Wants::After(after) = question.wants else {
        return Some(Answer::State {
            chunk: stream.state_chunk(account),
            then: None,
            epoch,
            batch: None,
            version: 0,
        });
    };
    let another = question.epoch.is_some_and(|known| known != epoch);
    if another || !stream.is_honest(after) {
        return Some(Answer::State {
            chunk: stream.gap_chunk(account, after),
            then: None,
            epoch,
            batch: None,
            version: 0,
        });
    }
    if after == position {
        return Some(Answer::After {
            chunks: Vec::new(),
            then: Some(Position::at(position)),
            epoch,
            batch: None,
            derived: None,
        });
    }
    if after != StreamId::ZERO && log.locate(after).is_some() && random.random_bool(0.5) {
        return Some(Answer::After {
            chunks: Vec::new(),
            then: None,
            epoch,
            batch: None,
            derived: None,
        });
    }
    // Where nothing of a page is sent it is read on.
    let mut entries_max = random.random_range(1..8);
    let mut ids = stream.after(after, entries_max);
    while ids.len() == entries_max && ids.iter().all(|id| stream.is_skipped(*id)) {
        entries_max += 1;
        ids = stream.after(after, entries_max);
    }
    let chunks = stream.chunks(account, after.into(), &ids, random);
    let last = ids.iter().rfind(|id| !stream.is_skipped(**id)).copied().unwrap_or(after);
    let end = if log.head() == position {
        Position::at_place(last, log.end())
    } else {
        Position::at(last)
    };
    for chunk in chunks.iter().rev() {
        if !log.prepend(chunk, TOPIC_BYTES_MAX) {
            break;
        }
    }
    Some(Answer::After {
        chunks,
        then: (ids.len() < entries_max).then_some(end),
        epoch,
        batch: None,
        derived: None,
    })
}
