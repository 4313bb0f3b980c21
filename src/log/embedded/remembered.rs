//! What was published with a key: whoever comes again with it is answered as the first time.
//!
//! Knows no task and no clock. Bounded by time and by number: where it is full, the oldest goes.

use std::collections::{HashMap, VecDeque};

use crate::log::idempotency::Digest;
use crate::log::{LogError, PublicationId, Published};

/// So many publications are remembered; each takes 150 bytes, about, and its thread's id.
const RECORDS_MAX: usize = 65_536;

/// The publications that are remembered.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    records: HashMap<Digest, Record>,
    /// In the order in which they are forgotten: each lives as long as the others.
    order: VecDeque<(u64, Digest)>,
}

#[derive(Debug)]
struct Record {
    content: Digest,
    published: Published,
}

impl Remembered {
    /// What came of the publication, where it was done before.
    ///
    /// # Errors
    /// [`LogError::KeyUsed`] where another one was.
    pub(super) fn find(
        &mut self,
        id: &PublicationId,
        now_ms: u64,
    ) -> Result<Option<Published>, LogError> {
        while self.order.front().is_some_and(|(expires_at_ms, _)| *expires_at_ms <= now_ms) {
            self.forget_oldest();
        }
        match self.records.get(&id.name()) {
            None => Ok(None),
            Some(record) if record.content == id.content() => Ok(Some(record.published.clone())),
            Some(_) => Err(LogError::KeyUsed),
        }
    }

    /// The publication was done now. A key of our own is for answers that are lost on their way, and
    /// none is here.
    pub(super) fn keep(&mut self, id: &PublicationId, published: &Published, now_ms: u64) {
        if id.is_own() {
            return;
        }
        if self.order.len() >= RECORDS_MAX {
            self.forget_oldest();
        }
        self.order.push_back((now_ms + id.lifetime().as_millis() as u64, id.name()));
        let record = Record { content: id.content(), published: published.clone() };
        self.records.insert(id.name(), record);
    }

    fn forget_oldest(&mut self) {
        if let Some((_, name)) = self.order.pop_front() {
            self.records.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StreamId;

    const DAY_MS: u64 = 86_400_000;

    fn id(key: &str, content: &str) -> PublicationId {
        PublicationId::new(key.parse().unwrap(), &["status", "t"], &[content])
    }

    fn published(ms: u64) -> Published {
        Published { thread: "t".parse().unwrap(), stream_id: StreamId { ms, seq: 0 } }
    }

    #[test]
    fn what_was_done_is_known_for_a_day() {
        let mut remembered = Remembered::default();
        assert_eq!(remembered.find(&id("k", "a"), 5), Ok(None));
        remembered.keep(&id("k", "a"), &published(5), 5);
        assert_eq!(remembered.find(&id("k", "a"), DAY_MS + 4), Ok(Some(published(5))));
        assert_eq!(remembered.find(&id("k", "b"), DAY_MS + 4), Err(LogError::KeyUsed));
        assert_eq!(remembered.find(&id("l", "b"), DAY_MS + 4), Ok(None));
        assert_eq!(remembered.find(&id("k", "a"), DAY_MS + 5), Ok(None));
        assert!(remembered.records.is_empty() && remembered.order.is_empty());
    }

    #[test]
    fn the_oldest_goes_where_there_are_too_many() {
        let mut remembered = Remembered::default();
        for number in 0..=RECORDS_MAX as u64 {
            remembered.keep(&id(&number.to_string(), ""), &published(number), number);
        }
        assert_eq!((remembered.records.len(), remembered.order.len()), (RECORDS_MAX, RECORDS_MAX));
        assert_eq!(remembered.find(&id("0", ""), 0), Ok(None));
        assert_eq!(remembered.find(&id("1", ""), 0), Ok(Some(published(1))));
    }

    #[test]
    fn keys_of_our_own_are_not_kept() {
        let mut remembered = Remembered::default();
        let id = PublicationId::default();
        remembered.keep(&id, &published(1), 1);
        assert_eq!(remembered.find(&id, 1), Ok(None));
    }
}
