//! WebSocket frames as the server writes them: unmasked, final, one message each (RFC 6455 §5.2).
//!
//! Built in place, so that many frames stand back to back in one buffer.

use bytes::{BufMut, Bytes, BytesMut};

/// What a frame is (RFC 6455 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A text message, or its first fragment.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The closing handshake.
    Close = 0x8,
    /// Asks for a [`Opcode::Pong`].
    Ping = 0x9,
    /// Answers a [`Opcode::Ping`].
    Pong = 0xa,
}

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
    let (header, header_len) = header(Opcode::Text, payload_len);
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
pub fn whole(opcode: Opcode, payload: &[u8]) -> Bytes {
    let (header, header_len) = header(opcode, payload.len());
    let mut out = BytesMut::with_capacity(header_len + payload.len());
    out.put_slice(&header[..header_len]);
    out.put_slice(payload);
    out.freeze()
}

/// The payload of the first of some frames as we write them, and the frames behind it.
pub fn first_payload(frames: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header_len, payload_len) = match *frames.get(1)? {
        len @ 0..126 => (2, usize::from(len)),
        126 => (4, u16::from_be_bytes(frames.get(2..4)?.try_into().ok()?).into()),
        _ => {
            let len = u64::from_be_bytes(frames.get(2..HEADER_BYTES_MAX)?.try_into().ok()?);
            (HEADER_BYTES_MAX, usize::try_from(len).ok()?)
        }
    };
    frames.get(header_len..)?.split_at_checked(payload_len)
}

/// A Close frame. The reason is cut to the 123 bytes that fit.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    whole(Opcode::Close, &payload)
}

fn header(opcode: Opcode, payload_len: usize) -> ([u8; 16], usize) {
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

/// Takes the mask off a payload, or puts it on; `mask` is that of the payload's first byte.
pub fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    // Eight bytes at a time; the compiler makes more of it.
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (eights, rest) = payload.as_chunks_mut::<8>();
    for eight in eights {
        *eight = (u64::from_ne_bytes(*eight) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_reason_is_cut_to_what_fits() {
        let frame = close(1011, &"ü".repeat(100));
        assert_eq!(frame[1], 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }

    #[test]
    fn each_byte_is_unmasked_with_its_own_of_the_four() {
        for length in 0..40 {
            let mut payload: Vec<u8> = (0..length).collect();
            let expected: Vec<u8> = payload
                .iter()
                .enumerate()
                .map(|(at, byte)| byte ^ [1, 20, 77, 200][at % 4])
                .collect();
            unmask(&mut payload, [1, 20, 77, 200]);
            assert_eq!(payload, expected);
        }
    }
}
