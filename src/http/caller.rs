//! From where a request comes: the other side of its connection, or whom a proxy names that is trusted
//! (protocol §5).

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName, HeaderValue};

use crate::config::Network;
use crate::holders::Holder;
use crate::tls::PeerCertificate;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether the other side of a connection is a proxy that is trusted.
pub(super) fn is_trusted(peer: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.has(peer))
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller<'a> {
    /// From where.
    pub(crate) address: IpAddr,
    /// The certificate that he showed. One of a proxy proves nothing of those who come through it.
    pub(super) certificate: Option<&'a PeerCertificate>,
    /// A proxy asks that is trusted, and for nobody: it looks whether the server lives, for example.
    pub(super) is_proxy: bool,
}

impl<'a> Caller<'a> {
    /// Who asks over a connection from `peer`.
    ///
    /// Each proxy adds whom it was asked by behind what it was told, so what is told counts from its end on, as
    /// long as those who told it are trusted. What a proxy does not know it passes on as a client sent it:
    /// `Forwarded` counts only where there is no `X-Forwarded-For`, which most proxies write.
    pub(crate) fn of(
        headers: &HeaderMap,
        peer: IpAddr,
        certificate: Option<&'a PeerCertificate>,
        trusted: &[Network],
    ) -> Self {
        if !is_trusted(peer, trusted) {
            return Self { address: peer, certificate, is_proxy: false };
        }
        let mut told = headers.get_all(X_FORWARDED_FOR).iter().peekable();
        if told.peek().is_some() {
            let items = told.rev().flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
            let address = walk(items.map(of_list), peer, trusted);
            return Self { address, certificate: None, is_proxy: false };
        }
        let mut told = headers.get_all(FORWARDED).iter().peekable();
        if told.peek().is_some() {
            let items = told.rev().flat_map(|line| split(line, ',').into_iter().rev());
            let address = walk(items.map(of_forwarded), peer, trusted);
            return Self { address, certificate: None, is_proxy: false };
        }
        Self { address: peer, certificate: None, is_proxy: true }
    }
}

impl Caller<'_> {
    /// Whose requests count together; a proxy's own are not limited.
    pub(super) fn holder(self) -> Option<Holder> {
        (!self.is_proxy).then(|| Holder::at(self.address))
    }
}

/// The first of these addresses that is none of a proxy, or the last that can be read.
fn walk(
    addresses: impl Iterator<Item = Option<IpAddr>>,
    peer: IpAddr,
    trusted: &[Network],
) -> IpAddr {
    let mut last = peer;
    // Behind what cannot be read nothing is known.
    for address in addresses.map_while(|address| address) {
        last = address;
        if !is_trusted(address, trusted) {
            break;
        }
    }
    last
}

/// The parts between separators that are not in quotes; one that cannot be read, where a quote does not end.
fn split(line: &HeaderValue, separator: char) -> Vec<&str> {
    let text = line.to_str().unwrap_or_default();
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(|c| {
        let is_end = c == separator && !quoted;
        if !std::mem::take(&mut escaped) {
            escaped = quoted && c == '\\';
            quoted ^= c == '"';
        }
        is_end
    });
    let parts: Vec<_> = parts.collect();
    if quoted { vec![""] } else { parts }
}

/// The address of an element of `Forwarded` (RFC 7239 §4).
fn of_forwarded(element: &str) -> Option<IpAddr> {
    let element = HeaderValue::from_str(element).ok()?;
    let pairs = split(&element, ';').into_iter().filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for")).map(|(_, it)| it);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    of_list(quoted.unwrap_or(value).as_bytes())
}

/// An address, with its port or without.
fn of_list(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?.trim();
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
        let caller = Caller::of(&map, peer.parse().unwrap(), None, &trusted);
        let is_trusted = is_trusted(peer.parse().unwrap(), &trusted);
        assert_eq!(caller.is_proxy, is_trusted && headers.is_empty());
        caller.address.to_string()
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
            ("127.0.0.1", &[("forwarded", "for=9.9.9.9"), (listed, "1.2.3.4")], "1.2.3.4"),
            // What a client put into quotes is his own.
            ("127.0.0.1", &[("forwarded", "host=\"x;for=9.9.9.9;y\";for=1.2.3.4")], "1.2.3.4"),
            (
                "127.0.0.1",
                &[("forwarded", "for=9.9.9.9, host=\"x, for=8.8.8.8\";for=1.2.3.4")],
                "1.2.3.4",
            ),
            ("127.0.0.1", &[("forwarded", "for=9.9.9.9;for=1.2.3.4")], "127.0.0.1"),
            ("127.0.0.1", &[("forwarded", "host=\"x, for=1.2.3.4")], "127.0.0.1"),
            ("127.0.0.1", &[("forwarded", "host=\"\\\"\";for=1.2.3.4")], "1.2.3.4"),
        ] {
            assert_eq!(found(peer, headers), expected, "{peer} {headers:?}");
        }
        // What a client adds that is no text spoils nothing but itself.
        let mut map = HeaderMap::new();
        map.append(X_FORWARDED_FOR, HeaderValue::from_bytes(b"\xff, 1.2.3.4").unwrap());
        let trusted = ["127.0.0.1".parse().unwrap()];
        let caller = Caller::of(&map, "127.0.0.1".parse().unwrap(), None, &trusted);
        assert_eq!(caller.address.to_string(), "1.2.3.4");
    }
}
