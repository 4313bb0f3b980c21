//! Reading streams: what is new in each, and what it tells of itself.

use bytes::Bytes;

use super::RedisTail;
use super::xread::{self, Asks};
use crate::id::StreamId;
use crate::log::Entry;
use crate::log::redis::error::{Class, Failure};
use crate::log::redis::resp::{Cursor, Value};
use crate::log::redis::wire::{Bounds, TooLong};
use crate::log::tail::{Question, Read, ReadError, Told};

/// A longer string in the answer to `XINFO STREAM` is let go.
const INFO: Bounds = Bounds { string_bytes_max: 4096, message_bytes_max: usize::MAX };

/// Where an answer with a stream's facts is longer, they are asked for without entries next.
const FACTS_BYTES_MAX: usize = 4096;

/// What a stream told of itself, and whether that came with large entries.
#[derive(Debug, Clone, Copy, Default)]
struct Answer {
    told: Told,
    large: bool,
}

impl RedisTail {
    /// Reads streams, at most `entries_max` entries of each. The answers stand in the order of the
    /// questions.
    ///
    /// # Errors
    /// Nothing of it was read.
    pub(in crate::log) async fn read(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, ReadError> {
        let may_eval = self.may_eval;
        let mut result = self.read_together(questions, entries_max).await;
        if self.may_eval != may_eval {
            result = self.read_together(questions, entries_max).await;
        }
        match result {
            Err(failure) if is_of_one_stream(&failure) => {}
            result => return Ok(result?),
        }
        // One key fails the whole command: ask for each by itself.
        let mut reads = Vec::with_capacity(questions.len());
        for question in questions {
            match self.read_together(std::slice::from_ref(question), entries_max).await {
                Ok(read) => reads.extend(read),
                Err(failure) if failure.class == Class::WrongType => reads.push(Read::WrongType),
                Err(failure) if is_of_one_stream(&failure) => {
                    reads.push(Read::Refused(failure.text));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(reads)
    }

    /// Reads the one entry behind the head, and asks for the head by itself: each answer holds one
    /// entry at the most. As of the head, the answer has only that it is still there.
    ///
    /// # Errors
    /// Nothing was read.
    pub(in crate::log) async fn read_one(
        &mut self,
        question: &Question,
        head: StreamId,
    ) -> Result<Read, ReadError> {
        match self.try_read_one(&question.key, head).await {
            Ok(entries) => {
                let more = entries.len() > 1 || (head == StreamId::ZERO && !entries.is_empty());
                Ok(Read::Entries { entries, told: Told::Nothing, more, large_facts: false })
            }
            Err(failure) if failure.class == Class::WrongType => Ok(Read::WrongType),
            Err(failure) if is_of_one_stream(&failure) => Ok(Read::Refused(failure.text)),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn try_read_one(&mut self, key: &Bytes, head: StreamId) -> Result<Vec<Entry>, Failure> {
        xread::put(self.wire.out(), [(key, head)].into_iter(), 1, None);
        self.wire.send().await?;
        let (reply, _) = self.reply().await?.parts();
        let streams = xread::streams(&reply).map_err(|error| Failure::answered(&error))?;
        let next = streams.into_iter().flat_map(|(_, entries)| entries);
        if head == StreamId::ZERO {
            return Ok(next.collect());
        }
        // After the read: if the head is there now, it was there then.
        xread::put(self.wire.out(), [(key, head.predecessor())].into_iter(), 1, None);
        self.wire.send().await?;
        self.wire.take_up_to(INFO);
        let reply = self.reply().await;
        self.wire.take_up_to(self.bounds);
        let (reply, _) = reply?.parts();
        let first = xread::first_id(&reply);
        Ok(first.map(|id| Entry { id, fields: Vec::new() }).into_iter().chain(next).collect())
    }

    async fn read_together(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, Failure> {
        let in_one_step = self.may_multi && questions.iter().any(|question| question.asks_facts);
        if in_one_step {
            self.wire.put(&["MULTI"]);
        }
        let streams = questions.iter().map(|question| (&question.key, question.after));
        xread::put(self.wire.out(), streams, entries_max, None);
        for question in questions {
            let asks = self.asks(question);
            xread::put_told(self.wire.out(), &question.key, asks);
        }
        if in_one_step {
            self.wire.put(&["EXEC"]);
        }
        self.wire.send().await?;
        if in_one_step && self.begins_step().await? {
            return self.take_step(questions, entries_max).await;
        }
        let reply = self.reply().await?;
        let answers = self.told(questions).await?;
        if in_one_step {
            // EXEC without MULTI.
            self.reply().await?;
        }
        let (part, cut) = reply.parts();
        let streams = xread::take_answer(&mut Cursor::new(&part));
        reads(questions, &answers, streams, entries_max, cut, self.bounds)
    }

    /// How a stream is asked for what it tells of itself.
    fn asks(&self, question: &Question) -> Asks {
        match (question.asks_facts, question.large_facts && self.may_eval) {
            (false, _) => Asks::Length,
            (true, false) => Asks::Facts,
            (true, true) => Asks::FactsByScript,
        }
    }

    /// Whether Redis lets this user do several things in one step: what was sent behind it is done
    /// in either case.
    async fn begins_step(&mut self) -> Result<bool, Failure> {
        let (reply, _) = self.reply().await?.parts();
        self.may_multi = !matches!(Cursor::new(&reply).value(), Some(Value::Error(_)));
        if !self.may_multi {
            tracing::debug!("multi_refused");
        }
        Ok(self.may_multi)
    }

    /// Takes what was read in one step.
    async fn take_step(
        &mut self,
        questions: &[Question],
        entries_max: usize,
    ) -> Result<Vec<Read>, Failure> {
        let mut refused = None;
        let asks: Vec<Asks> = questions.iter().map(|question| self.asks(question)).collect();
        // The read and a question for each stream were put in the queue, or refused.
        for asked in std::iter::once(None).chain(asks.iter().map(Some)) {
            let (reply, _) = self.reply().await?.parts();
            if let Some(Value::Error(error)) = Cursor::new(&reply).value() {
                let failure = Failure::answered(&String::from_utf8_lossy(&error));
                // Whoever may run no script gets the facts with all that comes with them.
                if asked == Some(&Asks::FactsByScript)
                    && matches!(failure.class, Class::NoRight | Class::Unsupported)
                {
                    self.may_eval = false;
                }
                refused.get_or_insert(failure);
            }
        }
        let (part, cut) = self.reply().await?.parts();
        let mut cursor = Cursor::new(&part);
        match cursor.value() {
            Some(Value::Error(error)) => {
                let failure = || Failure::answered(&String::from_utf8_lossy(&error));
                return Err(refused.unwrap_or_else(failure));
            }
            Some(Value::Values(_)) => {}
            _ => return Err(Failure::odd("EXEC was answered by no array".into())),
        }
        let streams = xread::take_answer(&mut cursor);
        let mut answers = vec![Answer::default(); questions.len()];
        if streams.as_ref().is_ok_and(|streams| streams.complete) {
            for (answer, asks) in answers.iter_mut().zip(asks) {
                let begins = cursor.at();
                let told = xread::told(&mut cursor, asks);
                answer.told = told.unwrap_or_default();
                let breaks_off = told.is_none() && cut.is_some();
                answer.large =
                    asks == Asks::Facts && (breaks_off || cursor.at() - begins > FACTS_BYTES_MAX);
                if told.is_none() {
                    break;
                }
            }
        }
        reads(questions, &answers, streams, entries_max, cut, self.bounds)
    }

    /// What the streams tell of themselves, one reply each. Facts count only in one step.
    async fn told(&mut self, questions: &[Question]) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::with_capacity(questions.len());
        self.wire.take_up_to(INFO);
        for question in questions {
            let (reply, cut) = self.reply().await?.parts();
            let asks = self.asks(question);
            let told = xread::told(&mut Cursor::new(&reply), asks);
            answers.push(Answer {
                told: told.filter(|it| matches!(it, Told::Length(_))).unwrap_or_default(),
                large: asks == Asks::Facts && (cut.is_some() || reply.len() > FACTS_BYTES_MAX),
            });
        }
        self.wire.take_up_to(self.bounds);
        Ok(answers)
    }
}

/// Whether an error may be about one of the streams only.
fn is_of_one_stream(failure: &Failure) -> bool {
    matches!(failure.class, Class::WrongType | Class::NoRightToKey | Class::Refused)
}

/// What was read of each stream.
fn reads(
    questions: &[Question],
    answers: &[Answer],
    streams: Result<xread::Streams, String>,
    entries_max: usize,
    cut: Option<TooLong>,
    bounds: Bounds,
) -> Result<Vec<Read>, Failure> {
    let streams = match (streams, cut) {
        (Ok(streams), Some(what)) if !streams.complete => {
            return Ok(part_of(questions, streams, what, bounds));
        }
        (Ok(streams), _) => streams,
        (Err(error), _) => return Err(Failure::answered(&error)),
    };
    let mut found = streams.whole.into_iter().peekable();
    let read = |(question, answer): (&Question, &Answer)| {
        let entries = found.next_if(|(key, _)| *key == question.key);
        let entries = entries.map(|(_, entries)| entries).unwrap_or_default();
        let more = entries.len() == entries_max;
        Read::Entries { entries, told: answer.told, more, large_facts: answer.large }
    };
    Ok(questions.iter().zip(answers).map(read).collect())
}

/// What can be said of the streams where the answer broke off.
fn part_of(
    questions: &[Question],
    streams: xread::Streams,
    what: TooLong,
    bounds: Bounds,
) -> Vec<Read> {
    let xread::Streams { whole, mut broken, .. } = streams;
    let is_long =
        |entry: &Entry| entry.fields.iter().any(|(_, value)| value.len() > bounds.string_bytes_max);
    // The string may have come whole while the answer was still incomplete.
    let any_long = whole.iter().chain(&broken).any(|(_, entries)| entries.iter().any(is_long));
    let long_in_broken = what == TooLong::String && !any_long;
    let in_part =
        |entries| Read::Entries { entries, told: Told::Nothing, more: true, large_facts: false };
    let mut whole = whole.into_iter().peekable();
    let alone = questions.len() == 1;
    let read = |question: &Question| {
        if let Some((_, entries)) = whole.next_if(|(key, _)| *key == question.key) {
            if entries.iter().any(is_long) {
                return Read::TooLarge;
            }
            return in_part(entries);
        }
        let Some((_, entries)) = broken.take_if(|(key, _)| *key == question.key) else {
            // Nothing new, where a later stream is in the answer; else it was not reached.
            return Read::NotRead;
        };
        let news = entries.len() > usize::from(question.after != StreamId::ZERO);
        if long_in_broken || entries.iter().any(is_long) || (alone && !news) {
            Read::TooLarge
        } else if news {
            in_part(entries)
        } else {
            Read::BrokenOff
        }
    };
    questions.iter().map(read).collect()
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        let text = failure.to_string();
        match failure.class {
            Class::Broken => Self::CutOff(text),
            Class::Silent | Class::Passing | Class::Late | Class::Redirect => {
                Self::Unavailable(text)
            }
            _ => Self::Refused(text),
        }
    }
}
