//! The header of the PROXY protocol, version 2: whose connection a proxy passes on.
//!
//! It is read before anything else of a connection, to its last byte and no further.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of the rest.
const HEAD_BYTES: usize = 16;
/// The longest rest: addresses, and what else a proxy may have to say.
const REST_BYTES_MAX: usize = 4_096;

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// Whose addresses come; none where the proxy speaks for itself, or of what is no address.
    family: Option<Family>,
    rest: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// Reads the header: where the connection comes from; none where the proxy speaks for itself.
///
/// # Errors
/// It is no such header, or the connection ends in it.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no header of PROXY protocol v2");
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let head = Head::of(&head).ok_or_else(malformed)?;
    let mut rest = vec![0; head.rest];
    stream.read_exact(&mut rest).await?;
    let Some(family) = head.family else { return Ok(None) };
    family.source_of(&rest).map(Some).ok_or_else(malformed)
}

impl Head {
    fn of(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        let (signature, head) = bytes.split_at(SIGNATURE.len());
        let &[command, family, high, low] = head else { return None };
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if signature != SIGNATURE || rest > REST_BYTES_MAX {
            return None;
        }
        let family = match (command, family >> 4) {
            // Of the proxy itself: it looks whether the server lives.
            (0x20, _) | (0x21, 0x0 | 0x3) => None,
            (0x21, 0x1) => Some(Family::V4),
            (0x21, 0x2) => Some(Family::V6),
            _ => return None,
        };
        Some(Self { family, rest })
    }
}

impl Family {
    /// The first of two addresses, behind which their ports come.
    fn source_of(self, rest: &[u8]) -> Option<IpAddr> {
        Some(match self {
            Self::V4 => {
                let (addresses, _) = rest.split_first_chunk::<12>()?;
                let (source, _) = addresses.split_first_chunk::<4>()?;
                Ipv4Addr::from(*source).into()
            }
            Self::V6 => {
                let (addresses, _) = rest.split_first_chunk::<36>()?;
                let (source, _) = addresses.split_first_chunk::<16>()?;
                IpAddr::from(Ipv6Addr::from(*source)).to_canonical()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [SIGNATURE, &[command, family][..], &length, rest].concat()
    }

    /// What is found, and how much of the connection is left.
    fn found(mut bytes: &[u8]) -> (Option<Option<String>>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = runtime.block_on(read(&mut bytes));
        (read.ok().map(|source| source.map(|source| source.to_string())), bytes.len())
    }

    #[test]
    fn a_header_is_read_to_its_end() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 1, 2, 3, 4];
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        let more = [&v4[..], b"\x03\0\x04abcd"].concat();
        for (bytes, expected) in [
            (header(0x21, 0x11, &v4), Some("192.0.2.1")),
            (header(0x21, 0x11, &more), Some("192.0.2.1")),
            (header(0x21, 0x21, &v6), Some("2001:db8::1")),
            (header(0x20, 0x00, &[]), None),
            (header(0x20, 0x11, &v4), None),
            (header(0x21, 0x00, &[]), None),
            (header(0x21, 0x31, &[0; 216]), None),
        ] {
            let behind = [&bytes[..], b"GET /"].concat();
            assert_eq!(found(&behind), (Some(expected.map(str::to_owned)), 5), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let v4 = [0; 12];
        let good = header(0x21, 0x11, &v4);
        let mut long = good.clone();
        long[14..16].copy_from_slice(&4_097_u16.to_be_bytes());
        long.extend([0; 5_000]);
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\nGET / HTTP/1.1\r\n".to_vec(),
            good[..good.len() - 1].to_vec(),
            Vec::new(),
            header(0x11, 0x11, &v4),
            header(0x22, 0x11, &v4),
            header(0x21, 0x11, &v4[..11]),
            header(0x21, 0x21, &[0; 35]),
            header(0x21, 0x41, &v4),
            long,
        ] {
            assert_eq!(found(&bytes).0, None, "{bytes:?}");
        }
    }
}
