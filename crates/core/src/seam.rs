//! The seam between state and stream: a worker writes an update to the state first and adds its
//! entry to the stream a moment later. A state that is read in between holds an update whose entry
//! comes after the state's position: it would be shown twice.
//!
//! The entries that were read in the same instant tell which updates those are. An update counts as
//! on its way when it is among the newest, no entry says the same, it is young, and an older update
//! has its entry (so this publisher does add entries). It is left out; its entry is on the way.
//! Where it is not that clear, reading again a little later tells.

use serde_json::Value;

use crate::entry::Entry;
use crate::snapshot::Snapshot;
use crate::timestamp;

/// How many updates a read for a viewer brings: those that are shown, and room for those on their
/// way.
pub const UPDATES_READ: u64 = 24;

/// How many of the newest entries are compared with them.
pub const ENTRIES_READ: u64 = 32;

/// How long to wait before each further read, where it is not clear.
pub const PAUSES_MS: [u64; 4] = [5, 20, 60, 150];

/// An update whose entry has not come after so long has none: its worker died in between.
const YOUNG_US: i64 = 5_000_000;

/// Whether a snapshot's updates and entries meet.
#[derive(Debug, PartialEq, Eq)]
pub enum Seam {
    /// Each update of the state is an entry up to the position, or has none.
    Closed,
    /// There is an update whose entry may be on its way.
    Open,
}

/// Takes those updates out of the state whose entries are on their way.
pub fn close(snapshot: &mut Snapshot) -> Seam {
    let Some(state) = &mut snapshot.state else { return Seam::Closed };
    let entries: Vec<Said> = snapshot.newest.iter().filter_map(Said::by_entry).collect();
    let updates: Vec<Said> = state.updates.iter().map(|update| Said::by_update(update)).collect();
    // Where the newest entries were too large to read as many as usual, an update that is older than
    // those has had its chance.
    let cut = (snapshot.newest.len() as u64) < ENTRIES_READ.min(snapshot.stream.length);
    let oldest_us = entries.first().and_then(|entry| entry.at_us);
    let is_older =
        |update: &Said| update.at_us.zip(oldest_us).is_none_or(|(at, oldest)| at < oldest);
    let has_entry = |at: usize| {
        let update = &updates[at];
        if cut && is_older(update) {
            return true;
        }
        let repeats = updates.iter().filter(|other| other.same(update)).count() > 1;
        entries.iter().any(|entry| {
            entry.same(update) && (!repeats || entry.at_us.is_none() || entry.at_us >= update.at_us)
        })
    };
    let first_on_its_way = (0..updates.len()).rev().take_while(|&at| !has_entry(at)).last();
    let Some(first_on_its_way) = first_on_its_way else { return Seam::Closed };
    let publisher_adds_entries = (0..first_on_its_way).any(has_entry);
    let now_us = (snapshot.now_ms * 1000) as i64;
    let young = |update: &Said| update.at_us.is_some_and(|at| now_us - at < YOUNG_US);
    let all_young = updates[first_on_its_way..].iter().all(young);
    if publisher_adds_entries && all_young {
        state.updates_total -= (updates.len() - first_on_its_way) as u64;
        state.updates.truncate(first_on_its_way);
        return Seam::Closed;
    }
    // A worker adds each entry before it writes the next update: at most one is on its way, so two
    // without entries say that none are added.
    let first_of_all = updates.len() - first_on_its_way == 1 && all_young;
    if publisher_adds_entries || first_of_all { Seam::Open } else { Seam::Closed }
}

/// What an update, or the entry that tells of it, says.
struct Said {
    message: Option<String>,
    metadata: Option<Value>,
    at_us: Option<i64>,
}

impl Said {
    fn by_update(update: &[u8]) -> Self {
        let update: Value = serde_json::from_slice(update).unwrap_or_default();
        let text = |name: &str| update.get(name).and_then(Value::as_str);
        Self {
            message: text("message").map(str::to_owned),
            metadata: update.get("metadata").filter(|metadata| !metadata.is_null()).cloned(),
            at_us: text("timestamp").and_then(timestamp::parse_us),
        }
    }

