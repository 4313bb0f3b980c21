//! One connection to Redis that is read as the bytes come: no task of its own, no copy of a string.
//!
//! It is for the tail, whose reads are the hot path, and which must see how large an answer is
//! before all of it is there. Everything else asks through the `redis` crate.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use redis::RedisConnectionInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::error::Failure;
use super::resp::{Cursor, Malformed, Scanner, Value};
use super::stream::{Dialled, Stream};
use crate::core::account::Charge;
use crate::core::digits;
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
    /// What had come of a message that is too long, once that was seen.
    cut: Option<(Bytes, TooLong)>,
    bounds: Bounds,
    /// What is being received, in somebody's account.
    charge: Option<Charge>,
    /// How long Redis may keep still while it owes a reply.
    patience: Duration,
}

/// How much is taken of one message; what is longer is let go as it comes.
#[derive(Debug, Clone, Copy)]
pub(in crate::log) struct Bounds {
    /// The longest string, in bytes.
    pub(in crate::log) string_bytes_max: usize,
    /// The longest message, about, in bytes.
    pub(in crate::log) message_bytes_max: usize,
}

/// What of a message is longer than its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLong {
    /// One of its strings.
    String,
    /// All of it together.
    Message,
}

/// What came.
#[derive(Debug)]
pub(super) enum Received {
    /// Something that Redis says unasked.
    Push(Bytes),
    /// The reply to a command.
    Reply(Bytes),
    /// A reply that is too long. Its beginning, as far as it is kept; the rest was let go as it
    /// came.
    Cut(Bytes, TooLong),
}

impl Wire {
    /// Introduces itself on a new stream; with `resp3`, in that version of the protocol.
    ///
    /// # Errors
    /// Says what Redis does not like about that.
    pub(super) async fn begin(
        (stream, quiet): Dialled,
        settings: &RedisConnectionInfo,
        resp3: bool,
        bounds: Bounds,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let mut wire = Self {
            stream,
            quiet,
            received: BytesMut::new(),
            scanner: Scanner::default(),
            out: BytesMut::new(),
            cut: None,
            bounds,
            charge: None,
            patience,
        };
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

    /// Sends a command and waits until Redis has agreed. What it says unasked until then is let go:
    /// this is for a connection that begins.
    ///
    /// # Errors
    /// Where it does not; if it answered so, the connection is fit for further use.
    pub(super) async fn ask(&mut self, command: &[&str]) -> Result<(), Failure> {
        self.put(command);
        self.send().await?;
        loop {
            if let Received::Reply(reply) = self.reply().await? {
                return match Cursor::new(&reply).value() {
                    Some(Value::Error(error)) => {
                        Err(Failure::answered(&String::from_utf8_lossy(&error)))
                    }
                    _ => Ok(()),
                };
            }
        }
    }

    /// Puts a command, to be sent with those before it.
    pub(super) fn put(&mut self, command: &[&str]) {
        put_head(&mut self.out, command.len());
        command.iter().for_each(|word| put_word(&mut self.out, word.as_bytes()));
    }

    /// Where commands are put before they are sent together.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Sends the commands that were put.
    ///
    /// # Errors
    /// The connection is broken, or Redis takes nothing.
    pub(super) async fn send(&mut self) -> Result<(), Failure> {
        let sent = timeout(self.patience, self.stream.write_all(&self.out)).await;
        self.out.clear();
        sent.map_err(|_| Failure::silent())?.map_err(|error| Failure::io(&error))
    }

    /// The next message, which Redis owes.
    ///
    /// # Errors
    /// The connection is broken, or nothing comes for too long.
    pub(super) async fn reply(&mut self) -> Result<Received, Failure> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            let received = timeout(self.patience, self.receive()).await;
            received.map_err(|_| Failure::silent())??;
        }
    }

    /// The next message, whenever it comes. May be dropped: what has come stays.
    ///
    /// # Errors
    /// The connection is broken.
    pub(super) async fn message(&mut self) -> Result<Received, Failure> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            self.receive().await?;
        }
    }

    /// From now on, what is longer is let go.
    pub(super) fn take_up_to(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// What is received from now on is charged here.
    pub(super) fn charge(&mut self, charge: Charge) {
        self.charge = Some(charge);
    }

    /// What has been received is charged by somebody else from now on.
    pub(super) fn take_charge(&mut self) -> Option<Charge> {
        self.charge.take()
    }

    /// Has what comes wake nobody up, or do so again.
    pub(super) fn keep_still(&self, still: bool) {
        if let Some(quiet) = &self.quiet {
            quiet.keep(still);
        }
    }

    /// Takes the next message out of what has come.
    fn take(&mut self) -> Result<Option<Received>, Failure> {
        let scanned = self.scanner.scan(&self.received);
        let scanned = scanned.map_err(|Malformed(what)| Failure::broken(&no_redis(what)))?;
        if let Some(end) = scanned {
            let message = self.received.split_to(end).freeze();
            return Ok(Some(match (self.cut.take(), message.first()) {
                (Some((beginning, what)), _) => Received::Cut(beginning, what),
                (None, Some(b'>')) => Received::Push(message),
                (None, _) => Received::Reply(message),
            }));
        }
        let too_long = if self.scanner.longest() > self.bounds.string_bytes_max {
            Some(TooLong::String)
        } else if self.received.len() > self.bounds.message_bytes_max {
            Some(TooLong::Message)
        } else {
            None
        };
        if self.cut.is_some() || too_long.is_some() {
            let done_with = self.scanner.looked_at(&self.received);
            match (&self.cut, too_long) {
                (None, Some(too_long)) => {
                    let beginning = self.received.split_to(done_with).freeze();
                    self.cut = Some((beginning, too_long));
                }
                _ => self.received.advance(done_with),
            }
            self.scanner.forget(done_with);
        }
        Ok(None)
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        if self.received.is_empty() && self.received.capacity() > KEPT_BYTES_MAX {
            self.received = BytesMut::new();
        }
        let missing = if self.cut.is_some() { 0 } else { self.scanner.missing(&self.received) };
        self.received.reserve(missing.max(RECEIVE_BYTES_MIN));
        if let Some(charge) = &mut self.charge
            && self.received.len() + missing > charge.bytes()
        {
            charge.set(self.received.len() + missing);
        }
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => Err(Failure::broken("the connection was closed")),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::io(&error)),
        }
    }
}

