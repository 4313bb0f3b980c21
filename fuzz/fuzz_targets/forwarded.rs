//! What a request says of whom it comes from: only what proxies told that are trusted counts, and a client
//! cannot pass for somebody else.
//!
//! The input is lines as a client sends them: `x` and the value of an `X-Forwarded-For`, or `f` and that of a
//! `Forwarded`.

#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use taskcast::config::Network;
use taskcast::fuzzing;

static TRUSTED: LazyLock<Vec<Network>> =
    LazyLock::new(|| ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec());

const LISTED: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// Who asks a proxy, as an honest one writes it behind what it was told.
const CLIENTS: [(&str, &str, &str); 3] = [
    ("203.0.113.7", "203.0.113.7", "for=203.0.113.7;proto=https"),
    ("203.0.113.7", "203.0.113.7:4711", "by=_edge;for=\"203.0.113.7:4711\""),
    ("2001:db8::7", "2001:db8::7", "For=\"[2001:db8::7]:4711\""),
];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn is_trusted(address: IpAddr) -> bool {
    TRUSTED.iter().any(|network| network.has(address))
}

/// The address in a text, whatever form it has.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let host = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    let host = host.split('%').next()?;
    host.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// The addresses that each element of a `Forwarded` may be said to tell, read a character at a time.
fn told_of_forwarded(line: &str) -> Vec<Vec<IpAddr>> {
    let (mut elements, mut element, mut pair) = (Vec::new(), Vec::new(), String::new());
    let take = |pair: &mut String, element: &mut Vec<IpAddr>| {
        let pair = std::mem::take(pair);
        if let Some((name, value)) = pair.split_once('=')
            && name.trim().eq_ignore_ascii_case("for")
        {
            element.extend(address(value));
        }
    };
    let mut chars = line.chars();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => pair.extend(chars.next()),
            ';' if !quoted => take(&mut pair, &mut element),
            ',' if !quoted => {
                take(&mut pair, &mut element);
                elements.push(std::mem::take(&mut element));
            }
            _ => pair.push(c),
        }
    }
    take(&mut pair, &mut element);
    elements.push(element);
    elements
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// What the headers tell, each element after the one that it was told before.
fn told(headers: &HeaderMap) -> Vec<Vec<IpAddr>> {
    if headers.contains_key(LISTED) {
        let lines = headers.get_all(LISTED).iter().map(text);
        let items = lines.flat_map(|line| {
            line.split(',').map(|item| address(item).into_iter().collect()).collect::<Vec<_>>()
        });
        return items.collect();
    }
    let lines = headers.get_all(FORWARDED).iter().map(text);
    lines.flat_map(|line| told_of_forwarded(&line)).collect()
}

/// Whether somebody trusted told this address: all that is behind it are trusted proxies.
fn is_told(address: IpAddr, told: &[Vec<IpAddr>]) -> bool {
    let mut trusted = true;
    told.iter().rev().any(|element| {
        let is_it = trusted && element.contains(&address);
        trusted &= element.iter().any(|address| is_trusted(*address));
        is_it
    })
}

/// The headers with what a proxy adds: to the last line of that name, or as one of its own.
fn added(headers: &HeaderMap, name: &'static str, element: &str, own_line: bool) -> HeaderMap {
    let mut values: Vec<_> = headers.get_all(name).iter().cloned().collect();
    let before = if own_line { None } else { values.pop() };
    let value = match before {
        Some(before) => [before.as_bytes(), b", ", element.as_bytes()].concat(),
        None => element.as_bytes().to_vec(),
    };
    values.push(HeaderValue::from_bytes(&value).unwrap());
    let name = HeaderName::from_static(name);
    let mut headers = headers.clone();
    headers.remove(&name);
    for value in values {
        headers.append(&name, value);
    }
    headers
}

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let (name, value) = match line {
            [b'x', value @ ..] => (LISTED, value),
            [b'f', value @ ..] => (FORWARDED, value),
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    // Who is no proxy comes from where he comes from.
    for peer in ["203.0.113.9", "2001:db8::9"].map(ip) {
        assert_eq!(fuzzing::caller(&headers, peer, &TRUSTED), peer);
    }
    for peer in ["10.0.0.1", "fd00::1", "::ffff:10.0.0.1"].map(ip) {
        let found = fuzzing::caller(&headers, peer, &TRUSTED);
        assert!(found == peer || is_told(found, &told(&headers)), "{found}: {headers:?}");
        // Whatever a client sent, behind it stands who he is.
        for (client, listed, forwarded) in CLIENTS {
            for own_line in [false, true] {
                let listed = added(&headers, LISTED, listed, own_line);
                assert_eq!(fuzzing::caller(&listed, peer, &TRUSTED), ip(client), "{listed:?}");
                // A proxy that writes the other one does not pass this one on.
                let mut forwarded = added(&headers, FORWARDED, forwarded, own_line);
                forwarded.remove(LISTED);
                let found = fuzzing::caller(&forwarded, peer, &TRUSTED);
                // Where a client left a quote open, nothing of that line can be known.
                assert!(found == ip(client) || found == peer, "{found}: {forwarded:?}");
            }
        }
    }
});
