//! Keys that are gone. For one version they are no error: whoever sets one is told what stands for
//! it now, and the server starts.

use std::fmt;

/// The keys, and what to set in their place.
const GONE: &[(&str, &str)] = &[
    ("limits.topics_bytes_max", "limits.memory_bytes_max bounds all that is held"),
    (
        "limits.outbox_bytes_max",
        "limits.unsent_bytes_max bounds what waits for a socket, and limits.memory_bytes_max \
         all that is held",
    ),
    ("limits.viewer_lag_max", "limits.viewer_lag_max_entries is its name"),
];

/// A setting that was given and has no effect. It shows as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    key: &'static str,
    place: String,
    instead: &'static str,
}

impl Ignored {
    /// A setting of a key that is gone; none where it is not.
    pub(super) fn of(key: &str, place: &str) -> Option<Self> {
        let (key, instead) = GONE.iter().find(|(gone, _)| *gone == key)?;
        Some(Self { key, place: place.to_owned(), instead })
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, place, instead } = self;
        write!(f, "{place}: {key} is gone and ignored: {instead}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;

    #[test]
    fn what_is_gone_is_no_key_and_names_one() {
        for (key, instead) in GONE {
            assert!(Key::named(key).is_none(), "{key}");
            let successor = instead.split_whitespace().next().unwrap_or_default();
            assert!(Key::named(successor).is_some(), "{successor}");
        }
    }
}
