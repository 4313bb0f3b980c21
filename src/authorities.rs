//! Who vouches for the certificates of others.

use std::io;
use std::sync::Arc;

use rustls::RootCertStore;

/// The system's authorities, or those of the file that `SSL_CERT_FILE` names.
///
/// # Errors
/// They cannot be read.
pub(crate) fn of_the_system() -> io::Result<Arc<RootCertStore>> {
    let mut system = rustls_native_certs::load_native_certs();
    if let Some(error) = system.errors.pop() {
        return Err(io::Error::other(error));
    }
    let mut roots = RootCertStore::empty();
    for certificate in system.certs {
        roots.add(certificate).map_err(io::Error::other)?;
    }
    Ok(Arc::new(roots))
}
