//! TLS on the listeners (protocol §5). Once a connection has become a socket, its worker encrypts for it.
//!
//! | file | what it owns |
//! |---|---|
//! | `certificates` | what this server shows of itself, taken anew where its files change |
//! | `session` | the session of one connection |
//! | `stream` | a connection as HTTP reads and writes it |
//! | `subject` | whose a client's certificate is, and until when |

mod certificates;
mod session;
mod stream;
pub(crate) mod subject;

pub(crate) use certificates::Certificates;
pub(crate) use session::{PLAIN_BYTES_MAX, RECORD_BYTES_MORE, Session, Taken};
pub(crate) use stream::{Bare, SESSION_BYTES, Stream};
pub(crate) use subject::PeerCertificate;
