//! Who may do what (protocol §5): verbs on tasks, and a pass that grants them until some time.
//!
//! How somebody proves who he is, is not known here.
//!
//! | file | what it owns |
//! |---|---|
//! | `grants` | which verbs on which tasks, and how that is written |
//! | `revocation` | which tokens count no more |

mod grants;
mod revocation;

use std::sync::Arc;

pub use grants::{Grants, MalformedGrant, Verb};
pub use revocation::{Revocation, Revoked};

use crate::id::ThreadId;

/// What somebody may, and until when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pass {
    /// What it grants.
    pub grants: Grants,
    /// When it ends, in milliseconds since the Unix epoch; none: never.
    pub ends_ms: Option<u64>,
    /// The tokens that it came of.
    pub identities: Vec<Identity>,
}

/// A token, as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is, where somebody said so.
    pub subject: Option<Arc<str>>,
    /// Its id, where it has one.
    pub token_id: Option<Arc<str>>,
    /// When it was issued, in milliseconds since the Unix epoch.
    pub issued_ms: Option<u64>,
}

impl Pass {
    /// A pass for everything, for ever.
    pub fn everything() -> Self {
        Self { grants: Grants::everything(), ..Self::default() }
    }

    /// Whose it is: of several tokens, of each.
    pub fn subjects(&self) -> impl Iterator<Item = &Arc<str>> {
        self.identities.iter().filter_map(|identity| identity.subject.as_ref())
    }

    /// What its tokens are called, each by its subject or else by its id; none where none has either.
    pub fn name(&self) -> Option<String> {
        let name = |identity: &Identity| match (&identity.subject, &identity.token_id) {
            (Some(subject), _) => Some(subject.to_string()),
            (None, Some(id)) => Some(format!("token {id}")),
            (None, None) => None,
        };
        let names: Vec<_> = self.identities.iter().filter_map(name).collect();
        (!names.is_empty()).then(|| names.join(" + "))
    }

    /// What the identities take, about, in bytes.
    pub fn identities_len(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let all = self.identities.iter();
        all.map(|it| size_of::<Identity>() + text(&it.subject) + text(&it.token_id)).sum()
    }

    /// Whether it grants a verb on a task.
    pub fn may(&self, verb: Verb, thread: &ThreadId) -> bool {
        self.grants.may(verb, thread)
    }

    /// What both grant, as long as both do.
    pub fn and(mut self, other: Self) -> Self {
        self.grants.add(other.grants);
        self.ends_ms = match (self.ends_ms, other.ends_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.identities.extend(other.identities);
        self
    }
}
