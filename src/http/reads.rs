//! Reads of what may be large: a task's state, the list of tasks.
//!
//! Who asks for the same is answered by the same read, but never by one that had begun before it
//! asked: that one may have seen what was before. So of each subject there is at most one read under
//! way, and one more that waits for its turn. What is read is charged before it is read, and its
//! answer as long as somebody writes it to a client.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::error::ApiError;
use super::response::{Content, Known};
use crate::core::account::{Account, Charge, Kind, Priority};
use crate::id::ThreadId;
use crate::log::{LISTED_TEXT_BYTES_MAX, LISTED_UPDATES_MAX, Log, LogError};
use crate::publish::{ListedTask, ThreadManager};
use crate::supervise::{self, Part};

/// A state of more bytes is large.
const LARGE_BYTES: u64 = 1024 * 1024;
/// A state is held about so many times on its way: as Redis gave it, as JSON texts, as an answer.
const COPIES: usize = 3;
/// A row of the list has at most so many bytes: its updates, and a few texts.
const ROW_BYTES_MAX: usize = (LISTED_UPDATES_MAX as usize + 5) * LISTED_TEXT_BYTES_MAX;
/// How often a read that waits for room looks whether there is some.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// What is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// The state of a task.
    Task(ThreadId),
    /// So many of the newest tasks.
    Newest(u64),
}

type Outcome = Result<Content, ApiError>;

/// How far a read is.
#[derive(Debug, Clone)]
enum Progress {
    /// It waits for those before it, or for room.
    Waiting,
    /// The log is being asked for what is wanted.
    Reading,
    /// It is done.
    Done(Outcome),
}

type Teller = watch::Sender<Progress>;

/// The way to the reads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reads(Arc<Inner>);

struct Inner {
    /// Where reads are done and encoded: beside the workers.
    runtime: Handle,
    log: Log,
    threads: ThreadManager,
    account: Account,
    patience: Duration,
    /// Of each subject that is being read, who waits for the next read.
    under_way: Mutex<HashMap<Subject, Option<Teller>>>,
    /// Large answers that are still being written.
    answers: Mutex<HashMap<Subject, Known>>,
    /// For the few large reads that are under way at the log at a time, whoever asks.
    large: Arc<Semaphore>,
    /// For the one list that is being read.
    lists: Semaphore,
    /// For the one read that is larger than the account, and its answer.
    alone: Arc<Semaphore>,
}

impl Reads {
    /// Reads of a log, done on a runtime; who has waited for `patience` is refused.
    pub(crate) fn new(
        runtime: Handle,
        log: Log,
        large: Arc<Semaphore>,
        account: Account,
        patience: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            runtime,
            threads: ThreadManager::new(log.clone()),
            log,
            account,
            patience,
            under_way: Mutex::default(),
            answers: Mutex::default(),
            large,
            lists: Semaphore::new(1),
            alone: Arc::new(Semaphore::new(1)),
        }))
    }

    /// The body of the answer to a request for something.
    pub(super) async fn read(&self, subject: Subject) -> Outcome {
        let mut told = self.join(subject);
        let begins = told.wait_for(|progress| !matches!(progress, Progress::Waiting));
        if timeout(self.0.patience, begins).await.is_err() {
            if self.0.account.is_full() {
                self.0.account.count_refused();
            }
            return Err(ApiError::unavailable("others are in the way, try again later"));
        }
        // However large it is: each step of it has a time of its own.
        match told.wait_for(|progress| matches!(progress, Progress::Done(_))).await.as_deref() {
            Ok(Progress::Done(outcome)) => outcome.clone(),
            Ok(_) | Err(_) => Err(ApiError::unavailable("the server ends")),
        }
    }

    /// Waits for a read that has not begun yet.
    fn join(&self, subject: Subject) -> watch::Receiver<Progress> {
        let mut under_way = self.0.under_way.lock();
        let begins = !under_way.contains_key(&subject);
        let next = under_way.entry(subject.clone()).or_default();
        let told = next.get_or_insert_with(|| Teller::new(Progress::Waiting)).subscribe();
        if begins {
            self.0.runtime.spawn(self.0.clone().run(subject));
        }
        told
    }
}

impl Inner {
    /// Reads for those who wait, until nobody does.
    async fn run(self: Arc<Self>, subject: Subject) {
        while let Some(teller) = self.next(&subject) {
            let teller = Arc::new(teller);
            // On a task of its own, so that a fault in it ends only this read.
            let reading = tokio::spawn(self.clone().outcome(subject.clone(), teller.clone()));
            let stop = reading.abort_handle();
            tokio::select! {
                read = reading => {
                    let failed = |_| Err(ApiError::unavailable("reading this failed"));
                    teller.send_replace(Progress::Done(read.unwrap_or_else(failed)));
                }
                // Dropped: who waits is still told. Otherwise nobody waits any more.
                () = teller.closed() => stop.abort(),
            }
        }
    }

