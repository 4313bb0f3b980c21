//! What this server shows of itself: a certificate and its key, from files, taken anew where they change.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::crypto::ring::{self, Ticketer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::subject;
use crate::config::TlsFiles;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What every connection's session is made of.
pub(crate) struct Certificates {
    files: TlsFiles,
    now: Mutex<Now>,
    /// Handshakes that were done, and that failed.
    done: AtomicU64,
    failed: AtomicU64,
}

struct Now {
    config: Arc<ServerConfig>,
    /// What was in the files, also where it cannot be used.
    read: Read,
    /// What makes and takes tickets, and for which authorities it did.
    tickets: (Arc<dyn ProducesTickets>, Vec<u8>),
    /// When the certificate ends, in seconds since the Unix epoch.
    ends_s: u64,
}

/// What is in the files.
#[derive(Clone, PartialEq, Eq)]
struct Read {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Certificates {
    /// # Errors
    /// What is wrong with the files.
    pub(crate) fn new(files: &TlsFiles) -> Result<Self, String> {
        let read = Read::of(files)?;
        let tickets = (tickets()?, read.client_ca.clone());
        let (config, ends_s) = read.config(files, tickets.0.clone())?;
        let now = Now { config, read, tickets, ends_s };
        let (done, failed) = Default::default();
        Ok(Self { files: files.clone(), now: Mutex::new(now), done, failed })
    }

    /// A handshake is done, or failed.
    pub(crate) fn count(&self, is_done: bool) {
        let counter = if is_done { &self.done } else { &self.failed };
        counter.fetch_add(1, Relaxed);
    }

    /// How many handshakes were done, and how many failed.
    pub(crate) fn handshakes(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.failed.load(Relaxed))
    }

    /// For the next session.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.now.lock().config.clone()
    }

    /// When the certificate ends, in seconds since the Unix epoch.
    pub(crate) fn ends_s(&self) -> u64 {
        self.now.lock().ends_s
    }

    /// Takes the files anew where they change, for as long as the server runs. Sessions that are there go
    /// on with what they have.
    pub(crate) async fn follow(&self) {
        let mut failed = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.look() {
                Ok(false) => {}
                Ok(true) => {
                    failed = None;
                    let ends = crate::timestamp::from_ms(self.ends_s() * 1000);
                    tracing::info!(
                        certificate = self.files.certificate,
                        ends,
                        "certificate_renewed"
                    );
                }
                // Said once for each thing that is wrong.
                Err(error) if failed.as_ref() == Some(&error) => {}
                Err(error) => {
                    tracing::warn!(error, "certificate_not_renewed: the one before goes on");
                    failed = Some(error);
                }
            }
        }
    }

    /// Whether there is something new, and it is in force now.
    fn look(&self) -> Result<bool, String> {
        let read = Read::of(&self.files)?;
        let tickets = {
            let now = self.now.lock();
            if now.read == read {
                return Ok(false);
            }
            now.tickets.clone()
        };
        // A ticket says that a certificate was good to the authorities of its time.
        let tickets = if tickets.1 == read.client_ca {
            tickets
        } else {
            (self::tickets()?, read.client_ca.clone())
        };
        let (config, ends_s) = read.config(&self.files, tickets.0.clone())?;
        *self.now.lock() = Now { config, read, tickets, ends_s };
        Ok(true)
    }
}

fn tickets() -> Result<Arc<dyn ProducesTickets>, String> {
    Ticketer::new().map_err(|error| format!("tls: no tickets: {error}"))
}

impl Read {
    fn of(files: &TlsFiles) -> Result<Self, String> {
        let read = |key: &str, path: &str| {
            fs::read(Path::new(path))
                .map_err(|error| format!("tls.{key}: cannot read {path}: {error}"))
        };
        let client_ca = match files.client_ca.as_str() {
            "" => Vec::new(),
            path => read("client_ca", path)?,
        };
        Ok(Self {
            certificate: read("certificate", &files.certificate)?,
            key: read("key", &files.key)?,
            client_ca,
        })
    }

    /// A configuration, and when its certificate ends.
    fn config(
        &self,
        files: &TlsFiles,
        tickets: Arc<dyn ProducesTickets>,
    ) -> Result<(Arc<ServerConfig>, u64), String> {
        let chain = certificates(&self.certificate)
            .map_err(|what| format!("tls.certificate: {} {what}", files.certificate))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| format!("tls.key: {} has no private key in PEM", files.key))?;
        let ends_s = subject::ends_s(&chain[0])
            .ok_or_else(|| format!("tls.certificate: {} has no certificate", files.certificate))?;
        let provider = Arc::new(ring::default_provider());
        let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
            format!("tls: {} and {} are no pair: {error}", files.certificate, files.key)
        })?;
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = if self.client_ca.is_empty() {
            config.with_no_client_auth()
        } else {
            let wrong = |what: String| format!("tls.client_ca: {} {what}", files.client_ca);
            let mut roots = RootCertStore::empty();
            for authority in certificates(&self.client_ca).map_err(&wrong)? {
                roots.add(authority).map_err(|error| wrong(format!("cannot be used: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| wrong(format!("cannot be used: {error}")))?;
            config.with_client_cert_verifier(verifier)
        };
        let mut config =
            config.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = tickets;
        // What a session before left is in its ticket; nothing is kept of it here.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok((Arc::new(config), ends_s))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("has no certificate in PEM".to_owned()),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}
