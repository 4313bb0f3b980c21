//! TLS between the viewers and what they connect to, and the certificate that a run makes for it.

mod certificate;
mod session;
mod trust;

pub(crate) use certificate::{Certificate, server_config};
pub(crate) use session::Session;
pub(crate) use trust::Trust;