/// Begins a command of so many words.
pub(super) fn put_head(out: &mut BytesMut, words: usize) {
    put_length(out, b'*', words);
}

/// Puts a word of a command.
pub(super) fn put_word(out: &mut BytesMut, word: &[u8]) {
    put_length(out, b'$', word.len());
    out.put_slice(word);
    out.put_slice(b"\r\n");
}

fn put_length(out: &mut BytesMut, kind: u8, length: usize) {
    out.put_u8(kind);
    digits::put(out, length as u64);
    out.put_slice(b"\r\n");
}

fn no_redis(what: &str) -> String {
    format!("this is no Redis: {what}")
}

#[cfg(test)]
mod tests {
    use super::super::error::Class;
    use super::*;
    use crate::core::account::{Account, Kind, Priority};

    #[test]
    fn a_command_is_an_array_of_its_words() {
        let mut out = BytesMut::new();
        put_head(&mut out, 2);
        put_word(&mut out, b"GET");
        put_word(&mut out, b"a key with\r\n");
        assert_eq!(&out[..], b"*2\r\n$3\r\nGET\r\n$12\r\na key with\r\n\r\n");
    }

    /// A wire whose other end is a stream that the test writes to.
    fn wire(string_bytes_max: usize, message_bytes_max: usize) -> (Wire, tokio::io::DuplexStream) {
        let (stream, other) = tokio::io::duplex(64);
        let wire = Wire {
            stream: Box::new(stream),
            quiet: None,
            received: BytesMut::new(),
            scanner: Scanner::default(),
            out: BytesMut::new(),
            cut: None,
            bounds: Bounds { string_bytes_max, message_bytes_max },
            charge: None,
            patience: Duration::from_secs(5),
        };
        (wire, other)
    }

    #[tokio::test]
    async fn a_reply_that_is_too_long_is_let_go_and_what_follows_is_understood() {
        let (mut wire, mut redis) = wire(1000, usize::MAX);
        let long = format!(
            "%1\r\n$3\r\nkey\r\n*1\r\n*2\r\n$3\r\n1-0\r\n$5000\r\n{}\r\n",
            "x".repeat(5000)
        );
        let sending = async {
            redis.write_all(format!("{long}+next\r\n").as_bytes()).await.unwrap();
        };
        let receiving = async {
            let Received::Cut(beginning, TooLong::String) = wire.reply().await.unwrap() else {
                panic!("not cut")
            };
            assert!(long.as_bytes().starts_with(&beginning));
            assert!(beginning.starts_with(b"%1\r\n$3\r\nkey\r\n") && beginning.len() < 100);
            let next = wire.reply().await.unwrap();
            assert!(matches!(next, Received::Reply(reply) if reply == "+next\r\n"));
            assert!(wire.received.capacity() <= 2 * RECEIVE_BYTES_MIN);
        };
        tokio::join!(sending, receiving);
    }

    #[tokio::test]
    async fn an_answer_that_grows_too_long_is_let_go_and_its_beginning_is_kept() {
        let (mut wire, mut redis) = wire(1000, 400);
        let long = format!("*1\r\n*2\r\n+key\r\n*90\r\n{}", "$3\r\n1-0\r\n".repeat(90));
        let account = Account::new(1 << 20);
        wire.charge(account.reserve(Kind::Answers, 100, Priority::Live).unwrap());
        let sending =
            async { redis.write_all(format!("{long}+next\r\n").as_bytes()).await.unwrap() };
        let receiving = async {
            let Received::Cut(beginning, TooLong::Message) = wire.reply().await.unwrap() else {
                panic!("not cut")
            };
            assert!(long.as_bytes().starts_with(&beginning) && beginning.len() > 350);
            assert!(
                matches!(wire.reply().await.unwrap(), Received::Reply(next) if next == "+next\r\n")
            );
            let charged = wire.take_charge().unwrap().bytes();
            assert!((300..900).contains(&charged), "{charged}");
        };
        tokio::join!(sending, receiving);
        assert_eq!(account.bytes(), 0);
    }

    #[tokio::test]
    async fn an_end_in_the_middle_of_a_message_is_an_error() {
        let (mut wire, mut redis) = wire(1000, usize::MAX);
        redis.write_all(b"$10\r\nabc").await.unwrap();
        drop(redis);
        assert_eq!(wire.message().await.unwrap_err().class, Class::Broken);
    }
}
