//! A publication on its way to Redis: sent again until Redis says what came of it, or its time is
//! over.
//!
//! Its id makes that safe: what Redis has done already it only answers again. Until there is an
//! answer nobody knows whether it was done, and what Redis refuses later does not tell either: it may
//! be another server by then, that has never heard of the attempt before.

use std::mem::replace;
use std::time::{Duration, Instant};

use redis::Value;
use tokio::time::{sleep, timeout};

use super::error::{Class, Failure};
use super::{RedisLog, publish, reply};
use crate::core::backoff::Backoff;
use crate::id::ThreadId;
use crate::log::{LogError, Publication, Published};

/// Between two attempts, at first and later.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

struct Attempts<'a> {
    log: &'a RedisLog,
    keys: Vec<String>,
    args: Vec<String>,
    begun: Instant,
    /// One was sent, and what came of it is not known.
    in_doubt: bool,
}

impl RedisLog {
    /// See [`Log::publish`](crate::log::Log::publish).
    pub(crate) async fn publish(
        &self,
        thread: &ThreadId,
        publication: &Publication,
    ) -> Result<Published, LogError> {
        let (keys, args) = publish::invocation(&self.options, thread, publication);
        let mut attempts =
            Attempts { log: self, keys, args, begun: Instant::now(), in_doubt: false };
        let answer = self.link.in_time(attempts.run()).await;
        let unknown =
            |why: String| LogError::Unknown { why, idempotency_key: publication.id.key().clone() };
        match answer {
            Ok(Value::Nil) if attempts.in_doubt => Err(unknown(LogError::NotFound.to_string())),
            Ok(Value::Nil) => Err(LogError::NotFound),
            Ok(reply) => reply::published(reply)
                .ok_or_else(|| unknown("Redis gave an unexpected answer".to_owned())),
            Err(failure) if attempts.in_doubt => Err(unknown(failure.to_string())),
            Err(failure) => Err(failure.into()),
        }
    }
}

impl Attempts<'_> {
    async fn run(&mut self) -> Result<Value, Failure> {
        let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
        let mut measured = false;
        loop {
            let mut failure = match self.attempt().await {
                Err(failure) => failure,
                answer => return answer,
            };
            // The clock of Redis may have been set since it was looked at.
            if failure.class == Class::Late && !measured {
                measured = true;
                match self.log.link.measure_clock().await {
                    Ok(()) => continue,
                    Err(of_measuring) => failure = of_measuring,
                }
            }
            // Without a doubt the publisher is told at once: he may know another server.
            if !(self.in_doubt && failure.passes()) {
                return Err(failure);
            }
            sleep(backoff.wait(rand::random())).await;
        }
    }

    async fn attempt(&mut self) -> Result<Value, Failure> {
        let Self { log, keys, args, .. } = self;
        let (link, response) = (&log.link, log.options.timeouts.response);
        let live = link.live_for_sure().await?;
        // Whoever is told that Redis did not answer in time must not find it written later.
        let left = (response * 3 / 4).saturating_sub(self.begun.elapsed());
        args[publish::DEADLINE_MS] = (link.clock.now_ms() + left.as_millis() as i64).to_string();
        let was_in_doubt = replace(&mut self.in_doubt, true);
        // An answer may be lost and the connection stay: so there is time for another one.
        let running = timeout(response / 2, link.run_on(&live, &log.publish, keys, args));
        let answer = running.await.unwrap_or_else(|_| {
            link.give_up(&live);
            Err(Failure::silent())
        });
        if answer.as_ref().err().is_none_or(Failure::is_refusal) {
            self.in_doubt = was_in_doubt;
        }
        answer
    }
}
