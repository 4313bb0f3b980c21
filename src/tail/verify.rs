//! What happens where a read does not prove that nothing is missing.

use std::sync::Arc;

use bytes::Bytes;

use super::Tail;
use super::due::Why;
use crate::core::account::Kind;
use crate::core::seam;
use crate::id::StreamId;
use crate::intake::{Intake, Judged, behind};
use crate::log::tail::Told;
use crate::log::{LogError, PageWants, SnapshotWants};
use crate::topic::Topic;

impl Tail {
    /// Reads entries, facts and state in one step: either nothing is missing, or the viewers are
    /// told of a gap. Whether there was something new.
    pub(super) async fn verify(
        &mut self,
        key: &Bytes,
        topic: &Arc<Topic>,
        head: StreamId,
    ) -> Result<bool, LogError> {
        let limits = &self.shared.config.limits;
        let wants = SnapshotWants {
            updates_max: Some(seam::UPDATES_READ),
            newest_max: topic.newest_max(),
            page: Some(PageWants {
                from: head,
                entries_max: self.share.entries_max as u64,
                bytes_max: limits.page_bytes_max as u64,
            }),
            looks_for: None,
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
        let entries = behind(&snapshot.page, head);
        let intake = Intake {
            anchored: entries.len() < snapshot.page.len(),
            looked: true,
            entries,
            more: snapshot.page_goes_on,
            told: Told::Facts(snapshot.stream),
            history: snapshot.history,
        };
        match self.shared.take_in(topic, head, &intake) {
            Judged::TakenIn => {
                if intake.more {
                    self.is_due(key.clone(), Why::Other);
                }
                Ok(!intake.entries.is_empty())
            }
            // The facts are there.
            Judged::Unproven => Ok(false),
            Judged::Gap(reason) => {
                self.shared.tell_gap(topic, head, reason, &mut snapshot);
                // The tail goes on from the position of that state.
                self.is_due(key.clone(), Why::Other);
                Ok(true)
            }
        }
    }
}
