//! What viewers send: whatever the bytes are and however they are cut, the same comes out.
//!
//! The input's first byte says how its rest is cut, the second one what the message limit is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use taskcast::core::inbound::{Decoder, Inbound, Violation};

/// Everything that came out, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    messages: Vec<String>,
    ended: Result<(), Violation>,
    idle: bool,
}

fn decode(bytes: &[u8], limit: usize, mut cut: impl FnMut() -> usize) -> Outcome {
    let mut decoder = Decoder::default();
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    let mut messages = Vec::new();
    let mut ended = Ok(());
    while !rest.is_empty() && ended.is_ok() {
        let (piece, later) = rest.split_at_mut(cut().clamp(1, rest.len()));
        rest = later;
        let mut piece = piece;
        ended = loop {
            let inbound = match decoder.next(&mut piece, limit) {
                Ok(Some(inbound)) => inbound,
                Ok(None) => break Ok(()),
                Err(violation) => break Err(violation),
            };
            match inbound {
                Inbound::Text(text) => assert!(text.len() <= limit),
                Inbound::Binary(bytes) => assert!(bytes.len() <= limit),
                Inbound::Ping(payload) => assert!(payload.len() <= 125),
                Inbound::Pong | Inbound::Close(_) => {}
            }
            messages.push(format!("{inbound:?}"));
        };
    }
    Outcome { messages, ended, idle: ended.is_ok() && decoder.is_idle() }
}

fuzz_target!(|input: &[u8]| {
    let [cuts, limit, bytes @ ..] = input else { return };
    let limit = usize::from(*limit) * 16;
    let whole = decode(bytes, limit, || bytes.len());
    assert_eq!(decode(bytes, limit, || 1), whole);
    let mut random = u64::from(*cuts) + 1;
    let uneven = decode(bytes, limit, || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1 + (random >> 60) as usize
    });
    assert_eq!(uneven, whole);
    if let Err(Violation { code, reason }) = whole.ended {
        assert!(matches!(code, 1002 | 1007 | 1009));
        assert!(reason.len() <= 123);
    }
});
