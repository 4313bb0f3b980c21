//! Looking at the keys of which a change may mean another state.

use bytes::Bytes;

use super::RedisTail;
use crate::log::redis::error::Failure;
use crate::log::redis::resp::{Cursor, Value};
use crate::log::redis::wire::{Bounds, put_head, put_word};
use crate::log::tail::{StateKeys, StateSeen};

/// The last byte that is looked at of a status.
const STATUS_END: &[u8] = b"255";

/// A longer answer is let go: it is no status, and no task's name.
const SHORT: Bounds = Bounds { string_bytes_max: 4096, message_bytes_max: usize::MAX };

impl RedisTail {
    /// Looks at these keys; where Redis tracks, it tells of each once when it changes.
    ///
    /// # Errors
    /// The connection is broken. What Redis refuses counts as not there: whoever reads the state says so.
    pub(in crate::log) async fn look_at(
        &mut self,
        states: &[StateKeys],
    ) -> Result<Vec<StateSeen>, Failure> {
        let out = self.wire.out();
        let mut put = |command: &[&[u8]]| {
            put_head(out, command.len());
            command.iter().for_each(|word| put_word(out, word));
        };
        for StateKeys { status, field, tasks } in states {
            match field {
                Some(field) => put(&[b"HGET", status, field]),
                None => put(&[b"GETRANGE", status, b"0", STATUS_END]),
            }
            if let Some(tasks) = tasks {
                put(&[b"ZREVRANGE", tasks, b"0", b"0"]);
            }
        }
        self.wire.send().await?;
        self.wire.take_up_to(SHORT);
        let seen = self.take_seen(states).await;
        self.wire.take_up_to(self.bounds);
        seen
    }

    async fn take_seen(&mut self, states: &[StateKeys]) -> Result<Vec<StateSeen>, Failure> {
        let mut seen = Vec::with_capacity(states.len());
        for keys in states {
            let (status, _) = self.reply().await?.parts();
            let status = match Cursor::new(&status).value() {
                Some(Value::Text(status)) if !status.is_empty() => Some(status),
                _ => None,
            };
            let newest = match keys.tasks {
                Some(_) => self.take_newest().await?,
                None => None,
            };
            seen.push(StateSeen { status, newest });
        }
        Ok(seen)
    }

    async fn take_newest(&mut self) -> Result<Option<Bytes>, Failure> {
        let (tasks, _) = self.reply().await?.parts();
        let mut tasks = Cursor::new(&tasks);
        Ok(match tasks.value() {
            Some(Value::Values(1)) => tasks.text(),
            _ => None,
        })
    }
}
