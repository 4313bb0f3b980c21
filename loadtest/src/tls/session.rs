//! The TLS session of one connection, of a viewer or of a floor. It has no buffers: all sockets of a
//! process share them.

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};
use std::io;
use std::sync::Arc;

/// The most plaintext in one record, and the most that a record adds to it (RFC 8446 §5).
const PLAIN_BYTES_MAX: usize = 16 * 1024;
const RECORD_BYTES_MORE: usize = 5 + 256;

pub(crate) enum Session {
    Viewer(UnbufferedClientConnection),
    Floor(UnbufferedServerConnection),
}

/// Does the same with either.
macro_rules! either {
    ($session:expr, $it:ident => $what:expr) => {
        match $session {
            Session::Viewer($it) => $what,
            Session::Floor($it) => $what,
        }
    };
}

impl Session {
    pub(crate) fn of_viewer(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        UnbufferedClientConnection::new(config, name).map(Self::Viewer).map_err(broken)
    }

    pub(crate) fn of_floor(config: Arc<ServerConfig>) -> io::Result<Self> {
        UnbufferedServerConnection::new(config).map(Self::Floor).map_err(broken)
    }

    pub(crate) fn is_established(&self) -> bool {
        !either!(self, it => it.is_handshaking())
    }

    /// Whether it went on from an earlier one.
    pub(crate) fn is_resumed(&self) -> bool {
        either!(self, it => it.handshake_kind()) == Some(HandshakeKind::Resumed)
    }

    /// Takes the whole records among `came`: what they say goes behind `says`, and what has to be
    /// answered behind `goes`. How many bytes are done with; the others have to come again.
    pub(crate) fn take(
        &mut self,
        came: &mut [u8],
        says: &mut Vec<u8>,
        goes: &mut Vec<u8>,
    ) -> io::Result<usize> {
        let mut taken = 0;
        loop {
            let rest = &mut came[taken..];
            let step = either!(self, it => step(it.process_tls_records(rest), says, goes));
            let (done, goes_on) = step.map_err(broken)?;
            taken += done;
            if !goes_on {
                return Ok(taken);
            }
        }
    }

    /// Puts `plain` behind `goes`, in as few records as it needs.
    pub(crate) fn encrypt(&mut self, plain: &[u8], goes: &mut Vec<u8>) -> io::Result<()> {
        plain.chunks(PLAIN_BYTES_MAX).try_for_each(
            |part| either!(self, it => encrypt(it.process_tls_records(&mut []), part, goes)),
        )
    }
}

/// One step: how many bytes are done with, and whether there may be more to do.
fn step<Data>(
    UnbufferedStatus { mut discard, state, .. }: UnbufferedStatus<'_, '_, Data>,
    says: &mut Vec<u8>,
    goes: &mut Vec<u8>,
) -> Result<(usize, bool), Error> {
    let goes_on = match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                let record = record?;
                discard += record.discard;
                says.extend_from_slice(record.payload);
            }
            true
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let begins = goes.len();
            let mut encoded = data.encode(&mut []);
            if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
                encoded
            {
                goes.resize(begins + required_size, 0);
                encoded = data.encode(&mut goes[begins..]);
            }
            let written = encoded.map_err(|_| Error::EncryptError)?;
            goes.truncate(begins + written);
            true
        }
        // What goes is sent before anything else.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            true
        }
        // The end of the stream of bytes follows, and tells it.
        ConnectionState::PeerClosed | ConnectionState::Closed => false,
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => false,
        _ => return Err(Error::General("an unknown state".into())),
    };
    Ok((discard, goes_on))
}

fn encrypt<Data>(
    UnbufferedStatus { state, .. }: UnbufferedStatus<'_, '_, Data>,
    plain: &[u8],
    goes: &mut Vec<u8>,
) -> io::Result<()> {
    let ConnectionState::WriteTraffic(mut traffic) = state.map_err(broken)? else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    let begins = goes.len();
    goes.resize(begins + plain.len() + RECORD_BYTES_MORE, 0);
    let written = traffic.encrypt(plain, &mut goes[begins..]).map_err(io::Error::other)?;
    goes.truncate(begins + written);
    Ok(())
}

fn broken(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}"))
}
