//! Splits what a server sent into WebSocket frames, in place.

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// What lies at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A whole frame, and how many bytes it takes with its header.
    Frame { opcode: u8, payload: &'a [u8], bytes: usize },
    /// Not all of a frame yet.
    Partial,
    /// Something that no server of this protocol sends.
    Bad(&'static str),
}

/// Reads the frame at the start of `bytes`.
pub(crate) fn next(bytes: &[u8]) -> Next<'_> {
    let [first, second, ..] = *bytes else { return Next::Partial };
    if first & 0x70 != 0 {
        return Next::Bad("a frame with reserved bits");
    }
    if first & 0x80 == 0 || first & 0x0f == 0 {
        return Next::Bad("a fragmented message");
    }
    if second & 0x80 != 0 {
        return Next::Bad("a masked frame");
    }
    let (header, length) = match (second, bytes) {
        (126, [_, _, a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [_, _, a, b, c, d, e, f, g, h, ..]) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize)
        }
        (126 | 127, _) => return Next::Partial,
        (short, _) => (2, usize::from(short)),
    };
    if length > FRAME_BYTES_MAX {
        return Next::Bad("a frame over 1 GiB");
    }
    match bytes.get(header..header + length) {
        Some(payload) => Next::Frame { opcode: first & 0x0f, payload, bytes: header + length },
        None => Next::Partial,
    }
}

const FRAME_BYTES_MAX: usize = 1 << 30;

/// A masked frame, as clients must send them; `mask` is the masking key.
pub(crate) fn masked(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        n @ 0..=125 => frame.push(0x80 | n as u8),
        n => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(n as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text_frame;

    fn split(mut bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
        let mut frames = Vec::new();
        while let Next::Frame { opcode, payload, bytes: taken } = next(bytes) {
            frames.push((opcode, payload.to_vec()));
            bytes = &bytes[taken..];
        }
        (frames, bytes.len())
    }

    #[test]
    fn frames_cut_at_every_byte_come_out_whole() {
        let payloads: [&[u8]; 4] = [b"", b"short", &[b'm'; 420], &[b'l'; 70_000]];
        let mut stream: Vec<u8> = payloads.iter().flat_map(|p| text_frame(p)).collect();
        stream.extend_from_slice(&[0x89, 2, b'h', b'i']);
        let whole = split(&stream).0;
        assert_eq!(whole.len(), 5);
        let cuts = (0..1_000).chain(stream.len() - 20..stream.len());
        for cut in cuts {
            let (mut frames, left) = split(&stream[..cut]);
            let (rest, left) = split(&stream[cut - left..]);
            frames.extend(rest);
            assert_eq!(frames, whole, "cut at {cut}");
            assert_eq!(left, 0, "cut at {cut}");
        }
    }

    #[test]
    fn what_no_server_may_send_is_bad() {
        assert!(matches!(next(&[0x81, 0x81, 1, 2, 3, 4, 5]), Next::Bad("a masked frame")));
        assert!(matches!(next(&[0x01, 1, b'x']), Next::Bad("a fragmented message")));
        assert!(matches!(next(&[0xc1, 1, b'x']), Next::Bad("a frame with reserved bits")));
        assert!(matches!(next(&[0x82, 127, 255, 0, 0, 0, 0, 0, 0, 0]), Next::Bad(_)));
    }

    #[test]
    fn a_masked_frame_unmasks_to_its_payload() {
        let frame = masked(PONG, b"hello", [1, 2, 3, 4]);
        assert_eq!(frame[..6], [0x8a, 0x85, 1, 2, 3, 4]);
        let plain: Vec<u8> =
            frame[6..].iter().zip([1, 2, 3, 4].iter().cycle()).map(|(b, k)| b ^ k).collect();
        assert_eq!(plain, b"hello");
    }
}
