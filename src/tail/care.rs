//! Streams that need care: those that Redis cut a read off for, and those that it refuses to read.
//!
//! A read that is cut off says nothing of which stream it was: each of them is read by itself next,
//! two entries of it. What is cut off then as well, twice, goes to the lane, and there it is read
//! entry by entry. What even that is too much for is given up for a while.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Tail;
use super::due::Why;
use crate::core::backoff::Backoff;
use crate::log::tail::Question;
use crate::topic::Topic;

/// A stream that is cut off so often in a row is read with more care.
const STRIKES_MAX: u8 = 2;

/// Entries below this size need no care.
const LARGE_ENTRY_BYTES: usize = 1024 * 1024;

/// How much care a stream is read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Care {
    /// Together with others.
    None,
    /// By itself: the entry at the head and the next one.
    Alone,
    /// The next entry by itself. Only the lane does so.
    EntryByEntry,
}

/// A stream that the log refuses to read.
pub(super) struct Refusal {
    backoff: Backoff,
    /// Until then, it is not asked for.
    pub(super) until: Instant,
    since: Instant,
    said: bool,
}

/// When the viewers are told that their stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    AtOnce,
    /// Where it did not pass.
    Later,
    /// All streams are refused: nobody is better off for being closed.
    Never,
}

/// The first wait before a refused stream is asked for again, and the longest.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(250);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(60);

/// The longest where the log refuses all of them.
const ASK_ALL_AGAIN_MAX: Duration = Duration::from_millis(1_500);

/// What lasts so long does not pass by itself.
const TELL_LATER: Duration = Duration::from_secs(3);

impl Tail {
    /// The connection broke while the answer to these was on its way.
    pub(super) fn was_cut_off(&mut self, questions: &[Question]) {
        let [question] = questions else {
            for question in questions {
                if let Some(watched) = self.watched.get_mut(&question.key) {
                    watched.care = watched.care.max(Care::Alone);
                }
            }
            return;
        };
        let is_lane = self.is_lane();
        let key = &question.key;
        let Some(watched) = self.watched.get_mut(key) else { return };
        watched.strikes += 1;
        if watched.strikes < STRIKES_MAX {
            watched.care = watched.care.max(Care::Alone);
            return;
        }
        watched.strikes = 0;
        match watched.care {
            Care::EntryByEntry => {
                let text = "an entry is larger than Redis may send: raise \
                            client-output-buffer-limit normal";
                self.refused(key, text, Tell::AtOnce);
            }
            _ if is_lane => watched.care = Care::EntryByEntry,
            _ => self.give_to_lane(key),
        }
    }

    /// A stream was read.
    pub(super) fn was_read(&mut self, key: &Bytes) {
        let Some(watched) = self.watched.get_mut(key) else { return };
        watched.strikes = 0;
        if watched.load.entry_bytes().is_some_and(|bytes| bytes < LARGE_ENTRY_BYTES) {
            watched.care = Care::None;
        }
        if watched.refusal.take().is_some() {
            tracing::info!(thread_id = %watched.topic.thread, "read_allowed");
        }
        self.refused_said = false;
    }

    /// The log refuses to read any stream: these are asked for again soon.
    pub(super) fn all_refused(&mut self, questions: &[Question], error: &str) {
        if !std::mem::replace(&mut self.refused_said, true) {
            let streams = questions.len();
            tracing::error!(worker = self.number, error, streams, "read_refused");
        }
        for question in questions {
            self.refused(&question.key, error, Tell::Never);
        }
    }

    /// The log refuses to read this stream: it is asked for again, less and less often.
    pub(super) fn refused(&mut self, key: &Bytes, error: &str, tell: Tell) {
        self.due.remove(key);
        let Some(watched) = self.watched.get_mut(key) else { return };
        let now = Instant::now();
        let max = if tell == Tell::Never { ASK_ALL_AGAIN_MAX } else { ASK_AGAIN_MAX };
        let refusal = watched.refusal.get_or_insert_with(|| {
            let backoff = Backoff::new(ASK_AGAIN_MIN, max);
            Box::new(Refusal { backoff, until: now, since: now, said: false })
        });
        refusal.until = now + refusal.backoff.next_bound();
        let tell = match tell {
            Tell::AtOnce => true,
            Tell::Later => now.duration_since(refusal.since) >= TELL_LATER,
            Tell::Never => false,
        };
        let say = tell && !std::mem::replace(&mut refusal.said, true);
        self.later.push(Reverse((refusal.until, watched.topic.key.clone())));
        let topic: Arc<Topic> = watched.topic.clone();
        if say {
            let key = String::from_utf8_lossy(key);
            tracing::error!(thread_id = %topic.thread, %key, error, "read_refused");
        }
        if tell {
            self.shared.fail(&topic);
        }
    }

    /// Streams are due again that were refused a while ago.
    pub(super) fn ask_again(&mut self) {
        let now = Instant::now();
        while self.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse((_, key))) = self.later.pop() {
                self.is_due(key, Why::Other);
            }
        }
    }

    /// When the next of them is due.
    pub(super) fn asks_again_at(&self) -> Option<Instant> {
        self.later.peek().map(|Reverse((at, _))| *at)
    }
}
