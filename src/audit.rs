//! The audit (protocol §5): where it is on, the log says of each publication who did what to which task and
//! from where, and of who is refused the same, at most ten times a second.

use std::net::IpAddr;

use crate::core::access::Pass;
use crate::id::{StreamId, ThreadId};

/// Lines of this target are all written, however many there are. Only who may publish has any.
pub(crate) const TARGET: &str = "taskcast::published";

/// The longest name that is written, in characters.
const NAME_CHARS_MAX: usize = 128;

/// Who did something, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    name: String,
    from: IpAddr,
}

/// Somebody publishes. Where nobody says what came of it, as he went away meanwhile, it may have been done,
/// and that is told.
#[derive(Debug)]
pub(crate) struct Publishing {
    who: Who,
    what: &'static str,
    thread: Option<ThreadId>,
    is_open: bool,
}

impl Who {
    /// Whose pass this is; without one, nobody knows.
    pub(crate) fn of(pass: Option<&Pass>, from: IpAddr) -> Self {
        let name = match pass {
            None => "unknown".to_owned(),
            Some(pass) => pass.name().unwrap_or_else(|| "anonymous".to_owned()),
        };
        Self { name: named(&name), from }
    }

    /// Somebody with this pass whom the application allows it.
    pub(crate) fn allowed_by_the_application(pass: &Pass, from: IpAddr) -> Self {
        let name = pass.name().map_or_else(String::new, |name| name + " + ");
        Self { name: named(&(name + "the application")), from }
    }

    /// He begins to publish something.
    pub(crate) fn publishing(self, what: &'static str, thread: Option<&ThreadId>) -> Publishing {
        Publishing { who: self, what, thread: thread.cloned(), is_open: true }
    }

    /// He may not.
    pub(crate) fn refused(&self, what: &str, why: &str) {
        let Self { name: who, from } = self;
        tracing::info!(who, %from, what, why, "refused");
    }

    /// He takes tokens back.
    pub(crate) fn revoked(&self, of: &str, whose: &str) {
        let Self { name: who, from } = self;
        tracing::info!(target: "taskcast::published", who, %from, of, whose, "revoked");
    }
}

fn named(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

impl Publishing {
    /// It is done.
    pub(crate) fn done(mut self, thread_id: &ThreadId, stream_id: Option<StreamId>) {
        self.is_open = false;
        let (Who { name: who, from }, what) = (&self.who, self.what);
        let stream_id = stream_id.map(|id| id.to_string());
        tracing::info!(target: "taskcast::published", who, %from, what, %thread_id, stream_id, "published");
    }

    /// Nothing was written.
    pub(crate) fn failed(mut self) {
        self.is_open = false;
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        if self.is_open {
            let (Who { name: who, from }, what) = (&self.who, self.what);
            let thread_id = self.thread.as_ref().map(ToString::to_string);
            tracing::info!(target: "taskcast::published", who, %from, what, thread_id, "perhaps_published");
        }
    }
}
