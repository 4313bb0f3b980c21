//! Whom a request is addressed to: its `Host` (RFC 9112 §3.2), and the names that count (protocol §5).
//!
//! A page of any site may have its own name lead to this machine (DNS rebinding), and is then no other
//! site's page to the browser. Its requests say its name, so a server that only this machine reaches answers
//! to names that are nobody else's.

use std::net::{IpAddr, Ipv6Addr};

use hyper::http::uri::Authority;
use hyper::{Request, StatusCode, Version, header};

use super::error::ApiError;

/// Whether a request is addressed to this server.
///
/// # Errors
/// What it is answered where it is not.
pub(super) fn check<B>(
    request: &Request<B>,
    on_loopback: bool,
    hosts: &[String],
) -> Result<(), ApiError> {
    let host = host_of(request).map_err(ApiError::malformed)?;
    let only_known = on_loopback || !hosts.is_empty();
    // What says its address in its target, says to whom it is with that (RFC 9112 §3.2.2).
    let mut named = request.uri().authority().into_iter().chain(&host);
    if only_known && !named.all(|authority| is_known(authority, hosts)) {
        let detail =
            "this server has another name than the Host: hosts = [\"NAME\"] in its configuration";
        return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    Ok(())
}

/// A request's `Host`, if it has one.
fn host_of<B>(request: &Request<B>) -> Result<Option<Authority>, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => {
            Err("a request of HTTP/1.1 has to have a Host")
        }
        (None, _) => Ok(None),
        (Some(host), None) if host.is_empty() => Ok(None),
        (Some(host), None) => {
            Authority::try_from(host.as_bytes()).map(Some).map_err(|_| "the Host is malformed")
        }
        (Some(_), Some(_)) => Err("a request has one Host"),
    }
}

/// Whether it is an address, this machine, or one of those that are configured.
fn is_known(authority: &Authority, hosts: &[String]) -> bool {
    let host = authority.host();
    // What is behind an address in brackets is none of the library's host.
    let port = authority.as_str().strip_prefix(host);
    let is_host_alone = port.is_some_and(|port| port.is_empty() || port.starts_with(':'));
    let in_brackets = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = in_brackets.map_or_else(
        || host.parse::<IpAddr>().is_ok(),
        |address| address.parse::<Ipv6Addr>().is_ok(),
    );
    let mut names = hosts.iter().map(String::as_str).chain(["localhost"]);
    is_host_alone && (is_address || names.any(|known| known.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(
        version: Version,
        target: &str,
        given: &[&str],
        on_loopback: bool,
        hosts: &[String],
    ) -> u16 {
        let mut request = Request::get(target).version(version);
        for host in given {
            request = request.header(header::HOST, *host);
        }
        let checked = check(&request.body(()).unwrap(), on_loopback, hosts);
        checked.err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[test]
    fn a_request_has_one_host_but_for_http_1_0() {
        for (version, hosts, status) in [
            (Version::HTTP_11, &[][..], 400),
            (Version::HTTP_11, &["a"][..], 200),
            (Version::HTTP_11, &["[::1]:80"][..], 200),
            (Version::HTTP_11, &[""][..], 200),
            (Version::HTTP_11, &["a", "a"][..], 400),
            (Version::HTTP_11, &["a/b"][..], 400),
            (Version::HTTP_11, &["a b"][..], 400),
            (Version::HTTP_10, &[][..], 200),
            (Version::HTTP_10, &["a", "b"][..], 400),
        ] {
            assert_eq!(answer(version, "/", hosts, false, &[]), status, "{version:?} {hosts:?}");
        }
    }

    #[test]
    fn a_server_that_only_this_machine_reaches_answers_to_names_that_are_nobody_elses() {
        let hosts = ["tasks.example".to_owned()];
        for (host, status) in [
            ("127.0.0.1:8000", 200),
            ("10.0.0.1", 200),
            ("[::1]:8000", 200),
            ("localhost:1", 200),
            ("LOCALHOST", 200),
            ("Tasks.Example:443", 200),
            ("evil.example", 421),
            ("evil.example:8000", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("tasks.example.evil", 421),
            ("user@evil.example", 421),
            ("localhost@evil.example", 421),
            ("[::1].evil", 421),
            ("2130706433", 421),
        ] {
            let answered =
                |on_loopback| answer(Version::HTTP_11, "/", &[host], on_loopback, &hosts);
            assert_eq!((answered(true), answered(false)), (status, status), "{host}");
        }
        let target = "http://evil.example/metrics";
        assert_eq!(answer(Version::HTTP_11, target, &["localhost"], true, &[]), 421);
        assert_eq!(answer(Version::HTTP_10, "/", &[], true, &[]), 200);
    }
}
