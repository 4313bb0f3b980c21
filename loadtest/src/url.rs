//! Where a running server is, as the user names it.

use std::net::{SocketAddr, ToSocketAddrs};

/// Where a running server is.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    /// As the Host header has it.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
    /// Whether it speaks TLS.
    pub(crate) tls: bool,
}

/// Reads `http://host:port` or `https://host:port`.
pub(crate) fn parse_url(url: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("{why}; give it as http://HOST:PORT or https://HOST:PORT");
    let (scheme, rest) = url.split_once("://").ok_or_else(|| bad("it has no scheme"))?;
    let (tls, port) = match scheme {
        "http" | "ws" => (false, 80),
        "https" | "wss" => (true, 443),
        _ => return Err(bad("only http, https, ws and wss")),
    };
    let host = rest.trim_end_matches('/');
    if host.contains('/') {
        return Err(bad("a path is not supported"));
    }
    let with_port = if host.contains(':') { host.to_string() } else { format!("{host}:{port}") };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| bad(&error.to_string()))?;
    let address = addresses.next().ok_or_else(|| bad("the host has no address"))?;
    Ok(Url { host: host.to_string(), address, tls })
}

impl Url {
    /// Whose certificate it must show.
    pub(crate) fn name(&self) -> &str {
        let name = self.host.rsplit_once(':').map_or(self.host.as_str(), |(name, _)| name);
        name.trim_matches(['[', ']'])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_or_explained() {
        let Url { host, address, tls } = parse_url("http://127.0.0.1:8000/").expect("a url");
        assert_eq!((host.as_str(), address.port(), tls), ("127.0.0.1:8000", 8000, false));
        assert_eq!(parse_url("ws://127.0.0.1").expect("a url").address.port(), 80);
        let secure = parse_url("https://127.0.0.1").expect("a url");
        assert_eq!((secure.name(), secure.address.port(), secure.tls), ("127.0.0.1", 443, true));
        for bad in ["ftp://127.0.0.1", "127.0.0.1:8000", "http://127.0.0.1:8000/api"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
