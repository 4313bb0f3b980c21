//! The TLS session of one connection. It has no buffers: what came and what goes lies in those of whoever
//! reads and writes the socket.

use std::io;
use std::sync::Arc;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{Error, ServerConfig};

/// The most plaintext in one record (RFC 8446 §5.1),
pub(crate) const PLAIN_BYTES_MAX: usize = 16 * 1024;

/// and the most that a record adds to it: its head, and what proves it (RFC 8446 §5.2).
pub(crate) const RECORD_BYTES_MORE: usize = 5 + 256;

/// The head of a record: its type, a version, and how long the rest is.
const HEAD_BYTES: usize = 5;

/// One connection's session.
///
/// What the library has of a message of the handshake that came in parts is where it stands in what came: as
/// long as there may be such, it has to see that again, and nothing else. So after an error, with which such a
/// part may be left, it is not asked any more.
pub(crate) struct Session {
    connection: UnbufferedServerConnection,
    has_failed: bool,
}

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
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { connection, has_failed: false })
    }

    /// Whether both sides have proven what they had to.
    pub(crate) fn is_established(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// The certificate of the other side, where it showed one.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection.peer_certificates()?.first().map(|certificate| &**certificate)
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
        if self.has_failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        // Where the records end, by their heads as they came: what is taken is decrypted in place.
        let whole = whole_records(came);
        loop {
            let Step { done, what } = self.step(&mut came[taken.bytes..], goes, &mut says);
            taken.bytes += done;
            match what {
                Ok(Next::More) => {}
                Ok(Next::Wait) => break,
                Ok(Next::End) => {
                    taken.ended = true;
                    break;
                }
                Err(error) => {
                    self.take_the_last(&mut came[taken.bytes..], goes);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
        // Every whole record is taken at once, and nothing else. One that would wait for another, as parts of a
        // message of the handshake do, is of no honest client here: there are no long ones behind its first. Nor
        // are empty ones, after which the library says that less is done with than is. What is behind an end is
        // nothing (RFC 8446 §6.1).
        if self.is_established() && !taken.ended && whole != Some(taken.bytes) {
            self.has_failed = true;
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message in parts, or too long",
            ));
        }
        Ok(taken)
    }

    /// After an error, puts behind `goes` what there still is to be sent: the last of it is the alert. What came
    /// is not looked at for that: it would be found wrong once more.
    fn take_the_last(&mut self, mut came: &mut [u8], goes: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let Step { done, what } = self.step(came, goes, &mut |_| {});
            came = &mut came[done..];
            if what.is_err() {
                break;
            }
        }
        self.has_failed = true;
    }

    fn step(&mut self, came: &mut [u8], goes: &mut Vec<u8>, says: &mut impl FnMut(&[u8])) -> Step {
        let UnbufferedStatus { discard: mut done, state, .. } =
            self.connection.process_tls_records(came);
        let what = state.and_then(|state| {
            Ok(match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        done += record.discard;
                        says(record.payload);
                    }
                    Next::More
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(goes, |room| data.encode(room))?;
                    Next::More
                }
                // Whoever has what goes sends it before anything else.
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    Next::More
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => Next::End,
                ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Next::Wait,
                // What is sent before the handshake could be sent again by anybody: it is never accepted.
                _ => return Err(Error::General("an unknown state".to_owned())),
            })
        });
        Step { done, what }
    }

    /// Puts a record behind `goes`, with at most [`PLAIN_BYTES_MAX`] of plaintext.
    ///
    /// # Errors
    /// So much was sent that the keys are used up.
    pub(crate) fn encrypt(&mut self, plain: &[u8], goes: &mut Vec<u8>) -> io::Result<()> {
        let mut traffic = self.writes().ok_or(io::ErrorKind::NotConnected)?;
        let begins = goes.len();
        // Most often it fits: nothing is asked twice.
        goes.resize(begins + plain.len() + RECORD_BYTES_MORE, 0);
        let written = traffic.encrypt(plain, &mut goes[begins..]);
        goes.truncate(begins + *written.as_ref().unwrap_or(&0));
        written.map(|_| ()).map_err(io::Error::other)
    }

    /// Puts behind `goes` that nothing more is sent.
    pub(crate) fn end(&mut self, goes: &mut Vec<u8>) {
        if let Some(mut traffic) = self.writes() {
            // Where that cannot be said, the connection ends without.
            _ = append(goes, |room| traffic.queue_close_notify(room));
        }
    }

    /// What encrypts; none before the handshake is done, and after an error.
    fn writes(&mut self) -> Option<WriteTraffic<'_, ServerConnectionData>> {
        if self.has_failed || !self.is_established() {
            return None;
        }
        match self.connection.process_tls_records(&mut []).state {
            Ok(ConnectionState::WriteTraffic(traffic)) => Some(traffic),
            _ => None,
        }
    }
}

/// What one step came to.
struct Step {
    /// So many bytes are done with.
    done: usize,
    what: Result<Next, Error>,
}

/// What comes after a step.
enum Next {
    /// There may be more to do.
    More,
    /// More has to come.
    Wait,
    /// Nothing comes any more.
    End,
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

/// How many bytes the whole records take that stand at the front; none where one is longer than any can be, which
/// nobody waits for: the library knows that only from its end.
fn whole_records(came: &[u8]) -> Option<usize> {
    let mut whole = 0;
    while let Some(&[_, _, _, high, low]) = came[whole..].first_chunk::<HEAD_BYTES>() {
        let record_bytes = HEAD_BYTES + usize::from(u16::from_be_bytes([high, low]));
        if record_bytes > PLAIN_BYTES_MAX + RECORD_BYTES_MORE {
            return None;
        }
        if came.len() - whole < record_bytes {
            break;
        }
        whole += record_bytes;
    }
    Some(whole)
}

#[cfg(test)]
mod tests;
