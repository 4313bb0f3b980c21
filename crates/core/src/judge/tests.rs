//! When the entry at the head is not there: what the stream's own counts prove.

use super::*;

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

/// A stream whose entries are `first..=last`, of `added` that it was ever given.
fn snapshot(first: u64, last: u64, added: u64, length: u64, max_deleted: u64) -> Snapshot {
    Snapshot {
        stream: StreamFacts {
            exists: true,
            length,
            last_generated: id(last),
            first: (length > 0).then(|| id(first)),
            last: (length > 0).then(|| id(last)),
            entries_added: Some(added),
            max_deleted: Some(id(max_deleted)),
        },
        ..Snapshot::default()
    }
}

fn verdict(head: u64, known: u64, snapshot: &Snapshot) -> Option<GapReason> {
    match judge(id(head), Some(known), snapshot) {
        Verdict::Complete => None,
        Verdict::Gap(reason) => Some(reason),
    }
}

#[test]
fn a_head_that_was_trimmed_away_is_no_gap_while_nothing_after_it_is_missing() {
    assert_eq!(verdict(5, 5, &snapshot(6, 6, 6, 1, 0)), None);
    assert_eq!(verdict(5, 5, &snapshot(6, 8, 8, 3, 0)), None);
    assert_eq!(verdict(5, 5, &snapshot(0, 5, 5, 0, 0)), None);
    assert_eq!(verdict(0, 0, &snapshot(3, 4, 2, 2, 0)), None);
}

#[test]
fn entries_that_were_trimmed_before_they_were_read_are_a_gap() {
    assert_eq!(verdict(5, 5, &snapshot(7, 8, 8, 2, 0)), Some(GapReason::Trimmed));
    assert_eq!(verdict(0, 0, &snapshot(3, 4, 4, 2, 0)), Some(GapReason::Trimmed));
    assert_eq!(verdict(5, 5, &snapshot(7, 8, 8, 2, 6)), Some(GapReason::Deleted));
}

#[test]
fn another_stream_under_the_key_is_a_gap_whatever_its_ids() {
    assert_eq!(verdict(5, 5, &snapshot(1, 2, 2, 2, 0)), Some(GapReason::Reset));
    assert_eq!(verdict(5, 5, &snapshot(6, 7, 2, 2, 0)), Some(GapReason::Reset));
    assert_eq!(verdict(5, 5, &snapshot(6, 12, 7, 7, 0)), Some(GapReason::Reset));
    assert_eq!(verdict(5, 5, &snapshot(2, 9, 8, 7, 0)), Some(GapReason::Reset));
    assert_eq!(verdict(5, 5, &Snapshot::default()), Some(GapReason::Reset));
    assert_eq!(verdict(0, 0, &Snapshot::default()), None);
}

#[test]
fn a_head_that_was_deleted_by_name_is_no_gap() {
    assert_eq!(verdict(5, 5, &snapshot(4, 7, 7, 3, 5)), None);
}
