//! Hints without tracking: waits for changes with `XREAD BLOCK`, group by group, on a connection of
//! its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::error::Failure;
use super::tail::AbortOnDrop;
use super::wire::{Received, Wire};
use super::xread;
use crate::id::StreamId;
use crate::log::tail::Hints;
use crate::supervise::on_panic;

/// How many streams one `XREAD BLOCK` waits for.
const STREAMS_PER_BLOCK: usize = 128;

/// How long one `XREAD BLOCK` waits: so long may a stream that was just added stay unwatched.
const BLOCK_MS: u64 = 50;

/// So often the streams are looked at where Redis refuses to wait for them.
const POLL: Duration = Duration::from_millis(200);

/// Redis closes idle connections, after seconds if it is told so: this one is not idle for longer.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// The streams that are waited for, each with the position that is known.
type Streams = Arc<Mutex<Vec<(Bytes, StreamId)>>>;

/// Waits, as long as it is not dropped.
pub(super) struct Waiter {
    streams: Streams,
    _task: AbortOnDrop,
}

impl Waiter {
    pub(super) fn start(wire: Wire, hints: Hints) -> Self {
        let streams = Streams::default();
        let watched = streams.clone();
        let task = tokio::spawn(async move {
            let _lost = on_panic(|| hints.lose());
            if let Err(error) = wait(wire, &watched, &hints).await {
                tracing::debug!(%error, "waiter_lost");
                hints.lose();
            }
        });
        Self { streams, _task: AbortOnDrop(task) }
    }

    /// Says which streams to wait for, and from where on.
    pub(super) fn watch<'a>(&self, streams: impl Iterator<Item = (&'a Bytes, StreamId)>) {
        *self.streams.lock() = streams.map(|(key, after)| (key.clone(), after)).collect();
    }
}

async fn wait(mut wire: Wire, watched: &Streams, hints: &Hints) -> Result<(), Failure> {
    let mut from = 0;
    let mut asked = Instant::now();
    loop {
        let (group, groups) = {
            let watched = watched.lock();
            from = if from < watched.len() { from } else { 0 };
            let to = watched.len().min(from + STREAMS_PER_BLOCK);
            (watched[from..to].to_vec(), watched.len().div_ceil(STREAMS_PER_BLOCK))
        };
        if group.is_empty() {
            if asked.elapsed() > IDLE_MAX {
                asked = Instant::now();
                wire.ask(&["PING"]).await?;
            }
            tokio::time::sleep(Duration::from_millis(BLOCK_MS)).await;
            continue;
        }
        from += group.len();
        let wait_ms = (BLOCK_MS / groups as u64).max(1);
        let streams = group.iter().map(|(key, after)| (key, *after));
        xread::put(wire.out(), streams, 1, Some(wait_ms));
        wire.send().await?;
        asked = Instant::now();
        match wire.reply().await? {
            Received::Reply(reply) | Received::Cut(reply, _) => match xread::streams(&reply) {
                Ok(found) => found.into_iter().for_each(|(key, _)| hints.key(key)),
                Err(error) => {
                    // The reader finds out which stream it is, and sets it aside, or that Redis is
                    // not to be used now. Where it refuses only to wait, this is how the reader
                    // learns of changes.
                    tracing::debug!(error = %Failure::answered(&error), "waiting_refused");
                    group.into_iter().for_each(|(key, _)| hints.key(key));
                    tokio::time::sleep(POLL).await;
                }
            },
            Received::Push(_) => {}
        }
        // A hint that was just given is read by the tail before we ask again.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
