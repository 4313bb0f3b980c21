//! A connection's socket under HTTP: whoever takes nothing of an answer is cut, what the HTTP
//! library refuses by itself gets a body, and a connection that we end is ended gently.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::sys::unsent;
use crate::tls::Stream;

/// How long the end of a connection waits for the other side's: until then what it still sends is
/// thrown away. A socket that is closed with something unread would take our answer back (RFC 9112
/// §9.6).
const LINGER: Duration = Duration::from_secs(1);
/// So much is thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// The socket.
pub(super) struct Paced {
    stream: Stream,
    stall: Duration,
    /// Set while the socket takes no more: when that is too long, and what it had not taken then.
    stalled: Option<(Pin<Box<Sleep>>, usize)>,
    /// What is still to be written before anything else: a refusal, with its body.
    refusal: Vec<u8>,
    /// Set once our side has ended: when waiting for the other side is too long, and how much was
    /// thrown away.
    ending: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Paced {
    /// Over a socket whose other side has to take some byte of what is written every `stall`.
    pub(super) fn new(stream: Stream, stall: Duration) -> Self {
        Self { stream, stall, stalled: None, refusal: Vec::new(), ending: None }
    }

    /// The socket, to be used for something else.
    pub(super) fn into_inner(self) -> Stream {
        self.stream
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(cx, slices) {
            Poll::Ready(sent) => {
                self.stalled = None;
                Poll::Ready(sent)
            }
            Poll::Pending => self.poll_stall(cx).map(Err),
        }
    }

    /// Resolves when the other side has taken nothing for too long.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (timer, left) = self.stalled.get_or_insert_with(|| {
                (Box::pin(sleep(self.stall)), unsent::bytes(self.stream.socket()))
            });
            ready!(timer.as_mut().poll(cx));
            // A slow client takes something long before the kernel wants more from us.
            let now_left = unsent::bytes(self.stream.socket());
            if now_left >= *left {
                // What the kernel still holds for it goes as well.
                _ = SockRef::from(self.stream.socket()).set_linger(Some(Duration::ZERO));
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            *left = now_left;
            timer.as_mut().reset(Instant::now() + self.stall);
        }
    }

    /// Writes a refusal out.
    fn poll_refusal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let refusal = std::mem::take(&mut self.refusal);
            let sent = self.poll_send(cx, &[IoSlice::new(&refusal)]);
            self.refusal = refusal;
            self.refusal.drain(..ready!(sent)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Resolves when the other side has ended too, or has had its time.
    fn poll_ending(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (timer, thrown) = self.ending.get_or_insert_with(|| (Box::pin(sleep(LINGER)), 0));
        let mut bytes = [0; 4096];
        while timer.as_mut().poll(cx).is_pending() && *thrown < LINGER_BYTES_MAX {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            *thrown += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}

/// A refusal that the HTTP library makes where it cannot read a head: it has no body. Each one of
/// ours has.
fn with_body(head: &[u8]) -> Option<Vec<u8>> {
    let detail = match head.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
        b"400" => "this is no HTTP request",
        b"414" => "the target is too long",
        b"431" => "the head is too long",
        _ => return None,
    };
    let text = std::str::from_utf8(head).ok()?;
    let body = format!(r#"{{"detail":"{detail}"}}"#);
    let length = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    let with_length = text.replacen("content-length: 0", &length, 1);
    let is_one = with_length.len() > text.len() && text.ends_with("\r\n\r\n");
    is_one.then(|| (with_length + &body).into_bytes())
}

impl AsyncWrite for Paced {
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
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        if let Some(head) = slices.first()
            && let Some(refusal) = with_body(head)
        {
            this.refusal = refusal;
            return Poll::Ready(Ok(head.len()));
        }
        this.poll_send(cx, slices)
    }

    /// An answer is written as it is and not copied: it is charged until it is written.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_refusal(cx))?;
        // What is encrypted may still wait for the socket.
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Ready(flushed) => {
                this.stalled = None;
                Poll::Ready(flushed)
            }
            Poll::Pending => this.poll_stall(cx).map(Err),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ending.is_none() {
            ready!(this.poll_refusal(cx))?;
            match pin!(&mut this.stream).poll_shutdown(cx) {
                Poll::Ready(shut) => shut?,
                Poll::Pending => return this.poll_stall(cx).map(Err),
            }
        }
        this.poll_ending(cx)
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_without_a_body_gets_one() {
        let bare = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
                     content-length: 0\r\ndate: x\r\n\r\n";
        let text = String::from_utf8(with_body(bare).unwrap()).unwrap();
        assert!(
            text.ends_with("\r\ndate: x\r\n\r\n{\"detail\":\"the head is too long\"}"),
            "{text}"
        );
        assert!(text.contains("\r\ncontent-length: 33\r\n"), "{text}");
        for other in [
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 9\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "{}",
            "",
        ] {
            assert!(with_body(other.as_bytes()).is_none(), "{other}");
        }
    }
}
