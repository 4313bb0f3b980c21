//! Taking what a read gave of each stream: it goes to its topic, where nothing is missing.

use bytes::Bytes;

use super::Tail;
use super::care::{Care, Tell};
use super::due::Why;
use super::read::Asked;
use crate::core::account::Charge;
use crate::core::history::History;
use crate::intake::{Intake, Judged, behind};
use crate::log::tail::{Question, Read, Told};
use crate::log::{Entry, LogError};

/// After so many bytes of entries the thread's other tasks have their turn.
const BYTES_PER_TURN: usize = 256 * 1024;

impl Tail {
    pub(super) async fn take_reads(
        &mut self,
        asked: Asked,
        reads: Vec<Read>,
        mut charge: Option<Charge>,
    ) -> Result<(), LogError> {
        let Asked { questions, whys, turns, history } = asked;
        let bytes_of = |read: &Read| match read {
            Read::Entries { entries, .. } => entries.iter().map(Entry::bytes_len).sum(),
            _ => 0,
        };
        let mut held: usize = reads.iter().map(bytes_of).sum();
        let broke_off =
            |read: &Read| matches!(read, Read::TooLarge | Read::BrokenOff | Read::NotRead);
        let too_much = reads.iter().any(broke_off);
        self.window.brought(reads.len(), held, too_much);
        let mut since_turn = 0;
        for (((question, why), turn), read) in questions.iter().zip(whys).zip(turns).zip(reads) {
            if let Some(charge) = &mut charge {
                charge.set(held);
            }
            let bytes = bytes_of(&read);
            self.take_read(question, why, read, history).await?;
            drop(turn);
            held -= bytes;
            since_turn += bytes;
            if since_turn > BYTES_PER_TURN {
                since_turn = 0;
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn take_read(
        &mut self,
        question: &Question,
        why: Why,
        read: Read,
        history: History,
    ) -> Result<(), LogError> {
        let result = match read {
            Read::Entries { entries, told, more, large_facts } => {
                self.weigh(&question.key, &entries, more, large_facts);
                self.was_read(&question.key);
                let news = self.take(question, &entries, told, more, history).await;
                news.map(|news| self.hinting.was_read(&question.key, why, news))
            }
            Read::WrongType => self.set_aside(&question.key).await,
            Read::TooLarge => {
                self.give_to_lane(&question.key);
                Ok(())
            }
            Read::BrokenOff => {
                if let Some(watched) = self.watched.get_mut(&question.key) {
                    watched.care = watched.care.max(Care::Alone);
                }
                self.is_due(question.key.clone(), why);
                Ok(())
            }
            Read::NotRead => {
                self.is_due(question.key.clone(), why);
                Ok(())
            }
            Read::Refused(error) => Err(LogError::Refused(error)),
        };
        match result {
            Err(LogError::Refused(error)) => {
                self.refused(&question.key, &error, Tell::Later);
                Ok(())
            }
            result => result,
        }
    }

    /// Learns how large a stream's entries are. The one at the head is as good for that as others.
    fn weigh(&mut self, key: &Bytes, entries: &[Entry], more: bool, large_facts: bool) {
        let Some(watched) = self.watched.get_mut(key) else { return };
        watched.large_facts |= large_facts;
        match entries.iter().map(Entry::bytes_len).max() {
            Some(bytes) => watched.load.brought(bytes, more),
            None => watched.load.brought_nothing(),
        }
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
        if let Some(mut watched) = self.watched.swap_remove(key) {
            self.states.forget(key, &mut watched.seen);
            self.shared.give_to_lane(&watched.topic);
        }
    }

    /// Takes what one read gave of one stream. Whether it was something new.
    async fn take(
        &mut self,
        question: &Question,
        entries: &[Entry],
        told: Told,
        more: bool,
        history: History,
    ) -> Result<bool, LogError> {
        let key = &question.key;
        if more {
            self.is_due(key.clone(), Why::Other);
        }
        let Some(watched) = self.watched.get_mut(key) else { return Ok(false) };
        watched.wrong_type = false;
        let topic = watched.topic.clone();
        let Some(head) = topic.head() else { return Ok(false) };
        let new = behind(entries, head);
        let anchored = new.len() < entries.len();
        let intake = Intake { anchored, looked: true, entries: new, more, told, history };
        let judged = self.shared.take_in(&topic, head, &intake);
        watched.in_doubt = match (told, judged) {
            // Where entries are taken out all the time, lengths say little.
            (Told::Facts(facts), _) => {
                let removed = facts.removed();
                removed != std::mem::replace(&mut watched.removed, removed)
            }
            (Told::Length(_), Judged::Unproven) => true,
            _ => watched.in_doubt,
        };
        match judged {
            Judged::TakenIn => Ok(!new.is_empty()),
            Judged::Unproven if !question.asks_facts && watched.has_small_entries() => {
                self.is_due(key.clone(), Why::Other);
                Ok(false)
            }
            Judged::Unproven | Judged::Gap(_) => self.verify(key, &topic, head).await,
        }
    }
}
