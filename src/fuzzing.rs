//! What the fuzz targets (fuzz/README.md) reach of what is private here. It exists in their builds alone.
//!
//! Nothing is done here: each calls the code that the server runs.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use rustls::ServerConfig;
use tokio::io::AsyncRead;

use crate::access;
use crate::config::{Config, Network, TlsFiles};
use crate::core::access::Pass;
use crate::core::account::Account;
use crate::http::{caller, proxy_header};
use crate::log::Log;
use crate::tls::{self, Certificates, Taken};

/// Reads a header of the PROXY protocol.
///
/// # Errors
/// It is none, or the connection ends in it.
pub async fn proxy_header(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    proxy_header::read(stream).await
}

/// From where a request with these headers comes, over a connection from `peer`.
pub fn caller(headers: &HeaderMap, peer: IpAddr, trusted: &[Network]) -> IpAddr {
    caller::Caller::of(headers, peer, None, trusted).address
}

/// Who may what.
pub struct Access(access::Access);

impl Access {
    /// With what is revoked according to an empty log.
    ///
    /// # Errors
    /// What is wrong with a key.
    pub async fn new(config: &Config) -> Result<Self, String> {
        let account = Account::new(config.limits.memory_bytes_max);
        let access = access::Access::new(config, &account)?;
        let log = Log::open(&Config { embedded: true, ..config.clone() });
        let log = log.map_err(|error| error.to_string())?;
        let is_read = async {
            while !access.is_ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = access.follow_revocations(&log, &account, || {}) => {}
            () = is_read => {}
        }
        Ok(Self(access))
    }

    /// What somebody with this token may.
    ///
    /// # Errors
    /// What he is told.
    pub async fn admit_token(&self, token: &str) -> Result<Arc<Pass>, &'static str> {
        let admitted = self.0.admit_token(token, None, None).await;
        admitted.map(|(pass, _)| pass).map_err(access::Refused::text)
    }
}

/// What the sessions of the listeners are made of.
///
/// # Errors
/// What is wrong with the files.
pub fn tls(files: &TlsFiles) -> Result<Arc<ServerConfig>, String> {
    Certificates::new(files).map(|certificates| certificates.config())
}

/// As much a worker looks at of what came, at a time.
pub const PEEK_BYTES: usize = tls::PLAIN_BYTES_MAX + tls::RECORD_BYTES_MORE;

/// The TLS session of one connection.
pub struct Session(tls::Session);

impl Session {
    /// # Errors
    /// The configuration does not fit.
    pub fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        tls::Session::new(config).map(Self)
    }

    /// Whether both sides have proven what they had to.
    pub fn is_established(&self) -> bool {
        self.0.is_established()
    }

    /// Takes the whole records among `came`: how many bytes are done with, and whether the other side sends no
    /// more.
    ///
    /// # Errors
    /// It is not what such a connection may send.
    pub fn take(
        &mut self,
        came: &mut [u8],
        goes: &mut Vec<u8>,
        says: impl FnMut(&[u8]),
    ) -> io::Result<(usize, bool)> {
        let Taken { bytes, ended } = self.0.take(came, goes, says)?;
        Ok((bytes, ended))
    }

    /// Puts a record behind `goes`.
    ///
    /// # Errors
    /// It cannot be said now.
    pub fn encrypt(&mut self, plain: &[u8], goes: &mut Vec<u8>) -> io::Result<()> {
        self.0.encrypt(plain, goes)
    }
}
