//! The audit (protocol §5): where it is on, the log says of each publication who did what to which task and
//! from where, and of who is refused the same, at most ten times a second.

use std::fmt::Display;
use std::net::IpAddr;

use crate::core::access::Pass;
use crate::id::{StreamId, ThreadId};

/// Lines of this target are all written, however many there are. Only who may publish has any.
pub(crate) const TARGET: &str = "audit";

/// The longest name that is written, in characters.
const NAME_CHARS_MAX: usize = 128;

/// Who did something, and from where.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    name: String,
    from: IpAddr,
}

impl Who {
    /// Whose pass this is; without one, nobody knows.
    pub(crate) fn of(pass: Option<&Pass>, from: IpAddr) -> Self {
        let short = |text: &str| text.chars().take(NAME_CHARS_MAX).collect::<String>();
        let name = match pass {
            None => "unknown".to_owned(),
            Some(pass) => {
                let mut ids = pass.identities.iter().filter_map(|it| it.token_id.as_deref());
                let token = || ids.next().map(|id| format!("token {}", short(id)));
                let subject = pass.subject().map(|subject| short(subject));
                subject.or_else(token).unwrap_or_else(|| "anonymous".to_owned())
            }
        };
        Self { name, from }
    }

    /// He published something.
    pub(crate) fn published(&self, what: &str, thread_id: &ThreadId, stream_id: Option<StreamId>) {
        let Self { name: who, from } = self;
        let stream_id = stream_id.map(|id| id.to_string());
        tracing::info!(target: "audit", who, %from, what, %thread_id, stream_id, "published");
    }

    /// He may not.
    pub(crate) fn refused(&self, what: &dyn Display, why: &str) {
        let Self { name: who, from } = self;
        tracing::info!(who, %from, %what, why, "refused");
    }
}
