//! The stream of revocations in Redis.

use redis::{Value, cmd};

use super::RedisLog;
use super::error::Failure;
use crate::clock;
use crate::core::access::Revocation;
use crate::id::StreamId;
use crate::log::{LogError, revocations};

/// An entry: its id, its fields.
type Read = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>);

impl RedisLog {
    /// See [`Log::revoke`](crate::log::Log::revoke).
    pub(in crate::log) async fn revoke(
        &self,
        revocation: &Revocation,
        days: u64,
    ) -> Result<(), LogError> {
        let oldest_ms = clock::now_ms().saturating_sub(days * 86_400_000);
        let mut command = cmd("XADD");
        let key = revocations::key(self.keys());
        command.arg(key).arg("MINID").arg("~").arg(oldest_ms).arg("*");
        for (name, value) in revocations::fields(revocation) {
            command.arg(name).arg(value);
        }
        self.link.in_time(self.link.ask(&command)).await?;
        Ok(())
    }

    /// See [`Log::revocations`](crate::log::Log::revocations).
    pub(in crate::log) async fn revocations(
        &self,
        after: StreamId,
        max: u64,
    ) -> Result<Vec<(StreamId, Option<Revocation>)>, LogError> {
        let mut command = cmd("XRANGE");
        let key = revocations::key(self.keys());
        command.arg(key).arg(format!("({after}")).arg("+").arg("COUNT").arg(max);
        let answer = self.link.in_time(self.link.ask(&command)).await?;
        Ok(read(&answer)?)
    }
}

fn read(answer: &Value) -> Result<Vec<(StreamId, Option<Revocation>)>, Failure> {
    let odd = || Failure::odd("XRANGE was answered by no entries".into());
    let entries: Vec<Read> = redis::from_redis_value_ref(answer).map_err(|_| odd())?;
    let entries = entries.into_iter().map(|(id, fields)| {
        let id = StreamId::parse_bytes(&id).ok_or_else(odd)?;
        let fields = fields.iter().map(|(name, value)| (&name[..], &value[..]));
        Ok((id, revocations::of_fields(fields)))
    });
    entries.collect()
}
