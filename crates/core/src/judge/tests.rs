//! The rows of the tables, each by the smallest streams that reach it.

use super::*;

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

/// A stream from `first` to `last`, empty where `first` is 0, with `length` entries of `added`; the
/// greatest that was deleted by name is `deleted`.
fn stream(first: u64, last: u64, length: u64, added: u64, deleted: u64) -> StreamFacts {
    StreamFacts {
        exists: true,
        length,
        last_generated: id(last),
        first: (first > 0).then(|| id(first)),
        last: (first > 0).then(|| id(last)),
        entries_added: Some(added),
        max_deleted: Some(id(deleted)),
    }
}

fn of_redis_6(facts: StreamFacts) -> StreamFacts {
    StreamFacts { entries_added: None, max_deleted: None, ..facts }
}

const NONE: StreamFacts = StreamFacts {
    exists: false,
    length: 0,
    last_generated: StreamId::ZERO,
    first: None,
    last: None,
    entries_added: None,
    max_deleted: None,
};

/// Entries 1 to 5, all of them read.
fn five() -> Known {
    Known::all_of(stream(1, 5, 5, 5, 0))
}

#[test]
fn the_floor_is_the_first_entry_or_right_above_the_last_id() {
    assert_eq!(stream(3, 5, 3, 5, 0).floor(), id(3));
    assert_eq!(stream(0, 5, 0, 5, 0).floor(), StreamId { ms: 5, seq: 1 });
    assert_eq!(NONE.floor(), StreamId::ZERO);
    let last = StreamFacts { last_generated: StreamId::MAX, ..stream(0, 0, 0, 1, 0) };
    assert_eq!(last.floor(), StreamId::MAX);
}

#[test]
fn where_there_is_no_stream_nothing_was_added_and_nothing_is_missing_at_its_begin() {
    assert_eq!((NONE.added(), NONE.removed()), (Some(0), Some(0)));
    assert_eq!(Known::all_of(NONE).follow(&NONE, 0), Verdict::Complete);
    assert_eq!(five().follow(&NONE, 0), RESET);
    assert_eq!(behind(StreamId::ZERO, None, &NONE), Verdict::Complete);
    assert_eq!(behind(id(1), None, &NONE), RESET);
    assert_eq!(since(StreamId::ZERO, &NONE, false), Verdict::Complete);
    assert_eq!(since(id(1), &NONE, false), RESET);
}

#[test]
fn what_goes_back_is_of_another_stream() {
    for now in
        [stream(6, 9, 4, 4, 0), stream(1, 4, 5, 6, 0), stream(6, 9, 5, 5, 0), stream(0, 6, 0, 5, 0)]
    {
        assert_eq!(five().follow(&now, 4), RESET, "{now:?}");
    }
    let emptied_by_name = Known::all_of(stream(0, 5, 0, 5, 5));
    assert_eq!(emptied_by_name.follow(&stream(6, 6, 1, 6, 0), 1), RESET);
    let trimmed = Known::all_of(stream(4, 5, 2, 5, 0));
    assert_eq!(trimmed.follow(&stream(4, 6, 3, 6, 3), 1), RESET);
    assert_eq!(trimmed.follow(&stream(3, 6, 3, 6, 0), 1), RESET);
    assert_eq!(trimmed.follow(&stream(4, 6, 2, 6, 5), 1), Verdict::Complete);
    // A capped read of another stream, with older ids: so many were added, but fewer are gone of it.
    let mostly_gone = Known::all_of(stream(2, 20, 6, 47, 3));
    assert_eq!(mostly_gone.follow(&stream(5, 30, 42, 53, 25), 4), RESET);
    assert_eq!(mostly_gone.follow(&stream(5, 30, 12, 53, 25), 4), Verdict::Complete);
}

#[test]
fn while_anything_up_to_the_position_is_there_nothing_is_missing() {
    assert_eq!(five().follow(&stream(5, 8, 4, 8, 0), 3), Verdict::Complete);
    assert_eq!(five().follow(&stream(1, 8, 1, 8, 8), 0), Verdict::Complete);
    assert_eq!(five().follow(&stream(1, 8, 7, 7, 0), 3), RESET);
    assert_eq!(five().follow(&stream(1, 8, 6, 7, 7), 2), RESET);
    assert_eq!(behind(id(5), None, &stream(5, 9, 1, 9, 9)), Verdict::Complete);
}

#[test]
fn an_entry_that_is_gone_from_between_others_was_of_another_stream() {
    assert!(five().lost_its_place(&stream(2, 9, 7, 7, 0)));
    // Trimmed, deleted by name, or below one that was.
    assert!(!five().lost_its_place(&stream(6, 9, 2, 7, 0)));
    assert!(!five().lost_its_place(&stream(2, 9, 6, 7, 5)));
    assert!(!five().lost_its_place(&stream(2, 9, 6, 7, 7)));
    let mut capped = five();
    capped.advance_capped(id(7), 2, stream(1, 9, 9, 9, 0));
    assert!(capped.lost_its_place(&stream(2, 11, 11, 11, 0)));
    // There never was an entry at the position.
    let moved = StreamFacts { last: Some(id(4)), ..stream(1, 5, 4, 4, 0) };
    assert!(!Known::all_of(moved).lost_its_place(&stream(1, 9, 5, 6, 0)));
}

