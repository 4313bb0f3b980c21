//! Encode: what a task is now, where no entry tells it, as the frames that published entries would have
//! been (protocol §3.2).

use bytes::{BufMut, BytesMut};

use super::{put_approval, put_id, put_text_member};
use crate::form::ws::put_text;
use crate::id::{StreamId, ThreadId};
use crate::json::{put_value, text};
use crate::present::Lacks;
use crate::state::State;
use crate::timestamp;

/// Result and error before the status that belongs to them. `position` is the viewer's.
pub fn put_standing(
    out: &mut BytesMut,
    thread: &ThreadId,
    position: StreamId,
    state: &State,
    lacks: Lacks,
    now_ms: u64,
) {
    if let Some(result) = state.result.as_deref().filter(|_| lacks.result) {
        put_frame(out, "result_set", thread, position, state, now_ms, |out| {
            out.put_slice(b"\"result\":");
            put_value(out, result);
            out.put_u8(b',');
            put_text_member(out, "message", "Task result available");
        });
    }
    if let Some(error) = state.error.as_deref().filter(|_| lacks.error) {
        put_frame(out, "error_set", thread, position, state, now_ms, |out| {
            let error = text(error);
            put_text_member(out, "error_message", &error);
            out.put_u8(b',');
            put_text_member(out, "message", &error);
        });
    }
    if let Some(status) = state.status.as_deref().filter(|_| lacks.status) {
        put_frame(out, "status_change", thread, position, state, now_ms, |out| {
            let status = text(status);
            put_text_member(out, "status", &status);
            out.put_u8(b',');
            put_text_member(out, "message", &format!("Status changed to {status}"));
            put_approval(out, state);
        });
    }
}

fn put_frame(
    out: &mut BytesMut,
    update_type: &str,
    thread: &ThreadId,
    position: StreamId,
    state: &State,
    now_ms: u64,
    members: impl FnOnce(&mut BytesMut),
) {
    put_text(out, |out| {
        out.put_u8(b'{');
        put_text_member(out, "update_type", update_type);
        out.put_u8(b',');
        put_text_member(out, "thread_id", thread.as_str());
        if let Some(task) = &state.task {
            out.put_u8(b',');
            put_text_member(out, "task_id", &text(&task.task_id));
        }
        out.put_u8(b',');
        members(out);
        out.put_u8(b',');
        put_text_member(out, "timestamp", &timestamp::from_ms(now_ms));
        out.put_slice(b",\"derived\":true,");
        put_id(out, "stream_id", position);
        out.put_u8(b'}');
    });
}
