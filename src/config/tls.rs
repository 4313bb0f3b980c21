//! The files with which the listeners speak TLS: the table `[tls]`.

use super::Config;
use super::form::{Form as _, Text};
use super::table::{Flag, Row};

/// The name of the table, with the dot behind it.
pub(super) const TLS: &str = "tls.";

/// Paths; empty where there is none. Without a certificate, there is no TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and an authority, in PEM.
    pub certificate: String,
    /// Its key, in PEM.
    pub key: String,
    /// The authorities that vouch for the certificates of clients, in PEM.
    pub client_ca: String,
}

impl TlsFiles {
    /// Whether the listeners speak TLS.
    pub fn is_set(&self) -> bool {
        !self.certificate.is_empty()
    }
}

const PATH: Text = Text("a path, or empty");

/// The keys.
pub(super) const KEYS: &[Row<Config>] = &[
    Row {
        name: "tls.certificate",
        about: " A PEM file with the certificate that this server shows, and those between it and an\n \
                authority. With it, `listen` speaks TLS alone. Taken anew within 10 s where it changes.\n",
        flag: Some(Flag { name: Some("tls-certificate"), ..Flag::of("FILE") }),
        allowed: || PATH.allowed(),
        words: || &[],
        set: |config, raw| {
            config.tls.certificate = PATH.read(raw)?;
            Ok(())
        },
        show: |config| config.tls.certificate.as_str().into(),
    },
    Row {
        name: "tls.key",
        about: " A PEM file with the key of that certificate.\n",
        flag: Some(Flag { name: Some("tls-key"), ..Flag::of("FILE") }),
        allowed: || PATH.allowed(),
        words: || &[],
        set: |config, raw| {
            config.tls.key = PATH.read(raw)?;
            Ok(())
        },
        show: |config| config.tls.key.as_str().into(),
    },
    Row {
        name: "tls.client_ca",
        about: " A PEM file with the authorities of clients' certificates: the subject of one is a\n \
                credential then, see [[access.key]]. Who shows none may still come.\n",
        flag: Some(Flag { name: Some("tls-client-ca"), ..Flag::of("FILE") }),
        allowed: || PATH.allowed(),
        words: || &[],
        set: |config, raw| {
            config.tls.client_ca = PATH.read(raw)?;
            Ok(())
        },
        show: |config| config.tls.client_ca.as_str().into(),
    },
];
