//! Reading a topic's list again, up to the end of its stream.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::{PATIENCE, REREAD_PAUSE, is_awaited};
use crate::core::account::{Charge, Kind, Priority};
use crate::id::StreamId;
use crate::intake::Brought;
use crate::log::{LogError, PageWants, Snapshot, SnapshotWants};
use crate::shared::{Shared, TailMessage};
use crate::topic::Topic;
use crate::turn::Turn;

/// What was read: the list, and the end of the stream, to which the topic is brought.
pub(crate) struct End {
    wants: SnapshotWants,
    pub(crate) snapshot: Snapshot,
    pub(crate) charge: Charge,
    pub(crate) turn: Turn,
}

/// Reads until the topic has everything that was in the stream; nothing where nobody waits for it any
/// more.
pub(crate) async fn read_end(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    epoch: Option<u32>,
    updates_max: u64,
) -> Result<Option<End>, LogError> {
    loop {
        let Some(head) = topic.head() else { return Ok(None) };
        let Some(end) = read(shared, topic, epoch, updates_max, head).await? else {
            return Ok(None);
        };
        let brought = shared.bring_to_end(topic, end.wants, &end.snapshot);
        if brought == Brought::ToEnd {
            return Ok(Some(end));
        }
        let look = TailMessage::Look(topic.clone(), Some(end.snapshot.history));
        shared.tails[topic.owner()].put(look);
        if brought != Brought::Behind {
            return Err(LogError::Unavailable("the stream is another one".into()));
        }
        // The tail has more to read.
        drop(end);
        sleep(REREAD_PAUSE).await;
    }
}

/// The list, and the stream from the topic's head on; on the lane's connection where they are large. None where
/// nobody waits for it any more.
async fn read(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    epoch: Option<u32>,
    updates_max: u64,
    from: StreamId,
) -> Result<Option<End>, LogError> {
    let limits = &shared.config.limits;
    let mut wants = SnapshotWants {
        updates_max: Some(updates_max),
        page: Some(PageWants {
            from,
            entries_max: limits.page_entries_max,
            bytes_max: limits.page_bytes_max as u64,
        }),
        bytes_max: Some(limits.answer_bytes_max() as u64),
        ..SnapshotWants::default()
    };
    let Some(charge) = room(shared, topic, epoch).await else { return Ok(None) };
    let turn = Turn::for_desk(shared, topic);
    match shared.log.snapshot_in_turn(&topic.thread, wants, turn).await {
        Err(LogError::TooLarge) => {}
        read => return read.map(|(snapshot, turn)| Some(End { wants, snapshot, charge, turn })),
    }
    drop(charge);
    wants.bytes_max = None;
    let _large = shared.lane.turn(true).await?;
    let charge = shared.account.outside(Kind::Answers);
    let turn = Turn::for_desk(shared, topic);
    let read = shared.lane.log().snapshot_in_turn(&topic.thread, wants, turn).await;
    read.map(|(snapshot, turn)| Some(End { wants, snapshot, charge, turn }))
}

/// Room for an answer of the usual size; none where nobody waits for it any more.
async fn room(shared: &Shared, topic: &Topic, epoch: Option<u32>) -> Option<Charge> {
    let began = Instant::now();
    let bytes = shared.config.limits.answer_bytes_max();
    while is_awaited(topic, epoch) {
        let patient = began.elapsed() < PATIENCE;
        let priority = if patient { Priority::Usual } else { Priority::Live };
        let charge = shared.account.reserve(Kind::Answers, bytes, priority);
        if charge.is_some() {
            return charge;
        }
        sleep(REREAD_PAUSE).await;
    }
    None
}
