//! The list of tasks: the index, and what a row shows of each task in it.

use std::sync::LazyLock;

use futures_util::{StreamExt, TryStreamExt, stream};
use redis::Value;

use super::error::Class;
use super::script::Script;
use super::{RedisLog, reply};
use crate::id::ThreadId;
use crate::log::{LISTED_TEXT_BYTES_MAX, LISTED_UPDATES_MAX, Listed, LogError, State, TaskPart};

/// How many rows of the index are looked at for a list: those of tasks that are gone do not count
/// as listed.
const INDEX_ROWS_MAX: usize = 1_000;
/// How many rows are asked for at a time.
const ROWS_AT_ONCE: usize = 8;
/// No older updates of a task are looked at once the newer ones have so many bytes.
const ROW_BYTES_MAX: usize = 64 * 1024;

static ROW: LazyLock<Script> = LazyLock::new(|| Script::reading(include_str!("row.lua")));

impl RedisLog {
    /// See [`Log::newest_tasks`](crate::log::Log::newest_tasks).
    pub(crate) async fn newest_tasks(&self, limit: u64) -> Result<Vec<Listed>, LogError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(INDEX_ROWS_MAX);
        let (mut listed, mut looked_at) = (Vec::<Listed>::new(), 0);
        while listed.len() < limit && looked_at < INDEX_ROWS_MAX {
            // Twice as many each time, so that an index of dead rows takes few round trips.
            let wanted = looked_at.max(limit).min(INDEX_ROWS_MAX - looked_at);
            let rows = self.index_rows(looked_at, wanted).await?;
            let end = rows.len() < wanted;
            looked_at += wanted;
            // Rows move down where a task changes in between: then one is read twice.
            let new = rows
                .into_iter()
                .flatten()
                .filter(|(thread, _)| listed.iter().all(|known| known.thread != *thread));
            // Some at once on one connection: the answers come one behind the other, and Redis has
            // time for others in between.
            let reads = new.map(|(thread, updated_at)| self.listed(thread, updated_at));
            let reads: Vec<_> = reads.collect();
            let read = stream::iter(reads).buffered(ROWS_AT_ONCE);
            let read: Vec<_> = read.try_collect().await?;
            listed.extend(read.into_iter().flatten());
            if end {
                break;
            }
        }
        listed.truncate(limit);
        Ok(listed)
    }

    /// Rows of the index, newest first; none in the place of one that is no task's. A key of
    /// another type is an empty index.
    async fn index_rows(
        &self,
        skipped: usize,
        count: usize,
    ) -> Result<Vec<Option<(ThreadId, f64)>>, LogError> {
        let mut range = redis::cmd("ZREVRANGE");
        range
            .arg(self.options.keys.index())
            .arg(skipped)
            .arg(skipped + count - 1)
            .arg("WITHSCORES");
        let rows = self.link.in_time(self.link.ask(&range)).await;
        let rows = match rows {
            Err(failure) if failure.class == Class::WrongType => Value::Nil,
            rows => rows?,
        };
        let rows = reply::pairs(rows).into_iter().map(|(name, score)| {
            let text = |bytes| std::str::from_utf8(bytes).ok();
            Some((text(&name)?.parse().ok()?, text(&score)?.parse().ok()?))
        });
        Ok(rows.collect())
    }

    /// A task with what its row shows, where there is one. One whose keys may not be read is left
    /// out: it is not this list's.
    async fn listed(&self, thread: ThreadId, updated_at: f64) -> Result<Option<Listed>, LogError> {
        let prefix = self.options.keys.prefix();
        let keys = [format!("{prefix}:thread:{thread}")];
        let args = [
            format!("{prefix}:task"),
            LISTED_UPDATES_MAX.to_string(),
            ROW_BYTES_MAX.to_string(),
            LISTED_TEXT_BYTES_MAX.to_string(),
        ];
        let reading = self.link.run(&ROW, &keys, &args);
        let state = match self.link.in_time(reading).await {
            Err(failure) if failure.class == Class::NoRightToKey => None,
            read => row(read?).ok_or_else(LogError::another_form)?,
        };
        let state = state.map(|state| self.in_words(state));
        Ok(state.map(|state| Listed { thread, updated_at, state }))
    }
}

/// The reply of `row.lua`: a state, where there is one; none where it is of another form.
fn row(reply: Value) -> Option<Option<State>> {
    if !matches!(reply, Value::Array(_)) {
        return Some(None);
    }
    let [task_id, status, updates, metadata, of_task] = reply::parts(reply)?;
    let mut updates: Vec<_> = reply::array(updates).into_iter().filter_map(reply::bytes).collect();
    updates.reverse();
    let task =
        reply::bytes(task_id).map(|task_id| TaskPart { task_id, metadata: reply::pairs(of_task) });
    let (status, metadata) = (reply::bytes(status), reply::pairs(metadata));
    Some(Some(State { status, updates, metadata, task, ..State::default() }))
}
