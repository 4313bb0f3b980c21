//! One connection to Redis that is read as the bytes come: no task of its own, no copy of a string.
//!
//! It is for the tail, whose reads are the hot path, and which must see how large an answer is
//! before all of it is there. Everything else asks through the `redis` crate.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use redis::ConnectionInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::resp::{Cursor, Malformed, Scanner, Value};
use super::stream::{Stream, dial};
use crate::log::LogError;
use crate::sys::quiet::Quiet;

/// Room for what one read of the socket brings, at least.
const RECEIVE_BYTES_MIN: usize = 16 * 1024;

/// Room that is kept when everything has been taken out.
const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// A connection.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    quiet: Option<Quiet>,
    received: BytesMut,
    scanner: Scanner,
    /// Commands that are not sent yet.
    out: BytesMut,
    /// What had come of a message whose strings are too long, once that was seen.
    cut: Option<Bytes>,
    /// The longest string that is taken, in bytes.
    string_bytes_max: usize,
    /// How long Redis may keep still while it owes a reply.
    patience: Duration,
}

/// What came.
#[derive(Debug)]
pub(super) enum Message {
    /// Something that Redis says unasked.
    Push(Bytes),
    /// The reply to a command.
    Reply(Bytes),
    /// A reply with a string that is too long. Its beginning, up to that string at the most; the
    /// rest was let go as it came.
    Cut(Bytes),
}

/// Why a connection cannot be used any more.
#[derive(Debug)]
pub(super) enum WireError {
    /// It is broken, or Redis keeps still.
    Io(io::Error),
    /// What comes is not the protocol of Redis.
    Malformed(Malformed),
    /// Redis answered with an error, code first.
    Refused(String),
}

impl Wire {
    /// Connects and introduces itself; with `resp3`, in that version of the protocol.
    ///
    /// # Errors
    /// [`WireError::Refused`] says what Redis does not like about that.
    pub(super) async fn connect(
        server: &ConnectionInfo,
        resp3: bool,
        string_bytes_max: usize,
        patience: Duration,
    ) -> Result<Self, WireError> {
        let (stream, quiet) = dial(server.addr()).await?;
        let mut wire = Self {
            stream,
            quiet,
            received: BytesMut::new(),
            scanner: Scanner::default(),
            out: BytesMut::new(),
            cut: None,
            string_bytes_max,
            patience,
        };
        let settings = server.redis_settings();
        let user = settings.username().unwrap_or("default");
        match (settings.password(), resp3) {
            (Some(password), true) => wire.ask(&["HELLO", "3", "AUTH", user, password]).await?,
            (None, true) => wire.ask(&["HELLO", "3"]).await?,
            // Before version 6 Redis knows no users.
            (Some(password), false) if user == "default" => wire.ask(&["AUTH", password]).await?,
            (Some(password), false) => wire.ask(&["AUTH", user, password]).await?,
            (None, false) => {}
        }
        if settings.db() != 0 {
            wire.ask(&["SELECT", &settings.db().to_string()]).await?;
        }
        Ok(wire)
    }

    /// Sends a command and waits until Redis has agreed.
    ///
    /// # Errors
    /// [`WireError::Refused`] where it does not; the connection is fit for further use then.
    pub(super) async fn ask(&mut self, command: &[&str]) -> Result<(), WireError> {
        put_head(&mut self.out, command.len());
        command.iter().for_each(|word| put_word(&mut self.out, word.as_bytes()));
        self.send().await?;
        loop {
            if let Message::Reply(reply) = self.reply().await? {
                return match Cursor::new(&reply).value() {
                    Some(Value::Error(error)) => {
                        Err(WireError::Refused(String::from_utf8_lossy(&error).into_owned()))
                    }
                    _ => Ok(()),
                };
            }
        }
    }

    /// Where commands are put before they are sent together.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Sends the commands that were put.
    ///
    /// # Errors
    /// [`WireError::Io`].
    pub(super) async fn send(&mut self) -> Result<(), WireError> {
        timeout(self.patience, self.stream.write_all(&self.out)).await.map_err(|_| still())??;
        self.out.clear();
        Ok(())
    }

