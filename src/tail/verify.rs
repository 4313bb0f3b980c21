//! What happens when the entry at the head is not there.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Tail;
use super::due::Why;
use crate::core::account::Kind;
use crate::core::chunk::Chunk;
use crate::core::encode;
use crate::core::gap::{self, GapReason};
use crate::core::judge::{Verdict, added, judge};
use crate::core::seam;
use crate::id::StreamId;
use crate::log::{LogError, PageWants, Snapshot, SnapshotWants};
use crate::topic::Topic;

impl Tail {
    /// The entry at the head is not there. Either it was trimmed after it was delivered and
    /// nothing is missing, or the viewers are told of a gap.
    pub(super) async fn verify(
        &mut self,
        key: &Bytes,
        topic: &Arc<Topic>,
        head: StreamId,
    ) -> Result<bool, LogError> {
        let limits = &self.shared.config.limits;
        let wants = SnapshotWants {
            updates_max: Some(seam::UPDATES_READ),
            newest_max: seam::ENTRIES_READ,
            page: Some(PageWants {
                from: head,
                entries_max: self.share.entries_max as u64,
                bytes_max: limits.page_bytes_max as u64,
            }),
            bytes_max: (!self.is_lane()).then_some(limits.answer_bytes_max() as u64),
        };
        let held_bytes = wants.bytes_max.unwrap_or_default() as usize;
        let _charge = self.shared.account.charge(Kind::Answers, held_bytes);
        let mut snapshot = match self.log().snapshot(&topic.thread, wants).await {
            Err(LogError::TooLarge) => {
                self.give_to_lane(key);
                return Ok(false);
            }
            result => result?,
        };
        let entries_added = topic.recent.lock().entries_added;
        let reason = match judge(head, entries_added, &snapshot) {
            Verdict::Complete => {
                let page = &snapshot.page[..];
                let anchored = page.first().is_some_and(|entry| entry.id == head);
                let new = if anchored { &page[1..] } else { page };
                if new.is_empty() {
                    return Ok(false);
                }
                if snapshot.page_goes_on {
                    self.is_due(key.clone(), Why::Other);
                }
                self.append(topic, head, new);
                return Ok(true);
            }
            Verdict::Gap(reason) => reason,
        };
        seam::close(&mut snapshot);
        self.tell_gap(topic, head, reason, &snapshot);
        // The tail goes on from the position of that state.
        self.is_due(key.clone(), Why::Other);
        Ok(true)
    }

    /// Tells all viewers at the head of a gap: they go on from a new state.
    fn tell_gap(&self, topic: &Arc<Topic>, head: StreamId, reason: GapReason, snapshot: &Snapshot) {
        let position = snapshot.stream.last_generated;
        let state = snapshot.state.clone().unwrap_or_default();
        let mut out = BytesMut::with_capacity(encode::initial_state_bytes(&state));
        encode::put_gap(&mut out, &topic.thread, &gap::gap(head, &snapshot.stream, reason));
        encode::put_initial_state(&mut out, &topic.thread, position, &state, snapshot.now_ms);
        topic.recent.lock().entries_added = added(&snapshot.stream);
        self.shared.metrics.count_gap(reason);
        let thread_id = &topic.thread;
        tracing::info!(%thread_id, reason = reason.as_str(), requested = %head, now_at = %position, "gap");
        let chunk = Chunk::of_one(&self.shared.account, out.freeze(), head, position);
        self.shared.renew(topic, chunk, reason == GapReason::Reset);
    }
}
