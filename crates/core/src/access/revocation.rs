//! Revocations: tokens that count no more, though they have not ended.

use std::sync::Arc;

use super::{Identity, Pass};

/// What takes tokens back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Which ones.
    pub of: Revoked,
    /// Only those that were issued before then, in milliseconds since the Unix epoch, or of which nobody knows
    /// when that was; none: all.
    pub issued_before_ms: Option<u64>,
}

/// Which tokens are taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Those of somebody.
    Subject(Arc<str>),
    /// The one with this id.
    Token(Arc<str>),
}

impl Revocation {
    /// Whether it takes a token back.
    pub fn takes(&self, identity: &Identity) -> bool {
        let is_it = match &self.of {
            Revoked::Subject(subject) => identity.subject.as_ref() == Some(subject),
            Revoked::Token(id) => identity.token_id.as_ref() == Some(id),
        };
        let is_older = |before_ms| identity.issued_ms.is_none_or(|issued_ms| issued_ms < before_ms);
        is_it && self.issued_before_ms.is_none_or(is_older)
    }

    /// Whether it takes any of the tokens back that a pass came of.
    pub fn takes_any_of(&self, pass: &Pass) -> bool {
        pass.identities.iter().any(|identity| self.takes(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_issued_later_counts_on() {
        let identity = |subject: &str, id: &str, issued_ms| Identity {
            subject: Some(subject.into()),
            token_id: Some(id.into()),
            issued_ms,
        };
        let of = |of, issued_before_ms| Revocation { of, issued_before_ms };
        let (ada, one) = (Revoked::Subject("ada".into()), Revoked::Token("1".into()));
        for (revocation, identity, takes) in [
            (of(ada.clone(), None), identity("ada", "1", Some(5)), true),
            (of(ada.clone(), None), identity("bob", "1", Some(5)), false),
            (of(ada.clone(), Some(6)), identity("ada", "1", Some(5)), true),
            (of(ada.clone(), Some(5)), identity("ada", "1", Some(5)), false),
            (of(ada, Some(5)), identity("ada", "1", None), true),
            (of(one.clone(), None), identity("ada", "1", None), true),
            (of(one.clone(), None), identity("1", "2", None), false),
        ] {
            assert_eq!(revocation.takes(&identity), takes, "{revocation:?} {identity:?}");
            let pass = Pass { identities: vec![Identity::default(), identity], ..Pass::default() };
            assert_eq!(revocation.takes_any_of(&pass), takes);
        }
        assert!(!of(one, None).takes_any_of(&Pass::default()));
    }
}
