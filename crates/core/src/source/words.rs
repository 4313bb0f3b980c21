//! The words that a publisher has for a task's status, and what the field calls them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// The statuses in the field (protocol §2.1).
pub const STATUSES: [&str; 7] =
    ["queued", "in_progress", "awaiting_approval", "done", "completed", "failed", "cancelled"];

/// The most words of a source.
const WORDS_MAX: usize = 64;
/// The longest word, in bytes.
const WORD_BYTES_MAX: usize = 128;

/// Words for statuses. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words(Arc<BTreeMap<Box<[u8]>, &'static str>>);

impl Words {
    /// Each word with the status that it stands for.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn new<'a>(words: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut known = BTreeMap::new();
        for (word, meant) in words {
            let status = STATUSES.into_iter().find(|status| *status == meant);
            let Some(status) = status else {
                return Err(format!("must map to one of {}", STATUSES.join(", ")));
            };
            if known.len() == WORDS_MAX || word.len() > WORD_BYTES_MAX {
                return Err(format!("may have {WORDS_MAX} words of {WORD_BYTES_MAX} bytes"));
            }
            known.insert(word.as_bytes().into(), status);
        }
        Ok(Self(Arc::new(known)))
    }

    /// The status that a word stands for; one that is not known stays as it is.
    pub fn status(&self, word: Bytes) -> Bytes {
        self.0.get(&*word).map_or(word, |status| Bytes::from_static(status.as_bytes()))
    }
}