    fn next(&self, subject: &Subject) -> Option<Teller> {
        let mut under_way = self.under_way.lock();
        let next = under_way.get_mut(subject).and_then(Option::take);
        if next.is_none() {
            under_way.remove(subject);
        }
        next
    }

    async fn outcome(self: Arc<Self>, subject: Subject, teller: Arc<Teller>) -> Outcome {
        supervise::turn(Part::Lane);
        let read = match &subject {
            Subject::Newest(limit) => self.newest(*limit).await?,
            Subject::Task(thread) => self.state(thread, &teller).await?,
        };
        Ok(self.shared(subject, read))
    }

    async fn newest(&self, limit: u64) -> Result<Read, ApiError> {
        #[derive(Serialize)]
        struct List {
            tasks: Vec<ListedTask>,
        }
        let limit_rows = usize::try_from(limit).unwrap_or(usize::MAX);
        let bytes = limit_rows.saturating_mul(ROW_BYTES_MAX).min(self.account.bytes_max() / 16);
        let charge = self.room(Kind::Responses, bytes).await;
        let _turn = self.lists.acquire().await;
        let _beside = self.room(Kind::Answers, bytes).await;
        let body = json(&List { tasks: self.threads.newest(limit).await? }, 0)?;
        Ok(Read { body, charge, alone: None })
    }

    async fn state(&self, thread: &ThreadId, teller: &Teller) -> Result<Read, ApiError> {
        let weight = self.log.weigh(thread).await?;
        let bytes = usize::try_from(weight).unwrap_or(usize::MAX);
        if self.account.exceeds(bytes.saturating_mul(COPIES)) {
            let alone = self.alone.clone().acquire_owned().await.ok();
            let _turn = self.large.acquire().await;
            teller.send_replace(Progress::Reading);
            let body = json(&self.threads.large_state(thread).await?, bytes)?;
            let charge = self.account.hold_outside(Kind::Responses, body.capacity());
            return Ok(Read { body, charge, alone });
        }
        // Others' responses hold up nothing but this one.
        let charge = self.room(Kind::Responses, bytes).await;
        let beside_bytes = bytes * (COPIES - 1);
        if weight <= LARGE_BYTES {
            let _beside = self.room(Kind::Answers, beside_bytes).await;
            match self.threads.state_within(thread, 2 * LARGE_BYTES).await {
                // It grew meanwhile, or the newest entry of its stream is large.
                Err(LogError::TooLarge) => {}
                state => return Ok(Read { body: json(&state?, bytes)?, charge, alone: None }),
            }
        }
        let _turn = self.large.acquire().await;
        let _beside = self.room(Kind::Answers, beside_bytes).await;
        teller.send_replace(Progress::Reading);
        let body = json(&self.threads.large_state(thread).await?, bytes)?;
        Ok(Read { body, charge, alone: None })
    }

    /// Waits for room. Who waits for the answer has a deadline and with it this has one.
    async fn room(&self, kind: Kind, bytes: usize) -> Charge {
        loop {
            if let Some(charge) = self.account.reserve(kind, bytes, Priority::Usual) {
                return charge;
            }
            sleep(ROOM_PAUSE).await;
        }
    }

    /// The body to answer with: where the same bytes are still being written to somebody, those.
    fn shared(&self, subject: Subject, read: Read) -> Content {
        let Read { body, mut charge, alone } = read;
        let mut answers = self.answers.lock();
        answers.retain(|_, known| !known.is_gone());
        if let Some(same) = answers.get(&subject).and_then(|known| known.same_as(&body)) {
            return same;
        }
        if alone.is_none() {
            charge.set(body.capacity());
        }
        let content = Content::charged(body.into(), charge, alone);
        answers.insert(subject, content.known());
        content
    }
}

/// What was read, as the body of a response.
struct Read {
    body: Vec<u8>,
    charge: Charge,
    /// It is the one that is larger than the account.
    alone: Option<OwnedSemaphorePermit>,
}

fn json(value: &impl Serialize, bytes: usize) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::with_capacity(bytes);
    serde_json::to_writer(&mut body, value)
        .map_err(|error| ApiError::from(LogError::Refused(error.to_string())))?;
    body.shrink_to_fit();
    Ok(body)
}
