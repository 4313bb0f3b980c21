//! From where a request comes: the other side of its connection, or whom a proxy names that is trusted
//! (protocol §5).

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName, HeaderValue};

use crate::config::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether the other side of a connection is a proxy that is trusted.
pub(super) fn is_trusted(peer: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.has(peer))
}

/// Where a request comes from that came over a connection from `peer`.
///
/// Each proxy adds whom it was asked by behind what it was told, so what is told counts from its end on, as
/// long as those who told it are trusted. A proxy passes on what it does not know: where the two headers
/// differ, one of them is the client's own, and neither counts.
pub(super) fn address_of(headers: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    if !is_trusted(peer, trusted) {
        return peer;
    }
    let forwarded = list(headers, &FORWARDED).map(|list| walk(list, peer, trusted, of_forwarded));
    let listed = list(headers, &X_FORWARDED_FOR).map(|list| walk(list, peer, trusted, of_list));
    match (forwarded, listed) {
        (Some(one), Some(other)) if one != other => peer,
        (one, other) => one.or(other).unwrap_or(peer),
    }
}

/// The items of a header that is a list, the last one first; none where it is not there.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<impl Iterator<Item = &'a str>> {
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let text = |line| std::str::from_utf8(line).unwrap_or_default();
    let is_there = !lines.is_empty();
    let items = lines.into_iter().rev().flat_map(move |line| text(line).rsplit(','));
    is_there.then_some(items.map(str::trim))
}

fn walk<'a>(
    items: impl Iterator<Item = &'a str>,
    peer: IpAddr,
    trusted: &[Network],
    read: impl Fn(&str) -> Option<IpAddr>,
) -> IpAddr {
    let mut last = peer;
    for item in items {
        // Behind what cannot be read nothing is known.
        let Some(address) = read(item) else { break };
        last = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    last
}

/// The address of an element of `Forwarded` (RFC 7239 §4).
fn of_forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    of_list(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, with its port or without.
fn of_list(text: &str) -> Option<IpAddr> {
    let in_brackets = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = in_brackets.unwrap_or(text).parse();
    let address = address.or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, headers: &[(&'static str, &'static str)]) -> String {
        let trusted: Vec<Network> =
            ["10.0.0.0/8", "127.0.0.1"].iter().map(|text| text.parse().unwrap()).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        address_of(&map, peer.parse().unwrap(), &trusted).to_string()
    }

    #[test]
    fn what_proxies_tell_counts_from_its_end_on() {
        let listed = "x-forwarded-for";
        for (peer, headers, expected) in [
            ("203.0.113.9", &[(listed, "1.2.3.4")][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[(listed, "1.2.3.4")], "1.2.3.4"),
            ("10.0.0.1", &[(listed, "9.9.9.9, 1.2.3.4, 10.0.0.2")], "1.2.3.4"),
            ("10.0.0.1", &[(listed, "9.9.9.9"), (listed, "1.2.3.4,10.0.0.2")], "1.2.3.4"),
            ("10.0.0.1", &[(listed, "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            ("10.0.0.1", &[(listed, "1.2.3.4, x, 10.0.0.2")], "10.0.0.2"),
            ("10.0.0.1", &[(listed, "")], "10.0.0.1"),
            ("10.0.0.1", &[(listed, "1.2.3.4:5")], "1.2.3.4"),
            ("10.0.0.1", &[(listed, "[2001:db8::1]:5")], "2001:db8::1"),
            ("::ffff:10.0.0.1", &[(listed, "::ffff:1.2.3.4")], "1.2.3.4"),
            ("127.0.0.1", &[("forwarded", "for=1.2.3.4;proto=https")], "1.2.3.4"),
            (
                "127.0.0.1",
                &[("forwarded", "for=9.9.9.9, By=x; For=\"[2001:db8::1]:5\"")],
                "2001:db8::1",
            ),
            ("127.0.0.1", &[("forwarded", "for=unknown")], "127.0.0.1"),
            ("127.0.0.1", &[("forwarded", "for=_hidden, for=10.0.0.2")], "10.0.0.2"),
            ("127.0.0.1", &[("forwarded", "for=1.2.3.4"), (listed, "1.2.3.4")], "1.2.3.4"),
            // One of them is the client's own.
            ("127.0.0.1", &[("forwarded", "for=1.2.3.4"), (listed, "5.6.7.8")], "127.0.0.1"),
        ] {
            assert_eq!(found(peer, headers), expected, "{peer} {headers:?}");
        }
    }
}
