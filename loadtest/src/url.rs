//! Where a running server is, as the user names it.

use std::net::{SocketAddr, ToSocketAddrs};

/// Where a running server is.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    /// As the Host header has it.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
}

/// Reads `http://host:port`.
pub(crate) fn parse_url(url: &str) -> Result<Url, String> {
    let bad = |why: &str| format!("{why}; give it as http://HOST:PORT");
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://"));
    let host = rest.ok_or_else(|| bad("only http and ws"))?.trim_end_matches('/');
    if host.contains('/') {
        return Err(bad("a path is not supported"));
    }
    let with_port = if host.contains(':') { host.to_string() } else { format!("{host}:80") };
    let mut addresses = with_port.to_socket_addrs().map_err(|error| bad(&error.to_string()))?;
    let address = addresses.next().ok_or_else(|| bad("the host has no address"))?;
    Ok(Url { host: host.to_string(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_or_explained() {
        let Url { host, address } = parse_url("http://127.0.0.1:8000/").expect("a url");
        assert_eq!((host.as_str(), address.port()), ("127.0.0.1:8000", 8000));
        assert_eq!(parse_url("ws://127.0.0.1").expect("a url").address.port(), 80);
        for bad in ["https://127.0.0.1", "127.0.0.1:8000", "http://127.0.0.1:8000/api"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
