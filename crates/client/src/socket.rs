//! One open WebSocket: whole text messages out of frames, pings answered, silence noticed.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use fastwebsockets::{
    Frame, OpCode, Payload, Role, WebSocketError, WebSocketRead, WebSocketWrite,
    after_handshake_split,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::Timing;
use super::error::ClientError;

/// The largest message that the client takes, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 256 << 20;

type Stream = TokioIo<Upgraded>;

/// An open WebSocket to the server.
pub(super) struct Socket {
    read: WebSocketRead<Heard<ReadHalf<Stream>>>,
    write: WebSocketWrite<WriteHalf<Stream>>,
    /// Whether a byte came since it was last asked.
    heard: Arc<AtomicBool>,
    /// The text message whose fragments are coming in.
    partial: Option<Vec<u8>>,
    timing: Timing,
}

impl Socket {
    pub(super) fn new(stream: Stream, timing: Timing) -> Self {
        let (read, write) = tokio::io::split(stream);
        let heard = Arc::new(AtomicBool::new(true));
        let read = Heard { stream: read, heard: Arc::clone(&heard) };
        let (mut read, write) = after_handshake_split(read, write, Role::Client);
        // Both are done here, where a write that gets stuck can be given up.
        read.set_auto_pong(false);
        read.set_auto_close(false);
        read.set_max_message_size(MESSAGE_BYTES_MAX);
        Self { read, write, heard, partial: None, timing }
    }

    /// The next text message. Not safe to cancel: whoever drops the future has to drop the socket.
    pub(super) async fn next(&mut self) -> Result<String, ClientError> {
        loop {
            let (fin, opcode, payload) = self.frame().await?;
            match (opcode, self.partial.take()) {
                (OpCode::Ping, partial) => {
                    self.partial = partial;
                    self.send(Frame::pong(payload.into())).await?;
                }
                (OpCode::Pong, partial) => self.partial = partial,
                (OpCode::Close, _) => return Err(self.closed(payload).await),
                (OpCode::Text, None) if fin => return text(payload),
                (OpCode::Text, None) => self.partial = Some(payload),
                (OpCode::Continuation, Some(mut message)) => {
                    if message.len() + payload.len() > MESSAGE_BYTES_MAX {
                        return Err(ClientError::TooLarge);
                    }
                    message.extend_from_slice(&payload);
                    if fin {
                        return text(message);
                    }
                    self.partial = Some(message);
                }
                _ => return Err(ClientError::Protocol("a frame of no use".to_owned())),
            }
        }
    }

    /// Waits for `work`, and meanwhile tells the server that somebody is here, although nobody
    /// reads what it sends.
    pub(super) async fn hold<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, ClientError> {
        let mut work = pin!(work);
        loop {
            match timeout(self.timing.ping_after, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) => self.send(Frame::pong(Payload::Borrowed(&[]))).await?,
            }
        }
    }

    /// Reads one frame, with a ping after each silence, until the silence is too long.
    async fn frame(&mut self) -> Result<(bool, OpCode, Vec<u8>), ClientError> {
        let mut answers = |_| async { Ok::<(), WebSocketError>(()) };
        // A read that is dropped loses bytes, so the one future lives through all the waits.
        let mut read = pin!(self.read.read_frame(&mut answers));
        let mut silence = Duration::ZERO;
        loop {
            if let Ok(frame) = timeout(self.timing.ping_after, &mut read).await {
                let frame = frame.map_err(broken_off)?;
                return Ok((frame.fin, frame.opcode, frame.payload.into()));
            }
            // Bytes count, not frames: a large frame may take long, and no pong comes between.
            if self.heard.swap(false, Ordering::Relaxed) {
                silence = Duration::ZERO;
            }
            silence += self.timing.ping_after;
            if silence >= self.timing.dead_after {
                return Err(ClientError::Silent(silence));
            }
            let ping = Frame::new(true, OpCode::Ping, None, Payload::Borrowed(&[]));
            write(&mut self.write, ping, self.timing.dead_after).await?;
        }
    }

    async fn send(&mut self, frame: Frame<'_>) -> Result<(), ClientError> {
        write(&mut self.write, frame, self.timing.dead_after).await
    }

    /// Answers a close frame and says what it said.
    async fn closed(&mut self, payload: Vec<u8>) -> ClientError {
        let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
        let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
        // The connection ends in either case.
        let _ = self.send(Frame::close(code.unwrap_or(1000), &[])).await;
        match code {
            Some(4004) => ClientError::NotFound,
            Some(4001 | 4003) => ClientError::Denied { reason },
            code => ClientError::Closed { code, reason },
        }
    }
}

async fn write(
    half: &mut WebSocketWrite<WriteHalf<Stream>>,
    frame: Frame<'_>,
    limit: Duration,
) -> Result<(), ClientError> {
    let written = async {
        half.write_frame(frame).await?;
        // TLS may keep what the socket did not take.
        half.flush().await
    };
    match timeout(limit, written).await {
        Ok(written) => written.map_err(broken_off),
        Err(_) => Err(ClientError::Silent(limit)),
    }
}

fn text(message: Vec<u8>) -> Result<String, ClientError> {
    String::from_utf8(message)
        .map_err(|_| ClientError::Protocol("a text message is not UTF-8".to_owned()))
}

fn broken_off(error: WebSocketError) -> ClientError {
    match error {
        WebSocketError::FrameTooLarge => ClientError::TooLarge,
        WebSocketError::UnexpectedEOF => hung_up(),
        // So says TLS, where the other side did not say that it ends.
        WebSocketError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => hung_up(),
        WebSocketError::IoError(error) => {
            ClientError::Closed { code: None, reason: error.to_string() }
        }
        error => ClientError::Protocol(error.to_string()),
    }
}

fn hung_up() -> ClientError {
    ClientError::Closed { code: None, reason: "the server hung up".to_owned() }
}

/// A stream that notes that bytes came.
struct Heard<S> {
    stream: S,
    heard: Arc<AtomicBool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if poll.is_ready() {
            self.heard.store(true, Ordering::Relaxed);
        }
        poll
    }
}
