//! The one error of the client. Each message says what a person can do about it.

use std::fmt;
use std::time::Duration;

use super::chain::Broken;
use super::socket::MESSAGE_BYTES_MAX;

/// Why a connection failed, or why there will be none.
///
/// [`Follow`](super::Follow) returns those that are [final](Self::is_final); the others come with
/// [`Event::Disconnected`](super::Event::Disconnected), and it connects again.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The URL is not one that the client can use. Final.
    Url {
        /// The URL as given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The server does not know the task, or its id is malformed (close code 4004). Final.
    NotFound,
    /// The token cannot be sent: it is not of visible ASCII. Final.
    Token,
    /// The server does not let this token, or somebody without one, watch the task (close codes 4001 and
    /// 4003). Final: come again with another one.
    Denied {
        /// The server's words.
        reason: String,
    },
    /// The server answered the request for a WebSocket with another status than 101. Final for
    /// what the client did wrong (4xx, except 408 and 429).
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's explanation; may be empty.
        detail: String,
    },
    /// A message is larger than the client takes; it would be so again. Final.
    TooLarge,
    /// These authorities of certificates cannot be used, or the system has none. Final.
    Authorities(String),
    /// No authority that is trusted vouches for the server's certificate. Final: waiting does not make one
    /// trusted.
    UnknownAuthority {
        /// The host of the URL.
        host: String,
    },
    /// The server's certificate is for another host, of another time, or no good. Final, so that a mistake
    /// is noticed and nobody gets a second try at deceiving; who renews a certificate does it in time.
    Certificate {
        /// The host of the URL.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No TLS with the server, but for other reasons than its certificate.
    Tls(String),
    /// No TCP connection to the server.
    Connect {
        /// Host and port.
        address: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The server's answer to the request for a WebSocket is not HTTP, or no upgrade.
    Handshake(String),
    /// The connection was not ready in time.
    Timeout(Duration),
    /// Nothing came for so long, not even an answer to a ping.
    Silent(Duration),
    /// The server closed the connection, or it broke off.
    Closed {
        /// The close code; none if the connection broke off.
        code: Option<u16>,
        /// The server's words, or the system's.
        reason: String,
    },
    /// The bytes that came are no valid WebSocket frames.
    Protocol(String),
    /// An entry was left out, so what follows cannot be trusted.
    Broken(Broken),
}

impl ClientError {
    /// Whether another attempt would fail in the same way.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Url { .. } | Self::NotFound | Self::TooLarge | Self::Token => true,
            Self::Denied { .. } => true,
            Self::Authorities(_) | Self::UnknownAuthority { .. } | Self::Certificate { .. } => true,
            Self::Refused { status, .. } => {
                (400..500).contains(status) && *status != 408 && *status != 429
            }
            _ => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Not the URL itself: it may have a password in it.
            Self::Url { problem, .. } => {
                write!(f, "cannot use the URL: {problem}; give one such as http://127.0.0.1:8000")
            }
            Self::NotFound => f.write_str(
                "the server knows no such task; check the id, and which source it is of",
            ),
            Self::Token => f.write_str("the token has bytes that no token has"),
            Self::Denied { reason } => {
                write!(f, "the server does not let you watch this: {reason}")
            }
            Self::Refused { status, detail } => {
                write!(f, "the server refused the WebSocket with HTTP status {status}")?;
                match detail.as_str() {
                    "" => f.write_str("; check the URL"),
                    detail => write!(f, ": {detail}"),
                }
            }
            Self::TooLarge => write!(
                f,
                "the server sent a message of more than {MESSAGE_BYTES_MAX} bytes; \
                 read this task's stream from Redis instead"
            ),
            Self::Authorities(problem) => {
                write!(f, "cannot use the authorities that vouch for certificates: {problem}")
            }
            Self::UnknownAuthority { host } => write!(
                f,
                "no trusted authority vouches for the certificate of {host}; \
                 if it is yours, say that you trust the one that does"
            ),
            Self::Certificate { host, problem } => {
                write!(f, "cannot trust the certificate that {host} shows: {problem}")
            }
            Self::Tls(problem) => write!(
                f,
                "no TLS with the server: {problem}; check the scheme and the port of the URL"
            ),
            Self::Connect { address, source } => {
                write!(f, "cannot connect to {address}: {source}; is the server running?")
            }
            Self::Handshake(problem) => write!(
                f,
                "the server did not open a WebSocket: {problem}; check that the URL is Taskcast's"
            ),
            Self::Timeout(limit) => write!(
                f,
                "no connection within {} s; check the network and the server's load",
                limit.as_secs_f64()
            ),
            Self::Silent(limit) => {
                write!(f, "nothing came from the server for {} s", limit.as_secs_f64())
            }
            Self::Closed { code: Some(code), reason } if reason.is_empty() => {
                write!(f, "the server closed the connection with code {code}")
            }
            Self::Closed { code: Some(code), reason } => {
                write!(f, "the server closed the connection with code {code}: {reason}")
            }
            Self::Closed { code: None, reason } => write!(f, "the connection broke off: {reason}"),
            Self::Protocol(problem) => {
                write!(f, "the server's bytes are no WebSocket frames: {problem}")
            }
            Self::Broken(broken) => write!(f, "the server left something out: {broken}"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } => Some(source),
            Self::Broken(broken) => Some(broken),
            _ => None,
        }
    }
}
