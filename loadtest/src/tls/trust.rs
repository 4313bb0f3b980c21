//! Whom viewers believe, and what they keep of a session for the next one.

use super::certificate::NAME;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, NamedGroup, RootCertStore,
    SignatureScheme, StreamOwned,
};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::sync::Arc;

/// Tickets that a process keeps at most. A server gives two for a session, and one is used for each.
const TICKETS_MAX: usize = 1 << 16;

/// What a viewer must know of a server with TLS.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trust {
    /// Whose the certificate must be.
    name: String,
    /// Who must vouch for it, in PEM. None for a server that the harness has started itself: who
    /// listens there is known, and to prove it again would only cost the clients' core.
    authorities: Option<String>,
    /// Whether who comes shows a ticket of an earlier session, so that the handshake is short.
    resumes: bool,
}

impl Trust {
    /// In a server that the harness has started.
    pub(crate) fn in_ours(resumes: bool) -> Self {
        Self { name: NAME.into(), authorities: None, resumes }
    }

    pub(crate) fn in_authorities(name: &str, pem: String, resumes: bool) -> Self {
        Self { name: name.into(), authorities: Some(pem), resumes }
    }

    /// The name that a session is for.
    pub(crate) fn name(&self) -> Result<ServerName<'static>, String> {
        ServerName::try_from(self.name.clone()).map_err(|_| format!("{} is no name", self.name))
    }

    /// A session over a stream that blocks.
    pub(crate) fn over<S: Read + Write>(
        &self,
        stream: S,
    ) -> Result<StreamOwned<ClientConnection, S>, String> {
        let session = ClientConnection::new(self.config()?, self.name()?);
        Ok(StreamOwned::new(session.map_err(|error| error.to_string())?, stream))
    }

    /// What all sessions with one server share.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut config = match &self.authorities {
            None => config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)),
            Some(pem) => config.with_root_certificates(roots(pem)?),
        }
        .with_no_client_auth();
        config.resumption = match self.resumes {
            true => Resumption::store(Arc::new(Tickets::default())),
            false => Resumption::disabled(),
        };
        Ok(Arc::new(config))
    }
}

fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let authority = authority.map_err(|error| error.to_string())?;
        roots.add(authority).map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("it has no certificate in PEM".into()),
        false => Ok(roots),
    }
}

/// Tickets of any viewer for any other: to a server, one costs what another does. The store of
/// rustls keeps eight of a server, and thousands of viewers come back at once.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock();
        if tickets.len() < TICKETS_MAX {
            tickets.push(ticket);
        }
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().pop()
    }
}

/// Believes whoever answers.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
