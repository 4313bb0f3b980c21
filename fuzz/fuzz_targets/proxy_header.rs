//! What a proxy sends before a connection that it passes on: read to its last byte and no further, however it
//! is cut, and an address is found only where it says one.
//!
//! The input's first byte says how its rest is cut.

#![no_main]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use libfuzzer_sys::fuzz_target;
use taskcast::fuzzing;
use tokio::io::{AsyncRead, ReadBuf};

/// The longest header that is taken.
const HEADER_BYTES_MAX: usize = 16 + 4_096;

/// What was found, or that it is no header; and how many bytes were read.
type Outcome = (Result<Option<IpAddr>, ()>, usize);

/// A connection whose bytes come in pieces. Before each there is nothing for a while.
struct Pieces<'a, F> {
    bytes: &'a [u8],
    read: usize,
    cut: F,
    has_waited: bool,
}

impl<F: FnMut() -> usize + Unpin> AsyncRead for Pieces<'_, F> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let pieces = self.get_mut();
        pieces.has_waited = !pieces.has_waited;
        if pieces.has_waited {
            return Poll::Pending;
        }
        let rest = &pieces.bytes[pieces.read..];
        let bytes = (pieces.cut)().max(1).min(buffer.remaining()).min(rest.len());
        buffer.put_slice(&rest[..bytes]);
        pieces.read += bytes;
        Poll::Ready(Ok(()))
    }
}

fn read(bytes: &[u8], cut: impl FnMut() -> usize + Unpin) -> Outcome {
    let mut pieces = Pieces { bytes, read: 0, cut, has_waited: false };
    let found = {
        let mut reading = pin!(fuzzing::proxy_header(&mut pieces));
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(found) = reading.as_mut().poll(&mut context) {
                break found;
            }
        }
    };
    (found.map_err(|_| ()), pieces.read)
}

/// The header as the specification draws it, and how long it is.
fn drawn(bytes: &[u8]) -> Option<(Option<IpAddr>, usize)> {
    let [b'\r', b'\n', b'\r', b'\n', 0, b'\r', b'\n', b'Q', b'U', b'I', b'T', b'\n', rest @ ..] =
        bytes
    else {
        return None;
    };
    let [command, family, high, low, rest @ ..] = rest else { return None };
    let len = usize::from(*high) * 256 + usize::from(*low);
    if len > 4_096 || rest.len() < len {
        return None;
    }
    let address = match (command, family / 16) {
        (0x20, _) | (0x21, 0 | 3) => None,
        (0x21, 1) if len >= 12 => {
            Some(IpAddr::V4(Ipv4Addr::new(rest[0], rest[1], rest[2], rest[3])))
        }
        (0x21, 2) if len >= 36 => {
            let mut groups = [0; 8];
            for (group, pair) in groups.iter_mut().zip(rest.chunks(2)) {
                *group = u16::from(pair[0]) << 8 | u16::from(pair[1]);
            }
            Some(match groups {
                // An IPv4 address in the form of IPv6.
                [0, 0, 0, 0, 0, 0xffff, ..] => {
                    IpAddr::V4(Ipv4Addr::new(rest[12], rest[13], rest[14], rest[15]))
                }
                _ => IpAddr::V6(Ipv6Addr::from(groups)),
            })
        }
        _ => return None,
    };
    Some((address, 16 + len))
}

fuzz_target!(|input: &[u8]| {
    let [cuts, bytes @ ..] = input else { return };
    let whole = read(bytes, || bytes.len());
    assert_eq!(read(bytes, || 1), whole);
    let mut random = u64::from(*cuts) + 1;
    let uneven = read(bytes, || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        1 + (random >> 59) as usize
    });
    assert_eq!(uneven, whole);
    match drawn(bytes) {
        Some((address, len)) => assert_eq!(whole, (Ok(address), len)),
        None => {
            assert_eq!(whole.0, Err(()));
            assert!(whole.1 <= HEADER_BYTES_MAX);
        }
    }
});
