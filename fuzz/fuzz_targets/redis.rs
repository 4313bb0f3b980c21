//! What Redis answers: whatever it is, it is read without a panic, and what is made of it are
//! whole frames with valid JSON in them.

#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;
use taskcast::core::account::Account;
use taskcast::core::encode;
use taskcast::id::{StreamId, ThreadId};
use taskcast::log::redis::reply;
use taskcast::log::redis::resp::{Cursor, Scanner};
use taskcast::log::redis::xread::{self, Asks};
use taskcast::log::{Entry, State};

/// The payload of the text frame that `bytes` begin with, and what is behind it.
fn split_frame(bytes: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(bytes[0], 0x81);
    let (len, header) = match bytes[1] {
        126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
        127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize, 10),
        len => (usize::from(len), 2),
    };
    bytes[header..].split_at(len)
}

fn assert_json(payload: &[u8]) {
    let text = std::str::from_utf8(payload).unwrap();
    assert!(text.starts_with('{'), "{text}");
    // A raw value is checked without being nested, so that it has no limit of depth.
    let checked = serde_json::from_str::<&RawValue>(text);
    assert!(checked.is_ok(), "{checked:?}: {text}");
}

fn check_entries(thread: &ThreadId, entries: &[Entry]) {
    let account = Account::new(usize::MAX / 2);
    let chunks = encode::entries(&account, thread, StreamId::ZERO, entries);
    let units = chunks.iter().flat_map(|chunk| {
        let mut start = 0;
        assert_eq!(chunk.units.last().unwrap().end, chunk.bytes.len());
        chunk.units.iter().map(move |unit| {
            let frame = &chunk.bytes[start..unit.end];
            start = unit.end;
            (frame, unit.position)
        })
    });
    let mut number = 0;
    for (frame, position) in units {
        let (payload, rest) = split_frame(frame);
        assert!(rest.is_empty());
        assert_json(payload);
        assert_eq!(position, entries[number].id);
        number += 1;
    }
    assert_eq!(number, entries.len());
}

fn check_state(thread: &ThreadId, state: &State) {
    let mut out = BytesMut::new();
    encode::put_initial_state(&mut out, thread, StreamId::MAX, state, u64::MAX);
    let (payload, rest) = split_frame(&out);
    assert!(rest.is_empty());
    assert_json(payload);
}

/// What the tail's own reader makes of it, however it comes: the same message, read to its end.
fn check_own_reader(thread: &ThreadId, input: &[u8]) {
    let Ok(whole) = Scanner::default().scan(input) else { return };
    let mut in_steps = Scanner::default();
    let found = (1..=input.len()).find_map(|len| in_steps.scan(&input[..len]).unwrap());
    assert_eq!(found, whole);
    let Some(end) = whole else { return };
    let message = Bytes::copy_from_slice(&input[..end]);
    // One value, with all that is in it.
    Cursor::new(&message).skip(1).unwrap();
    for (_, entries) in xread::streams(&message).unwrap_or_default() {
        check_entries(thread, &entries);
    }
    let asks = [Asks::Length, Asks::Facts, Asks::FactsByScript];
    for asks in asks {
        _ = xread::told(&mut Cursor::new(&message), asks);
    }
    for len in 0..end {
        // Where it breaks off, what is there is read.
        let part = message.slice(..len);
        _ = xread::streams(&part);
        for asks in asks {
            _ = xread::told(&mut Cursor::new(&part), asks);
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let thread: ThreadId = "t1".parse().unwrap();
    check_own_reader(&thread, input);
    let Ok(value) = redis::parse_redis_value(input) else { return };
    let snapshot = reply::snapshot(value.clone()).unwrap_or_default();
    check_entries(&thread, &snapshot.newest);
    check_entries(&thread, &snapshot.page);
    check_state(&thread, &snapshot.state.unwrap_or_default());
    check_entries(&thread, &reply::entries(value.clone()));
    reply::published(value.clone());
    reply::pairs(value);
});
