//! A connection becomes one over TLS, where the listeners speak that.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::api::Api;
use super::paced::Paced;
use crate::core::account::{Kind, Priority};
use crate::tls::{Certificates, SESSION_BYTES, Stream};

/// What is answered to plain HTTP where TLS is spoken.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n\
    content-length: 50\r\nconnection: close\r\n\r\n\
    {\"detail\":\"this address speaks TLS: use https://\"}";

/// The connection with its session, where there are such.
///
/// # Errors
/// It comes to none, in its time.
pub(super) async fn secured(socket: TcpStream, api: &Api) -> io::Result<Stream> {
    let Some(certificates) = &api.certificates else { return Ok(Stream::Plain(socket)) };
    let limit = api.config.limits.handshake_timeout();
    let established = match timeout(limit, establish(socket, certificates, api)).await {
        Ok(established) => established,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    certificates.count(established.is_ok());
    established
}

async fn establish(
    socket: TcpStream,
    certificates: &Certificates,
    api: &Api,
) -> io::Result<Stream> {
    // Until something comes, there is no session.
    if !speaks_tls(&socket).await? {
        let stall = api.config.limits.stall_timeout();
        let mut plain = Paced::new(Stream::Plain(socket), stall);
        plain.write_all(NO_TLS).await?;
        plain.shutdown().await?;
        return Err(io::Error::other("it does not speak TLS"));
    }
    let charge = api.account.reserve(Kind::Sessions, SESSION_BYTES, Priority::Usual);
    let Some(charge) = charge else {
        api.account.count_refused();
        return Err(io::ErrorKind::OutOfMemory.into());
    };
    Stream::accept(socket, certificates.config(), charge).await
}

/// Whether a connection begins as those of TLS do (RFC 8446 §5.1). Nothing is taken of it.
async fn speaks_tls(socket: &TcpStream) -> io::Result<bool> {
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    match socket.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first == [HANDSHAKE]),
    }
}
