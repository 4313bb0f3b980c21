//! The TLS session of one connection. It has no buffers: what came and what goes lies in those of whoever
//! reads and writes the socket.

use std::io;
use std::sync::Arc;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{Error, ServerConfig};

/// The most plaintext in one record (RFC 8446 §5.1),
pub(crate) const PLAIN_BYTES_MAX: usize = 16 * 1024;

/// and the most that a record adds to it: its head, and what proves it (RFC 8446 §5.2).
pub(crate) const RECORD_BYTES_MORE: usize = 5 + 256;

/// The head of a record: its type, a version, and how long the rest is.
const HEAD_BYTES: usize = 5;

/// One connection's session.
pub(crate) struct Session(UnbufferedServerConnection);

/// What was taken of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// So many bytes are done with; the others are the beginning of what is to come.
    pub(crate) bytes: usize,
    /// The other side sends no more.
    pub(crate) ended: bool,
}

impl Session {
    /// # Errors
    /// The configuration does not fit.
    pub(crate) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        UnbufferedServerConnection::new(config).map(Self).map_err(io::Error::other)
    }

    /// Whether both sides have proven what they had to.
    pub(crate) fn is_established(&self) -> bool {
        !self.0.is_handshaking()
    }

    /// The certificate of the other side, where it showed one.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.0.peer_certificates()?.first().map(|certificate| &**certificate)
    }

    /// Takes the whole records among `came`, hands on what they say, and puts behind `goes` what has to be
    /// answered: an alert, too, where this fails. What is left of `came` has to come again, at its front.
    ///
    /// # Errors
    /// It is not what such a connection may send.
    pub(crate) fn take(
        &mut self,
        came: &mut [u8],
        goes: &mut Vec<u8>,
        mut says: impl FnMut(&[u8]),
    ) -> io::Result<Taken> {
        let mut taken = Taken { bytes: 0, ended: false };
        loop {
            let (done, goes_on) = self
                .step(&mut came[taken.bytes..], goes, &mut says, &mut taken.ended)
                .map_err(|error| {
                    // What there is to be sent still goes: the last of it is the alert.
                    while let Ok((_, true)) = self.step(&mut [], goes, &mut |_| {}, &mut false) {}
                    broken(error)
                })?;
            taken.bytes += done;
            if !goes_on {
                break;
            }
        }
        // A whole record is taken at once. One that would wait for another, as parts of a message of the
        // handshake do, is of no honest client here: there are no long ones behind its first.
        if self.is_established() && is_whole(&came[taken.bytes..]) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message in parts"));
        }
        Ok(taken)
    }

    /// One step: how many bytes are done with, and whether there may be more to do.
    fn step(
        &mut self,
        came: &mut [u8],
        goes: &mut Vec<u8>,
        says: &mut impl FnMut(&[u8]),
        ended: &mut bool,
    ) -> Result<(usize, bool), Error> {
        let UnbufferedStatus { mut discard, state, .. } = self.0.process_tls_records(came);
        let goes_on = match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    discard += record.discard;
                    says(record.payload);
                }
                true
            }
            ConnectionState::EncodeTlsData(mut data) => {
                append(goes, |room| data.encode(room))?;
                true
            }
            // Whoever has what goes sends it before anything else.
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                true
            }
            ConnectionState::PeerClosed | ConnectionState::Closed => {
                *ended = true;
                false
            }
            ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => false,
            // What is sent before the handshake could be sent again by anybody: it is never accepted.
            _ => return Err(Error::General("an unknown state".to_owned())),
        };
        Ok((discard, goes_on))
    }

    /// Puts a record behind `goes`, with at most [`PLAIN_BYTES_MAX`] of plaintext.
    ///
    /// # Errors
    /// So much was sent that the keys are used up.
    pub(crate) fn encrypt(&mut self, plain: &[u8], goes: &mut Vec<u8>) -> io::Result<()> {
        let UnbufferedStatus { state, .. } = self.0.process_tls_records(&mut []);
        match state.map_err(broken)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let begins = goes.len();
                // Most often it fits: nothing is asked twice.
                goes.resize(begins + plain.len() + RECORD_BYTES_MORE, 0);
                match traffic.encrypt(plain, &mut goes[begins..]) {
                    Ok(written) => {
                        goes.truncate(begins + written);
                        Ok(())
                    }
                    Err(error) => {
                        goes.truncate(begins);
                        Err(io::Error::other(error))
                    }
                }
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Puts behind `goes` that nothing more is sent.
    pub(crate) fn end(&mut self, goes: &mut Vec<u8>) {
        let UnbufferedStatus { state, .. } = self.0.process_tls_records(&mut []);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            // Where that cannot be said, the connection ends without.
            _ = append(goes, |room| traffic.queue_close_notify(room));
        }
    }
}

/// Appends what `write` makes, which says how much room it needs.
fn append<E: NeedsRoom>(
    goes: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), Error> {
    let begins = goes.len();
    let mut result = write(&mut []);
    if let Some(room) = result.as_ref().err().and_then(NeedsRoom::room) {
        goes.resize(begins + room, 0);
        result = write(&mut goes[begins..]);
    }
    goes.truncate(begins + *result.as_ref().unwrap_or(&0));
    result.map(|_| ()).map_err(|_| Error::EncryptError)
}

/// An error that may say how much room was needed.
trait NeedsRoom {
    fn room(&self) -> Option<usize>;
}

impl NeedsRoom for EncodeError {
    fn room(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl NeedsRoom for EncryptError {
    fn room(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(InsufficientSizeError { required_size }) => Some(*required_size),
            Self::EncryptExhausted => None,
        }
    }
}

fn broken(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Whether a whole record stands here.
fn is_whole(came: &[u8]) -> bool {
    let Some(&[_, _, _, high, low]) = came.first_chunk::<HEAD_BYTES>() else { return false };
    came.len() >= HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]))
}
