//! The sweep: every stream is looked at once in a while, whatever hints said, and topics that
//! nobody watches are let go.

use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use super::{Source, Tail};
use crate::config;
use crate::log::redis::tail::TailMode;
use crate::log::{Log, LogError};
use crate::worker::shared::Shared;
use crate::worker::topic::Topic;

/// A sweep goes over a part of the streams at a time, so often.
pub(super) const SWEEP_PARTS: u32 = 60;

/// Without hints for them, deleted streams are looked for in so few parts.
const BLOCK_SWEEP_PARTS: u32 = 3;

/// Each tick goes over at least so many streams, or all,
const STEP_MIN: usize = 1_000;

/// and over all of them in at most so many ticks.
const STEPS_MAX: usize = 10;

/// After so many sweeps in a row that found what no hint had told of, hints are not relied on.
pub(super) const MISSED_SWEEPS_MAX: u32 = 3;

impl Tail {
    /// Looks at a part of the streams, whatever hints said, and forgets those without viewers.
    pub(super) async fn sweep(&mut self, source: &mut Source) -> Result<(), LogError> {
        let limits = &self.shared.config.limits;
        let linger_ms = limits.topic_linger_ms;
        let tick = limits.sweep_interval() / SWEEP_PARTS;
        let interval = match source.mode() {
            // `XREAD BLOCK` tells nothing of a stream that was deleted or began anew.
            Some(TailMode::Block) => tick * BLOCK_SWEEP_PARTS,
            _ => limits.sweep_interval(),
        };
        let now_ms = self.shared.now_ms();
        let now = Instant::now();
        let ticks = (interval.as_micros() / tick.as_micros().max(1)) as usize;
        let part_max = self.watched.len().div_ceil(ticks.saturating_sub(1).max(1));
        let (mut part, mut odd) = (Vec::new(), Vec::new());
        for _ in 0..self.step(ticks) {
            if self.swept_to >= self.watched.len() {
                self.swept_to = 0;
            }
            let Some((key, watched)) = self.watched.get_index_mut(self.swept_to) else { break };
            let topic = &watched.topic;
            release_idle(topic, now_ms, linger_ms);
            if let_go(&self.shared, topic, now_ms, linger_ms) {
                // The last one takes its place, and is next.
                self.watched.swap_remove_index(self.swept_to);
                continue;
            }
            if part.len() + odd.len() < part_max && now.duration_since(watched.read_at) >= interval
            {
                if watched.wrong_type { &mut odd } else { &mut part }.push(key.clone());
            }
            self.swept_to += 1;
        }
        part.retain(|key| !self.due.contains(key));
        self.due.extend(odd);
        let mut found = 0;
        for keys in part.chunks(self.share.streams_per_read) {
            found += self.read(source, keys).await?;
        }
        if part.is_empty() {
            source.check().await?;
        } else {
            self.shared.metrics.sweep_finds.fetch_add(found as u64, Relaxed);
            self.missed_sweeps = if found > 0 { self.missed_sweeps + 1 } else { 0 };
        }
        Ok(())
    }

    /// How many streams to go over in this tick: a part of them, where all would hold up the thread.
    fn step(&self, ticks: usize) -> usize {
        let all = self.watched.len();
        all.div_ceil(ticks.clamp(1, STEPS_MAX)).max(STEP_MIN).min(all)
    }

    /// Goes on without tracking, where that is allowed. Whether to connect again.
    pub(super) fn give_up_hints(&mut self) -> bool {
        self.missed_sweeps = 0;
        let fall_back = self.mode == TailMode::Tracking
            && self.shared.config.tail == config::TailMode::Auto
            && matches!(self.shared.log, Log::Redis(_));
        if fall_back {
            tracing::warn!(worker = self.number, "hints_unreliable");
            self.mode = TailMode::Block;
        }
        fall_back
    }
}

/// A topic that nobody has watched for a while is forgotten. Whether it was.
fn let_go(shared: &Shared, topic: &Topic, now_ms: u64, linger_ms: u64) -> bool {
    let left_for = now_ms.saturating_sub(topic.left_ms.load(Relaxed));
    let forgotten =
        topic.viewers.load(Relaxed) == 0 && left_for >= linger_ms && shared.topics.retire(topic);
    if forgotten {
        topic.recent.lock().log = None;
    }
    forgotten
}

/// An idle topic holds no bytes.
fn release_idle(topic: &Topic, now_ms: u64, linger_ms: u64) {
    let mut recent = topic.recent.lock();
    if now_ms.saturating_sub(recent.appended_ms) < linger_ms {
        return;
    }
    if let Some(log) = recent.log.as_mut()
        && log.bytes() > 0
        && topic.lagging.load(Relaxed) == 0
    {
        log.release();
    }
}
