//! WebSocket frames as the server writes them: unmasked, final, one message each (RFC 6455 §5.2).
//!
//! Built in place, so that many frames stand back to back in one buffer. fastwebsockets' own
//! `Frame` cannot hold shared bytes; the tests compare the headers with its.

use bytes::{BufMut, Bytes, BytesMut};
use fastwebsockets::OpCode;

/// A Ping without payload.
pub const PING: [u8; 2] = [0x89, 0];

/// The longest header of a frame that a server sends, in bytes.
const HEADER_BYTES_MAX: usize = 10;

/// What a JSON text usually needs: 126 to 65,535 bytes of payload.
const HEADER_BYTES_USUAL: usize = 4;

/// Appends a text frame whose payload `write` appends.
pub fn put_text(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES_USUAL);
    let payload_start = out.len();
    write(out);
    let payload_len = out.len() - payload_start;
    let (header, header_len) = header(OpCode::Text, payload_len);
    if header_len > HEADER_BYTES_USUAL {
        out.put_bytes(0, header_len - HEADER_BYTES_USUAL);
    }
    if header_len != HEADER_BYTES_USUAL {
        out.copy_within(payload_start..payload_start + payload_len, start + header_len);
    }
    out[start..start + header_len].copy_from_slice(&header[..header_len]);
    out.truncate(start + header_len + payload_len);
}

/// One whole frame.
pub fn whole(opcode: OpCode, payload: &[u8]) -> Bytes {
    let (header, header_len) = header(opcode, payload.len());
    let mut out = BytesMut::with_capacity(header_len + payload.len());
    out.put_slice(&header[..header_len]);
    out.put_slice(payload);
    out.freeze()
}

/// A Close frame. The reason is cut to the 123 bytes that fit.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    whole(OpCode::Close, &payload)
}

fn header(opcode: OpCode, payload_len: usize) -> ([u8; 16], usize) {
    let mut header = [0; 16];
    header[0] = 0x80 | opcode as u8;
    let len = match payload_len {
        0..126 => {
            header[1] = payload_len as u8;
            2
        }
        126..0x1_0000 => {
            header[1] = 126;
            header[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(payload_len as u64).to_be_bytes());
            HEADER_BYTES_MAX
        }
    };
    (header, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastwebsockets::{Frame, Payload};

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
            assert_eq!(whole(OpCode::Text, &payload), expected[6..], "{len}");
        }
    }

    #[test]
    fn a_close_reason_is_cut_to_what_fits() {
        let frame = close(1011, &"ü".repeat(100));
        assert_eq!(frame[1], 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
