//! One viewer of a floor: its socket, and its session where the floor speaks TLS.

use super::REQUEST_BYTES_MAX;
use crate::tls::Session;
use mio::net::TcpStream;
use rustls::ServerConfig;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::Arc;

thread_local! {
    /// What is encrypted lies here until the socket has taken it.
    static ENCRYPTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(super) struct Viewer {
    pub(super) stream: TcpStream,
    pub(super) task: Option<usize>,
    pub(super) request: Vec<u8>,
    /// The position in the task's log of a viewer that is blocked.
    pub(super) blocked_at: Option<usize>,
    secure: Option<Box<Secure>>,
}

struct Secure {
    session: Session,
    /// What came and cannot be taken yet.
    came: Vec<u8>,
    /// What was encrypted, and the socket did not take yet.
    left: Vec<u8>,
}

impl Viewer {
    pub(super) fn new(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Self> {
        let secure = match tls {
            None => None,
            Some(config) => {
                let session = Session::of_floor(config)?;
                Some(Box::new(Secure { session, came: Vec::new(), left: Vec::new() }))
            }
        };
        Ok(Self { stream, task: None, request: Vec::new(), blocked_at: None, secure })
    }

    /// Reads once, behind the request: whether something came.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        let mut bytes = [0; REQUEST_BYTES_MAX];
        let bytes = match self.stream.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => &bytes[..n],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(secure) = &mut self.secure else {
            self.request.extend_from_slice(bytes);
            return Ok(true);
        };
        let Secure { session, came, left } = &mut **secure;
        came.extend_from_slice(bytes);
        let taken = session.take(came, &mut self.request, left)?;
        *came = came[taken..].to_vec();
        self.flush();
        Ok(true)
    }

    /// How much the socket took. A broken one takes nothing and is found by its read. With TLS, what
    /// was encrypted counts as taken: it is kept, and nothing more is taken before it has gone.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        if !self.flush() {
            return 0;
        }
        let Some(secure) = &mut self.secure else { return self.stream.write(bytes).unwrap_or(0) };
        ENCRYPTED.with_borrow_mut(|encrypted| {
            encrypted.clear();
            if secure.session.encrypt(bytes, encrypted).is_err() {
                return 0;
            }
            let sent = self.stream.write(encrypted).unwrap_or(0);
            secure.left.extend_from_slice(&encrypted[sent..]);
            bytes.len()
        })
    }

    /// Sends what was kept: whether nothing of it is left.
    pub(super) fn flush(&mut self) -> bool {
        let Some(secure) = &mut self.secure else { return true };
        if !secure.left.is_empty() {
            let sent = self.stream.write(&secure.left).unwrap_or(0);
            secure.left = secure.left[sent..].to_vec();
        }
        secure.left.is_empty()
    }
}
