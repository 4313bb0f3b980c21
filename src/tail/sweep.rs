//! The sweep: every stream is looked at once in a while, whatever hints said, and topics that
//! nobody watches are let go.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Tail;
use super::due::Why;
use crate::log::LogError;
use crate::log::source::Source;
use crate::log::tail::HintMode;
use crate::shared::Shared;
use crate::topic::Topic;

/// A sweep goes over a part of the streams at a time, so often,
const SWEEP_PARTS: u32 = 60;

/// and at least once in so long, in which a connection that says nothing is asked whether it lives:
/// Redis closes idle ones, after seconds if it is told so.
const TICK_MAX: Duration = Duration::from_secs(1);

/// and at most once in so long.
const TICK_MIN: Duration = Duration::from_millis(10);

/// Without hints for them, deleted streams are looked for in so few parts.
const BLOCK_SWEEP_PARTS: u32 = 3;

/// Each tick goes over at least so many streams, or all,
const STEP_MIN: usize = 1_000;

/// and over all of them in at most so many ticks.
const STEPS_MAX: usize = 10;

impl Tail {
    /// How often the sweep goes on.
    pub(super) fn tick(&self) -> Duration {
        (self.shared.config.limits.sweep_interval() / SWEEP_PARTS).clamp(TICK_MIN, TICK_MAX)
    }

    /// In how many ticks each stream is looked at.
    pub(super) fn ticks(&self, source: &Source) -> usize {
        (self.interval(source).as_micros() / self.tick().as_micros().max(1)) as usize
    }

    /// How long a stream may go without being looked at.
    fn interval(&self, source: &Source) -> Duration {
        let interval = self.shared.config.limits.sweep_interval();
        match source.mode() {
            // `XREAD BLOCK` tells nothing of a stream that was deleted or began anew.
            Some(HintMode::Block) => interval / SWEEP_PARTS * BLOCK_SWEEP_PARTS,
            _ => interval,
        }
    }

    /// Has a part of the streams read, whatever hints said, and forgets those without viewers.
    pub(super) async fn sweep(&mut self, source: &mut Source) -> Result<(), LogError> {
        let linger_ms = self.shared.config.limits.topic_linger_ms;
        let (ticks, interval) = (self.ticks(source), self.interval(source));
        let now_ms = self.shared.now_ms();
        let now = Instant::now();
        let part_max = self.watched.len().div_ceil(ticks.saturating_sub(1).max(1));
        let mut part: Vec<Bytes> = Vec::new();
        for _ in 0..self.step(ticks) {
            if self.swept_to >= self.watched.len() {
                self.swept_to = 0;
            }
            let Some((key, watched)) = self.watched.get_index_mut(self.swept_to) else { break };
            let topic = &watched.topic;
            release_idle(topic, now_ms, linger_ms);
            if let_go(&self.shared, topic, now_ms, linger_ms) {
                // The last one takes its place, and is next.
                if let Some((key, mut gone)) = self.watched.swap_remove_index(self.swept_to) {
                    self.states.forget(&key, &mut gone.seen);
                }
                continue;
            }
            if part.len() < part_max && now.duration_since(watched.read_at) >= interval {
                part.push(key.clone());
            }
            self.swept_to += 1;
        }
        for key in part {
            self.states.is_due(key.clone());
            self.is_due(key, Why::Sweep);
        }
        if self.due.is_empty() {
            source.check().await?;
        }
        Ok(())
    }

    /// How many streams to go over in this tick: a part of them, where all would hold up the thread.
    fn step(&self, ticks: usize) -> usize {
        let all = self.watched.len();
        all.div_ceil(ticks.clamp(1, STEPS_MAX)).max(STEP_MIN).min(all)
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
