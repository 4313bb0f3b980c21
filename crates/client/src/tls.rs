//! TLS to a server: who vouches for its certificate, and what is wrong where none is agreed on.

use std::io;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::error::ClientError;

/// What TLS with a host needs. Clones share it, so that whoever comes back resumes a session.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    /// For whom the certificate has to be: a name or an IP address.
    host: ServerName<'static>,
    /// Made when it is first needed: the system's authorities are read for it.
    config: Arc<OnceCell<Arc<ClientConfig>>>,
}

impl Tls {
    /// None where no certificate can be for such a host. An IPv6 address has brackets, as in a URL.
    pub(super) fn with(host: &str) -> Option<Self> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = ServerName::try_from(bare.to_owned()).ok()?;
        Some(Self { host, config: Arc::default() })
    }

    /// The same, but the authorities in `pem` vouch for the host instead of the system's.
    pub(super) fn with_authorities(self, pem: &[u8]) -> Result<Self, ClientError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        if roots.is_empty() {
            return Err(unusable(&"there is no certificate in PEM"));
        }
        let config = OnceCell::new_with(Some(trusting(roots)?));
        Ok(Self { config: Arc::new(config), ..self })
    }

    /// Agrees on TLS over a connection. Dropping the future drops the connection.
    pub(super) async fn connect(
        &self,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ClientError> {
        let config = self.config.get_or_try_init(|| async {
            // These are files.
            let roots = spawn_blocking(of_the_system).await.map_err(|error| unusable(&error))??;
            trusting(roots)
        });
        let connector = TlsConnector::from(config.await?.clone());
        connector.connect(self.host.clone(), socket).await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> ClientError {
        let host = || self.host.to_str().into_owned();
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
        let problem = match cause {
            // The signature is bad where another authority has the name of one that is trusted.
            Some(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => {
                return ClientError::UnknownAuthority { host: host() };
            }
            Some(Error::InvalidCertificate(wrong)) => {
                return ClientError::Certificate { host: host(), problem: in_words(wrong) };
            }
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                "what answers speaks none".to_owned()
            }
            None if error.kind() == io::ErrorKind::UnexpectedEof => "the server hung up".to_owned(),
            _ => error.to_string(),
        };
        ClientError::Tls(problem)
    }
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, ClientError> {
    // Whoever uses this crate may have chosen another provider for the process.
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // There is no WebSocket over the other ones here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The system's authorities, or those of the file that `SSL_CERT_FILE` names.
fn of_the_system() -> Result<RootCertStore, ClientError> {
    let mut found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // One that cannot be read vouches for nobody; the others do.
    roots.add_parsable_certificates(found.certs);
    match found.errors.pop() {
        _ if !roots.is_empty() => Ok(roots),
        Some(error) => Err(unusable(&error)),
        None => Err(unusable(&"the system has none")),
    }
}

fn unusable(problem: &dyn std::fmt::Display) -> ClientError {
    ClientError::Authorities(problem.to_string())
}

/// What is wrong with a certificate.
fn in_words(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::NotValidForNameContext { presented, .. } => match presented.as_slice() {
            [] => "it has no name (subjectAltName) of a host".to_owned(),
            names => format!("it is for {}", names.join(", ")),
        },
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or this machine's clock is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its time has not come yet, or this machine's clock is wrong".to_owned()
        }
        // Its type is of a crate that rustls does not show.
        CertificateError::Other(error) if error.to_string() == "CaUsedAsEndEntity" => {
            "it is an authority's own (CA:TRUE), with which a server proves nothing".to_owned()
        }
        wrong => wrong.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (host, of) in [("a.example", "a.example"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")]
        {
            assert_eq!(Tls::with(host).unwrap().host.to_str(), of);
        }
        for host in ["", "[a.example", "-", "a b", "[fe80::1%25eth0]"] {
            assert!(Tls::with(host).is_none(), "{host}");
        }
    }

    #[test]
    fn authorities_that_cannot_be_used_are_an_error() {
        for pem in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            let tls = Tls::with("a.example").unwrap();
            let error = tls.with_authorities(pem.as_bytes()).unwrap_err();
            assert!(matches!(error, ClientError::Authorities(_)), "{pem}: {error}");
            assert!(error.is_final());
        }
    }
}
