//! Encode: what a task is now, where no entry tells it, as the frames that published entries would have
//! been (protocol §3.2).

use bytes::{BufMut, BytesMut};

use super::{put_approval, put_id, put_text_member, put_thread};
use crate::form::ws::put_text;
use crate::id::{StreamId, ThreadId};
use crate::json::{put_value, text};
use crate::present::Lacks;
use crate::state::State;
use crate::timestamp;

/// The frames that tell a state to a viewer.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The task.
    pub thread: &'a ThreadId,
    /// Where the viewer stands.
    pub position: StreamId,
    /// The state.
    pub state: &'a State,
    /// When it was read, by the log's clock, in milliseconds since the epoch.
    pub now_ms: u64,
}

impl Standing<'_> {
    /// Appends what of it is lacked: result and error before the status that belongs to them.
    pub fn put(self, out: &mut BytesMut, lacks: Lacks) {
        let state = self.state;
        if let Some(result) = state.result.as_deref().filter(|_| lacks.result) {
            self.put_frame(out, "result_set", |out| {
                out.put_slice(b"\"result\":");
                put_value(out, result);
                out.put_u8(b',');
                put_text_member(out, "message", "Task result available");
            });
        }
        if let Some(error) = state.error.as_deref().filter(|_| lacks.error) {
            self.put_frame(out, "error_set", |out| {
                let error = text(error);
                put_text_member(out, "error_message", &error);
                out.put_u8(b',');
                put_text_member(out, "message", &error);
            });
        }
        if let Some(status) = state.status.as_deref().filter(|_| lacks.status) {
            self.put_frame(out, "status_change", |out| {
                let status = text(status);
                put_text_member(out, "status", &status);
                out.put_u8(b',');
                put_text_member(out, "message", &format!("Status changed to {status}"));
                put_approval(out, state);
            });
        }
    }

    fn put_frame(self, out: &mut BytesMut, update_type: &str, members: impl FnOnce(&mut BytesMut)) {
        put_text(out, |out| {
            out.put_u8(b'{');
            put_text_member(out, "update_type", update_type);
            out.put_u8(b',');
            put_thread(out, self.thread);
            if let Some(task) = &self.state.task {
                out.put_u8(b',');
                put_text_member(out, "task_id", &text(&task.task_id));
            }
            out.put_u8(b',');
            members(out);
            out.put_u8(b',');
            put_text_member(out, "timestamp", &timestamp::from_ms(self.now_ms));
            out.put_slice(b",\"derived\":true,");
            put_id(out, "stream_id", self.position);
            out.put_u8(b'}');
        });
    }
}
