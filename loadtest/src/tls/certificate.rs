//! What the servers of a run show of themselves.

use crate::child::unnamed_file;
use crate::failure::{Context, Result};
use rustls::crypto::ring::{self, Ticketer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{Error, ServerConfig};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// The name that it is for.
pub(crate) const NAME: &str = "localhost";

/// A certificate that vouches for itself, and its key (ECDSA over P-256, as public authorities give
/// out), in files that are gone when the run is, however it ends.
pub(crate) struct Certificate {
    certificate: File,
    key: File,
}

impl Certificate {
    pub(crate) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_string()]);
        let made = made.while_doing(|| "cannot make a certificate".into())?;
        let file = |pem: String| {
            let write = |mut file: File| file.write_all(pem.as_bytes()).map(|()| file);
            unnamed_file().and_then(write).while_doing(|| "cannot keep a certificate".into())
        };
        Ok(Self {
            certificate: file(made.cert.pem())?,
            key: file(made.signing_key.serialize_pem())?,
        })
    }

    /// Where others find the certificate, and the key, for as long as this is there.
    pub(crate) fn paths(&self) -> [String; 2] {
        [&self.certificate, &self.key]
            .map(|file| format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()))
    }
}

/// How a floor speaks TLS: as the server does, with tickets and nothing kept of a session that ended.
pub(crate) fn server_config([certificate, key]: [&str; 2]) -> Result<Arc<ServerConfig>> {
    let bad = || "the certificate cannot be used".to_string();
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = chain.while_doing(bad)?;
    let key = PrivateKeyDer::from_pem_file(key).while_doing(bad)?;
    let config = || -> std::result::Result<ServerConfig, Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.ticketer = Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    };
    config().map(Arc::new).while_doing(bad)
}
