//! Places in a log, and what is held of it.

use super::*;
use crate::account::Account;
use crate::chunk::Unit;
use bytes::Bytes;

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

/// A chunk with a ten-byte unit per position.
fn chunk(after: u64, positions: &[u64]) -> Arc<Chunk> {
    let units = positions
        .iter()
        .enumerate()
        .map(|(number, &ms)| Unit { end: (number + 1) * 10, position: id(ms) })
        .collect();
    let bytes = Bytes::from(vec![b'x'; positions.len() * 10]);
    Arc::new(Chunk::new(&Account::new(1 << 20), bytes, units, id(after)))
}

#[test]
fn a_position_is_a_place_as_long_as_its_bytes_are_held() {
    let mut log = TopicLog::new(id(3));
    assert_eq!(log.locate(id(3)), Some(ORIGIN));
    log.append(chunk(3, &[4, 5]));
    log.append(chunk(5, &[6]));
    log.trim(10);
    assert_eq!(log.head(), id(6));
    assert_eq!(log.locate(id(3)), Some(ORIGIN));
    assert_eq!(log.locate(id(4)), Some(ORIGIN + 10));
    assert_eq!(log.locate(id(5)), Some(ORIGIN + 20));
    assert_eq!(log.locate(id(6)), Some(ORIGIN + 30));
    assert_eq!(log.locate(id(7)), None);
    log.begin_read();
    log.append(chunk(6, &[7]));
    log.trim(10);
    assert_eq!(log.locate(id(5)), None);
    assert_eq!(log.locate(id(6)), Some(ORIGIN + 30));
    let mut log = TopicLog::new(id(3));
    log.append(chunk(3, &[4, 5]));
    log.begin_read();
    log.append(chunk(5, &[6]));
    log.trim(10);
    assert_eq!(log.locate(id(4)), None);
    assert_eq!(log.locate(id(5)), Some(ORIGIN + 20));
    log.release();
    assert_eq!(log.locate(id(5)), None);
    assert_eq!(log.locate(id(6)), Some(ORIGIN + 30));
}

#[test]
fn a_run_holds_everything_from_a_place_to_the_head_or_nothing() {
    let mut log = TopicLog::new(id(0));
    log.append(chunk(0, &[1, 2]));
    log.append(chunk(2, &[3]));
    let lengths = |position, place| {
        let mut run = Vec::new();
        log.since(id(position), place, &mut run).then_some(run.len())
    };
    assert_eq!(lengths(0, ORIGIN), Some(2));
    assert_eq!(lengths(1, ORIGIN + 10), Some(2));
    assert_eq!(lengths(2, ORIGIN + 20), Some(1));
    assert_eq!(lengths(3, ORIGIN + 30), Some(0));
    assert_eq!(lengths(0, ORIGIN - 10), None);
}

#[test]
fn what_somebody_lacks_is_counted_up_to_a_gap() {
    let mut log = TopicLog::new(id(0));
    log.append(chunk(0, &[1, 2]));
    let received = log.appended();
    log.append(chunk(2, &[3, 4, 5]));
    assert_eq!(log.appended_since(received), Some(3));
    log.renew(chunk(5, &[9]), None, 0);
    assert_eq!(log.appended_since(received), None);
    let received = log.appended();
    log.append(chunk(9, &[10]));
    assert_eq!(log.appended_since(received), Some(1));
}

#[test]
fn a_place_whose_bytes_were_read_again_is_not_taken_for_what_it_was() {
    let mut log = TopicLog::new(id(0));
    log.append(chunk(0, &[1, 2, 3]));
    log.begin_read();
    log.append(chunk(3, &[4]));
    let place = log.locate(id(2)).unwrap();
    log.trim(10);
    // Entry 2 was deleted from the stream meanwhile.
    assert!(log.prepend(&chunk(0, &[1, 3]), 100));
    assert!(!log.since(id(2), place, &mut Vec::new()));
    assert!(log.since(id(1), place, &mut Vec::new()));
}

#[test]
fn older_chunks_fit_in_front_only_where_they_end() {
    let mut log = TopicLog::new(id(5));
    assert!(!log.prepend(&chunk(0, &[3]), 100));
    assert!(log.prepend(&chunk(3, &[4, 5]), 100));
    assert!(log.prepend(&chunk(2, &[3]), 100));
    assert!(!log.prepend(&chunk(1, &[2]), 30));
    assert_eq!(log.locate(id(2)), Some(ORIGIN - 30));
    assert_eq!(log.locate(id(5)), Some(ORIGIN));
    assert_eq!(log.bytes(), 30);
}

#[test]
fn nothing_continues_across_a_renewal() {
    let mut log = TopicLog::new(id(5));
    log.append(chunk(5, &[6]));
    log.renew(chunk(6, &[2]), None, 0);
    assert_eq!(log.head(), id(2));
    assert_eq!(log.floor(), None);
    assert_eq!(log.locate(id(5)), None);
    assert_eq!(log.locate(id(6)), None);
    assert_eq!(log.locate(id(2)), Some(ORIGIN + 20));
    assert!(!log.prepend(&chunk(5, &[6]), 100));
}