    /// The next message, which Redis owes.
    ///
    /// # Errors
    /// [`WireError::Io`] also where nothing comes for too long.
    pub(super) async fn reply(&mut self) -> Result<Message, WireError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            timeout(self.patience, self.receive()).await.map_err(|_| still())??;
        }
    }

    /// The next message, whenever it comes. May be dropped: what has come stays.
    ///
    /// # Errors
    /// See [`WireError`].
    pub(super) async fn message(&mut self) -> Result<Message, WireError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.receive().await?;
        }
    }

    /// From now on, longer strings are let go.
    pub(super) fn take_strings_up_to(&mut self, bytes: usize) {
        self.string_bytes_max = bytes;
    }

    /// Has what comes wake nobody up, or do so again.
    pub(super) fn keep_still(&self, still: bool) {
        if let Some(quiet) = &self.quiet {
            quiet.keep(still);
        }
    }

    /// Takes the next message out of what has come.
    fn take(&mut self) -> Result<Option<Message>, WireError> {
        if let Some(end) = self.scanner.scan(&self.received).map_err(WireError::Malformed)? {
            let message = self.received.split_to(end).freeze();
            return Ok(Some(match (self.cut.take(), message.first()) {
                (Some(beginning), _) => Message::Cut(beginning),
                (None, Some(b'>')) => Message::Push(message),
                (None, _) => Message::Reply(message),
            }));
        }
        if self.cut.is_none() && self.scanner.longest() > self.string_bytes_max {
            self.cut = Some(Bytes::copy_from_slice(&self.received));
        }
        if self.cut.is_some() {
            let done_with = self.scanner.looked_at(&self.received);
            self.received.advance(done_with);
            self.scanner.forget(done_with);
        }
        Ok(None)
    }

    async fn receive(&mut self) -> io::Result<()> {
        if self.received.is_empty() && self.received.capacity() > KEPT_BYTES_MAX {
            self.received = BytesMut::new();
        }
        let missing = if self.cut.is_some() { 0 } else { self.scanner.missing(&self.received) };
        self.received.reserve(missing.max(RECEIVE_BYTES_MIN));
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")),
            _ => Ok(()),
        }
    }
}

/// Begins a command of so many words.
pub(super) fn put_head(out: &mut BytesMut, words: usize) {
    put_number(out, b'*', words);
}

/// Puts a word of a command.
pub(super) fn put_word(out: &mut BytesMut, word: &[u8]) {
    put_number(out, b'$', word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

fn put_number(out: &mut BytesMut, kind: u8, number: usize) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    let mut rest = number;
    loop {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&[kind]);
    out.extend_from_slice(&digits[first..]);
    out.extend_from_slice(b"\r\n");
}

fn still() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "Redis does not answer")
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(Malformed(what)) => write!(f, "this is no Redis: {what}"),
            Self::Refused(error) => f.write_str(error),
        }
    }
}

impl From<WireError> for LogError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Refused(text) if !passes(&text) => Self::Refused(text),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

/// Whether an error says that Redis cannot be used for now.
fn passes(error: &str) -> bool {
    const CODES: [&str; 9] = [
        "LOADING",
        "MASTERDOWN",
        "TRYAGAIN",
        "READONLY",
        "OOM",
        "MISCONF",
        "BUSY",
        "NOREPLICAS",
        "UNBLOCKED",
    ];
    error.split(' ').next().is_some_and(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_its_words() {
        let mut out = BytesMut::new();
        put_head(&mut out, 2);
        put_word(&mut out, b"GET");
        put_word(&mut out, b"a key with\r\n");
        assert_eq!(&out[..], b"*2\r\n$3\r\nGET\r\n$12\r\na key with\r\n\r\n");
    }

    #[test]
    fn an_error_says_whether_it_passes() {
        let of = |text: &str| LogError::from(WireError::Refused(text.into()));
        assert!(matches!(of("LOADING Redis is loading"), LogError::Unavailable(_)));
        assert!(matches!(of("NOPERM no permissions"), LogError::Refused(_)));
    }

    /// A wire whose other end is a stream that the test writes to.
    fn wire(string_bytes_max: usize) -> (Wire, tokio::io::DuplexStream) {
        let (stream, other) = tokio::io::duplex(64);
        let wire = Wire {
            stream: Box::new(stream),
            quiet: None,
            received: BytesMut::new(),
            scanner: Scanner::default(),
            out: BytesMut::new(),
            cut: None,
            string_bytes_max,
            patience: Duration::from_secs(5),
        };
        (wire, other)
    }

    #[tokio::test]
    async fn a_reply_that_is_too_long_is_let_go_and_what_follows_is_understood() {
        let (mut wire, mut redis) = wire(1000);
        let long = format!(
            "%1\r\n$3\r\nkey\r\n*1\r\n*2\r\n$3\r\n1-0\r\n$5000\r\n{}\r\n",
            "x".repeat(5000)
        );
        let sending = async {
            redis.write_all(format!("{long}+next\r\n").as_bytes()).await.unwrap();
        };
        let receiving = async {
            let Message::Cut(beginning) = wire.reply().await.unwrap() else { panic!("not cut") };
            assert!(long.as_bytes().starts_with(&beginning));
            assert!(beginning.starts_with(b"%1\r\n$3\r\nkey\r\n") && beginning.len() < 100);
            let next = wire.reply().await.unwrap();
            assert!(matches!(next, Message::Reply(reply) if reply == "+next\r\n"));
            assert!(wire.received.capacity() <= 2 * RECEIVE_BYTES_MIN);
        };
        tokio::join!(sending, receiving);
    }

    #[tokio::test]
    async fn an_end_in_the_middle_of_a_message_is_an_error() {
        let (mut wire, mut redis) = wire(1000);
        redis.write_all(b"$10\r\nabc").await.unwrap();
        drop(redis);
        assert!(matches!(wire.message().await, Err(WireError::Io(_))));
    }
}
