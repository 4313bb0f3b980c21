//! Looks for what following a task did not tell: a status, where its state has expired and its stream is
//! still there, or the watching began after the last one; and whether an end of a source is still there.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::timeout;

use super::task::Task;
use super::{End, GRACE, Screen, note_connection};
use crate::client::{Client, ClientError, Event, Follow, Since, Update};
use crate::id::StreamId;

/// How long the server is asked whether an end is still there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Looks for a status in the state, unless that came already, and then in what the stream retains
/// up to where the task is followed; of a source, there only, as its state has no updates. Shows what of
/// that was not shown.
pub(super) async fn look_back<W: Write>(
    client: &Client,
    task: &mut Task,
    screen: &mut Screen<W>,
) -> std::io::Result<Option<End>> {
    let id = task.id.clone();
    if !task.has_state {
        let state = client.follow(id.clone());
        if let Some(end) = recall(state, task, screen).await? {
            return Ok(Some(end));
        }
    }
    if !task.lacks_past() || task.at == StreamId::ZERO {
        return Ok(None);
    }
    recall(client.follow_since(id, Since::Retained), task, screen).await
}

/// Takes what such a connection brings, as far as it is of use.
async fn recall<W: Write>(
    mut past: Follow,
    task: &mut Task,
    screen: &mut Screen<W>,
) -> std::io::Result<Option<End>> {
    while let Some(event) = past.next().await {
        match event {
            Ok(Event::Frame { update, json }) => match task.recall(&update, &json) {
                ControlFlow::Continue(notes) if notes.is_empty() => {}
                ControlFlow::Continue(notes) => screen.update(task, Some(&json), &notes)?,
                ControlFlow::Break(()) => break,
            },
            Ok(event) => note_connection(&event, task, screen)?,
            Err(error) => return Ok(Some(End::Unusable(error))),
        }
    }
    Ok(None)
}

/// What the server says of an end that is in doubt. Of a source, it comes with the state as long as the end
/// is there; of the agent's, the state has the status in the words of the field.
pub(super) async fn look_again(client: &Client, task: &mut Task) -> Option<ClientError> {
    task.end_in_doubt = false;
    let mut now = client.follow(task.id.clone());
    let mut patience = PATIENCE;
    loop {
        match timeout(patience, now.next()).await {
            Ok(Some(Ok(Event::Frame { update: update @ Update::End { .. }, json }))) => {
                // It was shown already.
                task.apply(&update, &json);
                return None;
            }
            Ok(Some(Ok(Event::Frame { update: update @ Update::Initial { .. }, json })))
                if !task.is_of_source() =>
            {
                task.stand(&update, &json);
                return None;
            }
            // The end comes right behind it.
            Ok(Some(Ok(Event::Frame { update: Update::Initial { .. }, .. }))) => patience = GRACE,
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Some(error),
            Ok(None) | Err(_) => return None,
        }
    }
}
