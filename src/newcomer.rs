//! Who comes to a worker: what HTTP knows of whoever opened a socket.

use std::net::IpAddr;
use std::sync::Arc;

use crate::access::{Arrival, Shown};
use crate::core::fanout::Purpose;
use crate::holders::{Holder, Seat};
use crate::tls::PeerCertificate;

/// Who opened a socket.
pub(crate) struct Newcomer {
    /// What for.
    pub(crate) purpose: Purpose,
    /// With what right.
    pub(crate) arrival: Arrival,
    /// From where, and what he has of connections.
    pub(crate) guest: Guest,
}

/// Whose a socket is, beside what he may.
#[derive(Debug)]
pub(crate) struct Guest {
    /// From where he comes.
    pub(crate) from: IpAddr,
    /// What he has of connections.
    pub(crate) seats: Vec<Seat>,
    /// As whom he was counted when he came.
    pub(crate) subjects: Vec<Holder>,
    /// What the application is shown of him, where it is asked.
    pub(crate) shown: Option<Arc<Shown>>,
    /// The certificate that he showed.
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
}
