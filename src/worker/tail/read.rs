//! Reading what is due: what one read gives of a stream goes to its topic, where the entry at the
//! topic's head proves that nothing is missing before it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use tokio::time::Instant;

use super::Tail;
use super::source::Source;
use crate::core::encode;
use crate::id::StreamId;
use crate::log::tail::{Beginning, Question, Read};
use crate::log::{Entry, LogError};
use crate::worker::topic::Topic;

/// After so many bytes of entries the thread's other tasks have their turn.
const BYTES_PER_TURN: usize = 256 * 1024;

impl Tail {
    /// Reads what is due, until nothing is. Whether there was something to read.
    pub(super) async fn read_due(&mut self, source: &mut Source) -> Result<bool, LogError> {
        let any = !self.due.is_empty();
        while !self.due.is_empty() {
            let keys = self.next_due();
            let result = self.read(source, &keys).await;
            if let Err(LogError::Refused(error)) = &result {
                // It would be refused again and again: leave these to the next hint or sweep.
                tracing::error!(worker = self.number, %error, streams = keys.len(), "read_refused");
                keys.iter().for_each(|key| _ = self.due.remove(key));
                continue;
            }
            result?;
            self.take_messages();
        }
        // To walk over an empty set costs its capacity, which a rescan leaves large.
        self.due.shrink_to(self.share.streams_per_read);
        Ok(any)
    }

    /// The next streams to read together. One key of a wrong type would fail them all: such a key
    /// is read alone, until it holds a stream again.
    fn next_due(&self) -> Vec<Bytes> {
        let odd = |key: &&Bytes| self.watched.get(*key).is_some_and(|watched| watched.wrong_type);
        let together = self.due.iter().filter(|key| !odd(key)).take(self.share.streams_per_read);
        let keys: Vec<Bytes> = together.cloned().collect();
        if keys.is_empty() { self.due.iter().take(1).cloned().collect() } else { keys }
    }

    /// Reads these streams once. How many of them had something new.
    pub(super) async fn read(
        &mut self,
        source: &mut Source,
        keys: &[Bytes],
    ) -> Result<usize, LogError> {
        let now = Instant::now();
        let question = |key| self.question(key, now);
        let questions: Vec<Question> = keys.iter().filter_map(question).collect();
        if questions.is_empty() {
            return Ok(0);
        }
        self.shared.metrics.tail_reads.fetch_add(1, Relaxed);
        let reads = source.read(&self.shared, &questions, self.share.entries_per_read).await?;
        let (mut news, mut bytes) = (0, 0);
        for (question, read) in questions.iter().zip(reads) {
            // What is new from here on makes a new hint; what the read left is read again.
            self.due.remove(&question.key);
            match read {
                Read::Entries { entries, beginning } => {
                    bytes += entries.iter().map(Entry::bytes_len).sum::<usize>();
                    if self.take(question, entries, beginning).await? {
                        news += 1;
                    }
                }
                Read::WrongType => self.set_aside(&question.key).await?,
                Read::TooLarge => self.give_to_lane(&question.key),
                Read::NotRead => _ = self.due.insert(question.key.clone()),
            }
            if bytes > BYTES_PER_TURN {
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(news)
    }

    /// What to ask of a stream; nothing where it is not watched, or it is not known from where on.
    fn question(&mut self, key: &Bytes, now: Instant) -> Option<Question> {
        let watched = self.watched.get_mut(key);
        let Some((watched, head)) = watched.and_then(|it| it.topic.head().map(|head| (it, head)))
        else {
            self.due.remove(key);
            return None;
        };
        watched.read_at = now;
        Some(Question {
            thread: watched.topic.thread.clone(),
            key: watched.topic.key.clone(),
            after: head.predecessor(),
            // It begins: nothing before its first entries proves those to be the first.
            asks_beginning: head == StreamId::ZERO,
        })
    }

    /// The key holds something else than a stream.
    async fn set_aside(&mut self, key: &Bytes) -> Result<(), LogError> {
        let Some(watched) = self.watched.get_mut(key) else { return Ok(()) };
        if std::mem::replace(&mut watched.wrong_type, true) {
            return Ok(());
        }
        let topic = watched.topic.clone();
        tracing::warn!(thread_id = %topic.thread, "stream_key_holds_something_else");
        if let Some(head) = topic.head() {
            self.verify(key, &topic, head).await?;
        }
        Ok(())
    }

    /// It has entries that would hold up this thread: the lane goes on from where this tail stands.
    pub(super) fn give_to_lane(&mut self, key: &Bytes) {
        self.due.remove(key);
        if let Some(watched) = self.watched.swap_remove(key) {
            self.shared.give_to_lane(&watched.topic);
        }
    }

    /// Takes what one read gave of one stream. Whether it was something new.
    async fn take(
        &mut self,
        question: &Question,
        entries: Vec<Entry>,
        beginning: Beginning,
    ) -> Result<bool, LogError> {
        let key = &question.key;
        if entries.len() == self.share.entries_per_read {
            self.due.insert(key.clone());
        }
        let Some(watched) = self.watched.get_mut(key) else { return Ok(false) };
        watched.wrong_type = false;
        let Some(head) = watched.topic.head() else { return Ok(false) };
        let topic = watched.topic.clone();
        let new = match &entries[..] {
            [first, new @ ..] if first.id == head => new,
            // A stream that begins has no entry at its head.
            [] if head == StreamId::ZERO && beginning != Beginning::Emptied => &[],
            [first, ..]
                if head == StreamId::ZERO && beginning == Beginning::FirstEver(first.id) =>
            {
                &entries
            }
            _ => return self.verify(key, &topic, head).await,
        };
        if !new.is_empty() {
            self.append(&topic, head, new);
        }
        Ok(!new.is_empty())
    }

    pub(super) fn append(&self, topic: &Arc<Topic>, head: StreamId, new: &[Entry]) {
        self.shared.metrics.entries_read.fetch_add(new.len() as u64, Relaxed);
        {
            let mut recent = topic.recent.lock();
            recent.entries_added = recent.entries_added.map(|added| added + new.len() as u64);
        }
        let account = &self.shared.account;
        self.shared.append(topic, encode::entries(account, &topic.thread, head, new));
    }
}
