//! A connection as HTTP reads and writes it: the socket itself, or a TLS session over it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::session::{PLAIN_BYTES_MAX, RECORD_BYTES_MORE, Session, Taken};
use crate::core::account::{Charge, Priority};

/// What is read at a time: the messages of a handshake are small.
const READ_BYTES: usize = 4 * 1024;

/// As much comes at most that cannot be taken yet: a record, or a message of the handshake.
const CAME_BYTES_MAX: usize = PLAIN_BYTES_MAX + RECORD_BYTES_MORE + READ_BYTES;

/// What a session takes beside that until it is handed over, in bytes.
pub(crate) const SESSION_BYTES: usize = 8 * 1024;

/// A connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

/// A session over a socket.
pub(crate) struct Tls {
    socket: TcpStream,
    session: Session,
    /// What came and cannot be taken yet.
    came: Vec<u8>,
    /// What it said, from `read` on.
    said: Vec<u8>,
    read: usize,
    /// What is to be sent, from `sent` on.
    goes: Vec<u8>,
    sent: usize,
    /// The other side sends no more.
    ended: bool,
    has_said_goodbye: bool,
    /// For all of this.
    charge: Charge,
}

/// A connection that leaves HTTP.
pub(crate) struct Bare {
    pub(crate) socket: std::net::TcpStream,
    /// Its session, where it has one.
    pub(crate) session: Option<Box<Session>>,
}

impl Stream {
    /// Establishes a session. `charge` is for [`SESSION_BYTES`], and grows with what it holds.
    ///
    /// # Errors
    /// What the other side did wrong, or there is no room for what it sends; or it went away.
    pub(crate) async fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        charge: Charge,
    ) -> io::Result<Self> {
        let session = Session::new(config)?;
        let (came, said, goes) = (Vec::new(), Vec::new(), Vec::new());
        let mut tls = Tls {
            socket,
            session,
            came,
            said,
            read: 0,
            goes,
            sent: 0,
            ended: false,
            has_said_goodbye: false,
            charge,
        };
        while !tls.session.is_established() {
            // What comes along with the end of the handshake is kept.
            poll_fn(|cx| tls.poll_more(cx)).await?;
            if tls.ended && !tls.session.is_established() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self::Tls(Box::new(tls)))
    }

    /// The certificate of the other side, where it showed one.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.session.peer_certificate(),
        }
    }

    /// The socket, for what the kernel is asked of it.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.socket,
        }
    }

    /// Gives the bare socket away; what was read of it already is put behind `early`.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn into_bare(self, early: &mut Vec<u8>) -> io::Result<Bare> {
        match self {
            Self::Plain(socket) => Ok(Bare { socket: socket.into_std()?, session: None }),
            Self::Tls(mut tls) => {
                poll_fn(|cx| tls.poll_send(cx)).await?;
                // The beginning of a record lies here, and its end still comes.
                while !tls.came.is_empty() && !tls.ended {
                    poll_fn(|cx| tls.poll_more(cx)).await?;
                }
                early.extend_from_slice(&tls.said[tls.read..]);
                Ok(Bare { socket: tls.socket.into_std()?, session: Some(Box::new(tls.session)) })
            }
        }
    }
}

impl Tls {
    /// Reads once and takes what came; nothing more where the other side has ended.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        if self.came.len() + READ_BYTES > CAME_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other("a message is too long")));
        }
        let mut bytes = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        self.came.extend_from_slice(buffer.filled());
        if !self.charge.grow(self.bytes_held(), Priority::Usual) {
            self.charge.account().count_refused();
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        if self.read == self.said.len() {
            (self.said, self.read) = (Vec::new(), 0);
        }
        let said = &mut self.said;
        let taken =
            self.session.take(&mut self.came, &mut self.goes, |says| said.extend_from_slice(says));
        // What is to be answered goes out, an alert too.
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Poll::Ready(Err(error));
        }
        let Taken { bytes, ended } = taken?;
        self.came.drain(..bytes);
        if self.came.is_empty() {
            self.came = Vec::new();
        }
        self.ended |= ended;
        self.charge.set(self.bytes_held());
        Poll::Ready(Ok(()))
    }

    fn bytes_held(&self) -> usize {
        SESSION_BYTES + self.came.capacity() + self.said.capacity() + self.goes.capacity()
    }

    /// Sends what is to be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.goes.len() {
            let goes = &self.goes[self.sent..];
            self.sent += ready!(Pin::new(&mut self.socket).poll_write(cx, goes))?;
        }
        (self.goes, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Encrypts as much as goes into one record. What was encrypted before has gone by then.
    fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let mut plain = Vec::new();
        let plain = match slices {
            [one] => &one[..one.len().min(PLAIN_BYTES_MAX)],
            many => {
                for slice in many {
                    let room = PLAIN_BYTES_MAX - plain.len();
                    plain.extend_from_slice(&slice[..slice.len().min(room)]);
                }
                &plain[..]
            }
        };
        if plain.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.session.encrypt(plain, &mut self.goes)?;
        self.charge.set(self.bytes_held());
        // Where the socket is full, the next write or flush waits for it.
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(plain.len())),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tls = match self.get_mut() {
            Self::Plain(socket) => return Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(tls) => tls,
        };
        while tls.read == tls.said.len() && !tls.ended {
            ready!(tls.poll_more(cx))?;
        }
        let said = &tls.said[tls.read..];
        let bytes = said.len().min(buffer.remaining());
        buffer.put_slice(&said[..bytes]);
        tls.read += bytes;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Self::Tls(tls) => tls.poll_encrypt(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_send(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(tls) => {
                if !std::mem::replace(&mut tls.has_said_goodbye, true) {
                    tls.session.end(&mut tls.goes);
                }
                ready!(tls.poll_send(cx))?;
                Pin::new(&mut tls.socket).poll_shutdown(cx)
            }
        }
    }
}