    /// None where the entry tells of no message.
    fn by_entry(entry: &Entry) -> Option<Self> {
        let field = |name: &str| {
            let found = entry.fields.iter().rev().find(|(key, _)| key == name)?;
            std::str::from_utf8(&found.1).ok()
        };
        Some(Self {
            message: Some(field("message")?.to_owned()),
            metadata: field("metadata").and_then(|text| serde_json::from_str(text).ok()),
            at_us: field("timestamp").and_then(timestamp::parse_us),
        })
    }

    /// The same message and, where both have some, the same metadata.
    fn same(&self, other: &Self) -> bool {
        let metadata_differs = matches!(
            (&self.metadata, &other.metadata),
            (Some(mine), Some(theirs)) if mine != theirs
        );
        self.message.is_some() && self.message == other.message && !metadata_differs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StreamId;
    use crate::state::State;

    const NOW_MS: u64 = 1_718_000_000_000;

    fn snapshot(updates: &[(&str, u64)], entries: &[(&str, u64)]) -> Snapshot {
        let at = |ago_ms| timestamp::from_ms(NOW_MS - ago_ms);
        Snapshot {
            state: Some(State {
                updates: updates
                    .iter()
                    .map(|(message, ago)| {
                        serde_json::json!({"message": message, "timestamp": at(*ago)})
                            .to_string()
                            .into()
                    })
                    .collect(),
                updates_total: updates.len() as u64,
                ..State::default()
            }),
            newest: entries
                .iter()
                .map(|(message, ago)| Entry {
                    id: StreamId::ZERO,
                    fields: vec![
                        ("message".into(), message.to_string().into()),
                        ("timestamp".into(), at(*ago).into()),
                    ],
                })
                .collect(),
            now_ms: NOW_MS,
            ..Snapshot::default()
        }
    }

    fn kept(mut snapshot: Snapshot) -> (Seam, usize) {
        let seam = close(&mut snapshot);
        (seam, snapshot.state.unwrap().updates.len())
    }

    #[test]
    fn an_update_whose_entry_is_on_its_way_is_left_out() {
        let entries = [("a", 3000), ("b", 2000)];
        assert_eq!(
            kept(snapshot(&[("a", 3000), ("b", 2000), ("c", 1)], &entries)),
            (Seam::Closed, 2)
        );
        assert_eq!(kept(snapshot(&[("a", 3000), ("b", 2000)], &entries)), (Seam::Closed, 2));
    }

    #[test]
    fn the_same_message_again_is_told_from_the_first_by_its_time() {
        let updates = [("tick", 2000), ("tick", 1000), ("tick", 1)];
        assert_eq!(kept(snapshot(&updates, &[("tick", 2000), ("tick", 1000)])), (Seam::Closed, 2));
    }

    #[test]
    fn a_first_update_without_an_entry_is_not_clear() {
        assert_eq!(kept(snapshot(&[("a", 10)], &[])), (Seam::Open, 1));
        assert_eq!(kept(snapshot(&[("a", 20), ("b", 10)], &[])), (Seam::Closed, 2));
    }

    #[test]
    fn an_old_update_without_an_entry_is_shown() {
        assert_eq!(kept(snapshot(&[("a", 60_000)], &[])), (Seam::Closed, 1));
        let entries = [("a", 60_000)];
        assert_eq!(kept(snapshot(&[("a", 60_000), ("b", 50_000)], &entries)), (Seam::Open, 2));
    }

    #[test]
    fn an_update_older_than_the_few_large_entries_that_were_read_is_kept() {
        let mut large = snapshot(&[("a", 2000), ("b", 1)], &[("b", 1)]);
        large.stream.length = 2;
        assert_eq!(kept(large.clone()), (Seam::Closed, 2));
        large.stream.length = 1;
        assert_eq!(kept(large), (Seam::Closed, 2));
        let mut on_its_way = snapshot(&[("a", 2000), ("b", 1000), ("c", 1)], &[("b", 1000)]);
        on_its_way.stream.length = 2;
        assert_eq!(kept(on_its_way), (Seam::Closed, 2));
    }

    #[test]
    fn updates_of_any_form_are_kept() {
        let mut odd = snapshot(&[], &[("a", 1)]);
        let state = odd.state.as_mut().unwrap();
        state.updates = vec!["[1]".into(), "not json".into(), "{\"message\":5}".into()];
        state.updates_total = 3;
        assert_eq!(kept(odd), (Seam::Closed, 3));
    }
}