#[test]
fn where_nothing_is_there_the_removed_are_counted() {
    assert_eq!(five().follow(&stream(6, 6, 1, 6, 0), 1), Verdict::Complete);
    assert_eq!(five().follow(&stream(7, 8, 2, 8, 0), 2), TRIMMED);
    assert_eq!(five().follow(&stream(6, 9, 4, 8, 0), 4), RESET);
    // One withdrawn, and two.
    assert_eq!(five().follow(&stream(7, 8, 2, 8, 6), 2), Verdict::Complete);
    assert_eq!(five().follow(&stream(8, 8, 1, 8, 7), 1), TRIMMED);
    assert_eq!(five().follow(&stream(7, 8, 3, 8, 6), 2), RESET);
    assert_eq!(five().follow(&stream(6, 8, 3, 8, 5), 3), Verdict::Complete);
    assert_eq!(five().follow(&stream(0, 5, 0, 5, 0), 0), Verdict::Complete);
    assert_eq!(behind(id(1), None, &stream(2, 3, 2, 3, 0)), Verdict::Complete);
    assert_eq!(behind(id(3), Some(3), &stream(4, 5, 2, 5, 0)), Verdict::Complete);
    assert_eq!(behind(id(3), None, &stream(4, 5, 2, 5, 0)), TRIMMED);
    assert_eq!(behind(StreamId::ZERO, None, &stream(1, 5, 5, 5, 0)), Verdict::Complete);
    assert_eq!(behind(StreamId::ZERO, None, &stream(2, 5, 4, 5, 0)), TRIMMED);
    assert_eq!(behind(StreamId::ZERO, None, &stream(2, 5, 4, 5, 1)), Verdict::Complete);
}

#[test]
fn a_position_alone_is_judged_by_its_entry() {
    assert_eq!(since(id(5), &stream(5, 9, 1, 9, 9), true), Verdict::Complete);
    assert_eq!(since(id(5), &stream(0, 5, 0, 9, 2), false), Verdict::Complete);
    for (facts, expected) in [
        (stream(1, 9, 9, 9, 0), Verdict::Complete),
        (stream(2, 9, 8, 9, 1), Verdict::Complete),
        (stream(2, 9, 8, 9, 0), TRIMMED),
        (stream(2, 9, 7, 9, 3), TRIMMED),
    ] {
        assert_eq!(since(StreamId::ZERO, &facts, false), expected, "{facts:?}");
    }
    for (facts, expected) in [
        (stream(6, 9, 8, 9, 5), Verdict::Complete),
        (stream(6, 9, 8, 9, 7), RESET),
        (stream(6, 9, 4, 4, 0), RESET),
        (stream(6, 9, 4, 9, 0), TRIMMED),
        (stream(6, 9, 4, 9, 5), TRIMMED),
        (stream(6, 9, 8, 9, 0), TRIMMED),
        (stream(1, 9, 8, 9, 5), Verdict::Complete),
        (stream(1, 9, 7, 9, 6), DELETED),
        (stream(1, 9, 8, 9, 3), RESET),
        (stream(1, 4, 4, 4, 0), RESET),
    ] {
        assert_eq!(since(id(5), &facts, false), expected, "{facts:?}");
    }
}

#[test]
fn before_redis_7_only_ids_judge() {
    let known = Known::all_of(of_redis_6(stream(1, 5, 5, 5, 0)));
    assert_eq!(known.ordinal(), None);
    for (facts, expected) in [
        (stream(5, 6, 2, 6, 0), Verdict::Complete),
        (stream(0, 5, 0, 5, 0), Verdict::Complete),
        (stream(6, 6, 1, 6, 0), TRIMMED),
        (stream(1, 4, 4, 4, 0), RESET),
        (NONE, RESET),
    ] {
        let facts = of_redis_6(facts);
        assert_eq!(known.follow(&facts, 1), expected, "{facts:?}");
        assert_eq!(since(id(5), &facts, false), expected, "{facts:?}");
    }
    let grown = of_redis_6(stream(3, 6, 4, 6, 0));
    assert_eq!(Known::all_of(NONE).follow(&grown, 4), Verdict::Complete);
    assert_eq!(since(StreamId::ZERO, &grown, false), Verdict::Complete);
    assert_eq!(behind(id(2), None, &grown), TRIMMED);
}

#[test]
fn a_reader_goes_on_with_what_it_read() {
    let mut known = five();
    known.advance(id(6), id(7), 2);
    assert_eq!(known, Known::all_of(stream(1, 7, 7, 7, 0)));
    known.advance(id(8), id(8), 0);
    assert_eq!(known.position(), id(7));

    let more = stream(1, 12, 12, 12, 0);
    known.advance_capped(id(9), 2, more);
    assert_eq!((known.position(), known.ordinal(), known.facts()), (id(9), Some(9), &more));
    known.advance(id(10), id(11), 2);
    assert_eq!((known.position(), known.ordinal(), known.facts()), (id(11), Some(11), &more));

    let mut first = Known::all_of(NONE);
    first.advance(id(1), id(2), 2);
    assert_eq!(first, Known::all_of(stream(1, 2, 2, 2, 0)));
}
