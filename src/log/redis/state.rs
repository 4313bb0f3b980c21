//! The state of a task that is large: weighed before it is read, and read in pieces, so that Redis
//! serves others in between.

use std::sync::LazyLock;

use bytes::{Bytes, BytesMut};
use redis::Value;

use super::error::Class;
use super::script::Script;
use super::{RedisLog, reply};
use crate::id::ThreadId;
use crate::log::{LogError, Snapshot, SnapshotWants, State, StreamFacts, TaskPart};

/// Bytes in one piece, about.
const PIECE_BYTES: u64 = 1024 * 1024;
/// So much is read in one step, where it has to be.
const ONE_STEP_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A state that changes while it is read is read again, so many times.
const TRIES: usize = 3;

static WEIGH: LazyLock<Script> = LazyLock::new(|| Script::reading(include_str!("weigh.lua")));

/// What there is of a state, and how large it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Weight {
    stream: StreamFacts,
    task_id: Option<Bytes>,
    updates_bytes: u64,
    updates: u64,
    result_bytes: u64,
    error_bytes: u64,
    hashes_bytes: u64,
    has_status: bool,
    has_metadata: bool,
}

impl RedisLog {
    /// See [`Log::weigh`](crate::log::Log::weigh).
    pub(crate) async fn weigh(&self, thread: &ThreadId) -> Result<u64, LogError> {
        let (_, weight) = self.weight(thread).await?;
        Ok(weight.updates_bytes + weight.result_bytes + weight.error_bytes + weight.hashes_bytes)
    }

    /// See [`Log::large_state`](crate::log::Log::large_state).
    pub(crate) async fn large_state(&self, thread: &ThreadId) -> Result<Snapshot, LogError> {
        // The position first: the state is never older than it.
        let (mut now_ms, mut weight) = self.weight(thread).await?;
        for _ in 0..TRIES {
            let state = self.state_in_pieces(thread, &weight).await?;
            let (then_ms, still) = self.weight(thread).await?;
            if still == weight {
                return Ok(Snapshot {
                    stream: weight.stream,
                    state,
                    now_ms,
                    ..Snapshot::default()
                });
            }
            (now_ms, weight) = (then_ms, still);
        }
        // It changes faster than that: in one step, where Redis has that done soon, else as it was
        // while it was read.
        let wants = SnapshotWants {
            updates_max: Some(u64::MAX),
            bytes_max: Some(ONE_STEP_BYTES_MAX),
            ..SnapshotWants::default()
        };
        match self.snapshot(thread, wants).await {
            Err(LogError::TooLarge) => {
                let state = self.state_in_pieces(thread, &weight).await?;
                let stream = weight.stream;
                Ok(Snapshot { stream, state, now_ms, ..Snapshot::default() })
            }
            snapshot => snapshot,
        }
    }

    /// Facts and sizes of one instant, and that instant by the clock of Redis.
    async fn weight(&self, thread: &ThreadId) -> Result<(u64, Weight), LogError> {
        let keys = &self.options.keys;
        let prefix = keys.prefix();
        let names = [keys.stream(thread), format!("{prefix}:thread:{thread}")];
        let args = [format!("{prefix}:task")];
        let weighing = self.link.run(&WEIGH, &names, &args);
        let parts = reply::parts(self.link.in_time(weighing).await?);
        let [now_us, stream, task_id, numbers @ ..]: [Value; 10] =
            parts.ok_or_else(LogError::another_form)?;
        let now_us = reply::number(&now_us).unwrap_or_default();
        let stream = reply::facts(stream);
        let task_id = reply::bytes(task_id);
        let mut numbers = numbers.into_iter();
        let mut number = || numbers.next().and_then(|it| reply::number(&it)).unwrap_or_default();
        let weight = Weight {
            stream,
            task_id,
            updates_bytes: number(),
            updates: number(),
            result_bytes: number(),
            error_bytes: number(),
            hashes_bytes: number(),
            has_status: number() > 0,
            has_metadata: number() > 0,
        };
        Ok((now_us / 1000, weight))
    }

    async fn state_in_pieces(
        &self,
        thread: &ThreadId,
        weight: &Weight,
    ) -> Result<Option<State>, LogError> {
        if weight.task_id.is_none() && !weight.has_status && !weight.has_metadata {
            return Ok(None);
        }
        let prefix = self.options.keys.prefix();
        let of_thread = |part: &str| format!("{prefix}:thread:{thread}:{part}").into_bytes();
        let own = |part: &str| match &weight.task_id {
            Some(id) => [prefix.as_bytes(), b":task:", id, b":", part.as_bytes()].concat(),
            None => of_thread(part),
        };
        let mut updates = self.list(own("updates"), weight).await?;
        if weight.task_id.is_none() {
            // The `thread` layout keeps the newest first.
            updates.reverse();
        }
        let task = match &weight.task_id {
            Some(id) => {
                let metadata = self.hash(own("metadata")).await?;
                Some(TaskPart { task_id: id.clone(), metadata })
            }
            None => None,
        };
        Ok(Some(self.in_words(State {
            status: self.string(own("status"), 0).await?,
            updates_total: updates.len() as u64,
            updates,
            result: self.string(own("result"), weight.result_bytes).await?,
            error: self.string(own("error"), weight.error_bytes).await?,
            metadata: self.hash(of_thread("metadata")).await?,
            context: self.hash(of_thread("context")).await?,
            task,
        })))
    }

    async fn list(&self, key: Vec<u8>, weight: &Weight) -> Result<Vec<Bytes>, LogError> {
        let each = weight.updates_bytes / weight.updates.max(1);
        let step = (PIECE_BYTES / each.max(1)).max(1);
        let mut found = Vec::new();
        for from in (0..weight.updates).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            let mut range = redis::cmd("LRANGE");
            range.arg(&key).arg(from).arg(from + step - 1);
            found.extend(
                reply::array(self.read(&range).await?).into_iter().filter_map(reply::bytes),
            );
        }
        Ok(found)
    }

    async fn string(&self, key: Vec<u8>, bytes: u64) -> Result<Option<Bytes>, LogError> {
        if bytes <= PIECE_BYTES {
            return Ok(reply::bytes(self.read(redis::cmd("GET").arg(&key)).await?));
        }
        let mut found = BytesMut::with_capacity(usize::try_from(bytes).unwrap_or_default());
        for from in (0..bytes).step_by(PIECE_BYTES as usize) {
            let mut range = redis::cmd("GETRANGE");
            range.arg(&key).arg(from).arg(from + PIECE_BYTES - 1);
            found.extend(reply::bytes(self.read(&range).await?));
        }
        Ok(Some(found.freeze()))
    }

    async fn hash(&self, key: Vec<u8>) -> Result<Vec<(Bytes, Bytes)>, LogError> {
        Ok(reply::pairs(self.read(redis::cmd("HGETALL").arg(&key)).await?))
    }

    /// What a key holds; nothing where it is of another type.
    async fn read(&self, command: &redis::Cmd) -> Result<Value, LogError> {
        match self.link.in_time(self.link.ask(command)).await {
            Err(failure) if failure.class == Class::WrongType => Ok(Value::Nil),
            answer => Ok(answer?),
        }
    }
}
