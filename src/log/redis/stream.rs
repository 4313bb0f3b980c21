//! The way to a Redis server as a stream of bytes: TCP, TLS over it, or a Unix socket.

use std::io;
use std::sync::Arc;

use redis::ConnectionAddr;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::authorities;
use crate::sys::quiet::Quiet;

/// A connection, and where it is TCP, the way to keep it still.
pub(super) type Dialled = (Box<dyn Stream>, Option<Quiet>);

/// A stream of bytes, whichever it is.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects. A server behind TLS has to show a certificate that `roots` vouch for; where there are
/// none, the system's.
///
/// # Errors
/// What the operating system said, or what is wrong with the server's certificate.
pub(super) async fn dial(
    address: &ConnectionAddr,
    roots: Option<&Arc<RootCertStore>>,
) -> io::Result<Dialled> {
    match address {
        ConnectionAddr::Tcp(host, port) => {
            let (stream, quiet) = tcp(host, *port).await?;
            Ok((Box::new(stream), Some(quiet)))
        }
        ConnectionAddr::TcpTls { host, port, insecure: false, .. } => {
            let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
            let roots = roots.map_or_else(authorities::of_the_system, |roots| Ok(roots.clone()))?;
            let trusting = ClientConfig::builder().with_root_certificates(roots);
            let tls = TlsConnector::from(Arc::new(trusting.with_no_client_auth()));
            let (stream, quiet) = tcp(host, *port).await?;
            Ok((Box::new(tls.connect(name, stream).await?), Some(quiet)))
        }
        ConnectionAddr::Unix(path) => Ok((Box::new(UnixStream::connect(path).await?), None)),
        _ => Err(io::Error::other("such a connection is not supported")),
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<(TcpStream, Quiet)> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let quiet = Quiet::of(&stream)?;
    Ok((stream, quiet))
}
