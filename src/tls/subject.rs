//! Whose a certificate is, and until when it counts.

use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::name::Name;

/// The certificate that the other side of a connection has shown and proven.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PeerCertificate {
    /// Whose it is, in the form of RFC 4514.
    pub(crate) subject: String,
    /// When it ends, in seconds since the Unix epoch.
    pub(crate) ends_s: u64,
}

impl PeerCertificate {
    /// None where it cannot be read.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        let certificate = Certificate::from_der(der).ok()?;
        let subject = certificate.tbs_certificate().subject().to_string();
        Some(Self { subject, ends_s: ends_s(der)? })
    }
}

/// When a certificate ends, in seconds since the Unix epoch.
pub(crate) fn ends_s(certificate: &[u8]) -> Option<u64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    Some(certificate.tbs_certificate().validity().not_after.to_unix_duration().as_secs())
}

/// A subject as somebody writes it, in the form that [`of`] gives; none where it is no such name.
pub(crate) fn written(text: &str) -> Option<String> {
    text.parse::<Name>().ok().map(|name| name.to_string()).filter(|name| !name.is_empty())
}
