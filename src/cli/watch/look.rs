//! The look back, for a status that following a task did not tell: its state has expired and its
//! stream is still there, or the watching began after the last status.

use std::io::Write;
use std::ops::ControlFlow;

use super::task::Task;
use super::{End, Screen, note_connection};
use crate::client::{Client, Event, Follow, Since};
use crate::id::StreamId;

/// Looks for a status in the state, unless that came already, and then in what the stream retains
/// up to where the task is followed. Shows what of that was not shown.
pub(super) async fn look_back<W: Write>(
    client: &Client,
    task: &mut Task,
    screen: &mut Screen<W>,
) -> std::io::Result<Option<End>> {
    let thread = task.thread.clone();
    if !task.has_state {
        let state = client.follow(thread.clone());
        if let Some(end) = recall(state, task, screen).await? {
            return Ok(Some(end));
        }
    }
    if !task.status.is_empty() || task.at == StreamId::ZERO {
        return Ok(None);
    }
    recall(client.follow_since(thread, Since::Retained), task, screen).await
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
                ControlFlow::Continue(Some(note)) => screen.update(task, Some(&json), &[note])?,
                ControlFlow::Continue(None) => {}
                ControlFlow::Break(()) => break,
            },
            Ok(event) => note_connection(&event, task, screen)?,
            Err(error) => return Ok(Some(End::Unusable(error))),
        }
    }
    Ok(None)
}
