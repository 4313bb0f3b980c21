//! The frames that we write against those of another implementation.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

use bytes::{BufMut, BytesMut};
use fastwebsockets::{Frame, Payload};
use taskcast::core::form::ws::{Opcode, put_text, unmask, whole};

fn reference_header(payload: &[u8]) -> Vec<u8> {
    let mut head = [0; 16];
    let len = Frame::text(Payload::Borrowed(payload)).fmt_head(&mut head);
    head[..len].to_vec()
}

#[test]
fn headers_at_each_boundary_are_those_of_fastwebsockets() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536, 200_000] {
        let payload = vec![b'x'; len];
        let mut out = BytesMut::from(&b"before"[..]);
        put_text(&mut out, |out| out.put_slice(&payload));
        let mut expected = b"before".to_vec();
        expected.extend(reference_header(&payload));
        expected.extend(&payload);
        assert_eq!(out, expected, "{len}");
        assert_eq!(whole(Opcode::Text, &payload), expected[6..], "{len}");
    }
}

#[test]
fn a_payload_is_unmasked_as_fastwebsockets_does_it() {
    for len in [0, 1, 3, 4, 7, 8, 9, 63, 64, 1_000] {
        let mut ours: Vec<u8> = (0..len).map(|number| number as u8).collect();
        let mut theirs = ours.clone();
        unmask(&mut ours, [7, 77, 177, 250]);
        fastwebsockets::unmask(&mut theirs, [7, 77, 177, 250]);
        assert_eq!(ours, theirs, "{len}");
    }
}
