//! What a tail knows of a stream that it watches.

use std::sync::Arc;

use tokio::time::Instant;

use super::care::{Care, Refusal};
use super::due::Group;
use super::plan::Load;
use super::states::Seen;
use crate::topic::Topic;

/// With larger entries, a stream's facts are asked for only where they are needed and come without
/// entries.
const FACTS_ENTRY_BYTES_MAX: usize = 4096;

/// A stream that is watched.
pub(super) struct Watched {
    pub(super) topic: Arc<Topic>,
    /// What is under the key is no stream; it is read alone, and when Redis tells of a change.
    pub(super) wrong_type: bool,
    /// When it was read; the sweep reads what was not for long.
    pub(super) read_at: Instant,
    /// When the spare facts are used up that were asked for.
    pub(super) spare_facts: Option<Instant>,
    pub(super) load: Load,
    pub(super) care: Care,
    /// How often in a row a read of it alone was cut off.
    pub(super) strikes: u8,
    /// Its length alone may say too little: it is asked for its facts next.
    pub(super) in_doubt: bool,
    /// Large entries came with its facts: from then on they are asked for without.
    pub(super) large_facts: bool,
    /// How many entries were taken out of it, when it last told.
    pub(super) removed: Option<u64>,
    pub(super) refusal: Option<Box<Refusal>>,
    pub(super) seen: Seen,
}

impl Watched {
    pub(super) fn new(topic: Arc<Topic>) -> Self {
        Self {
            topic,
            wrong_type: false,
            read_at: Instant::now(),
            spare_facts: None,
            load: Load::default(),
            care: Care::None,
            strikes: 0,
            in_doubt: false,
            large_facts: false,
            removed: None,
            refusal: None,
            seen: Seen::default(),
        }
    }

    /// Whether its news are small: it costs little to read them again, or its facts with two
    /// entries.
    pub(super) fn has_small_entries(&self) -> bool {
        self.load.entry_bytes().is_none_or(|bytes| bytes <= FACTS_ENTRY_BYTES_MAX)
    }

    /// How it is read.
    pub(super) fn group(&self) -> Group {
        match (self.wrong_type || self.care > Care::None, self.load.behind) {
            (true, _) => Group::Alone,
            (false, true) => Group::Behind,
            (false, false) => Group::Usual,
        }
    }
}
