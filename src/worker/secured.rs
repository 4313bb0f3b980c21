//! Sockets with a TLS session. What is sent is encrypted into a buffer of the worker; what a socket does not
//! take of a record is kept with it, and goes before anything else.
//!
//! To the fan-out a socket is as full as the kernel says: where the end of what it was given still waits here,
//! one byte of that counts as not taken. That is in the middle of a frame, as none has fewer than two, so what
//! comes next begins with that byte.

use std::io::{self, IoSlice, Read as _};
use std::ops::Range;
use std::os::fd::AsFd as _;

use mio::net::TcpStream;

use super::sockets::Received;
use crate::core::account::{Account, Charge, Kind};
use crate::core::fanout::Sent;
use crate::sys::send::send;
use crate::tls::{PLAIN_BYTES_MAX, RECORD_BYTES_MORE, Session, Taken};

/// What a session takes that is established, about, in bytes.
const SESSION_BYTES: usize = 3 * 1024;

/// Where memory is tight, no more than this is encrypted at a time: it may have to be kept.
const PLAIN_BYTES_TIGHT: usize = 2 * 1024;

/// The session of a socket.
pub(super) struct Secured {
    session: Box<Session>,
    /// What was encrypted and the socket did not take.
    rest: Option<Rest>,
    /// So many bytes of what comes next were encrypted already.
    ahead: usize,
    /// The other side sends no more.
    ended: bool,
    _charge: Charge,
}

struct Rest {
    bytes: Vec<u8>,
    sent: usize,
    charge: Charge,
}

/// What all sessions of a worker share.
pub(super) struct Buffers {
    account: Account,
    /// What is to be encrypted,
    plain: Vec<u8>,
    /// what came of that,
    pub(super) goes: Vec<u8>,
    /// and what came in.
    came: Box<[u8]>,
}

impl Buffers {
    pub(super) fn new(account: Account) -> Self {
        let came = vec![0; PLAIN_BYTES_MAX + RECORD_BYTES_MORE].into();
        Self { account, plain: Vec::new(), goes: Vec::new(), came }
    }

    /// How much goes into one record.
    fn room(&self) -> usize {
        if self.account.is_tight() { PLAIN_BYTES_TIGHT } else { PLAIN_BYTES_MAX }
    }

    /// Takes what is to be sent to many, where it fits into one record. Whether it does.
    pub(super) fn gather(&mut self, slices: &[IoSlice<'_>]) -> bool {
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        self.goes.clear();
        all <= self.room() && {
            gather(slices, 0, all, &mut self.plain);
            true
        }
    }
}

impl Secured {
    pub(super) fn new(session: Box<Session>, account: &Account) -> Self {
        let charge = account.charge(Kind::Sessions, SESSION_BYTES);
        Self { session, rest: None, ahead: 0, ended: false, _charge: charge }
    }

    /// Whether nothing of what was sent before is left.
    pub(super) fn is_free(&self) -> bool {
        self.rest.is_none() && self.ahead == 0
    }

    /// Sends, record by record, what the socket takes.
    pub(super) fn send(
        &mut self,
        socket: &TcpStream,
        slices: &[IoSlice<'_>],
        buffers: &mut Buffers,
    ) -> Sent {
        match self.flush(socket) {
            Ok(true) => {}
            Ok(false) => return Sent::Full,
            Err(_) => return Sent::Gone,
        }
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = std::mem::take(&mut self.ahead).min(all);
        while taken < all {
            gather(slices, taken, buffers.room(), &mut buffers.plain);
            buffers.goes.clear();
            if self.session.encrypt(&buffers.plain, &mut buffers.goes).is_err() {
                return Sent::Gone;
            }
            let sent = send(socket.as_fd(), &[IoSlice::new(&buffers.goes)]);
            taken += buffers.plain.len();
            match self.sent(sent, &buffers.goes, taken, taken == all, &buffers.account) {
                Sent::Bytes(_) if self.rest.is_none() => {}
                sent => return sent,
            }
        }
        Sent::Bytes(taken)
    }

    /// Encrypts what was gathered for many, behind what there is of others. None where that cannot be.
    pub(super) fn encrypt(&mut self, buffers: &mut Buffers) -> Option<Range<usize>> {
        let begins = buffers.goes.len();
        self.session.encrypt(&buffers.plain, &mut buffers.goes).ok()?;
        Some(begins..buffers.goes.len())
    }

    /// What came of the send of what was gathered for many.
    pub(super) fn sent_with_others(
        &mut self,
        sent: io::Result<usize>,
        record: Range<usize>,
        buffers: &Buffers,
    ) -> Sent {
        self.sent(sent, &buffers.goes[record], buffers.plain.len(), true, &buffers.account)
    }

    /// What came of the send of a record: of the plaintext `taken` bytes are encrypted, and that is all of it
    /// where it is the last.
    fn sent(
        &mut self,
        sent: io::Result<usize>,
        record: &[u8],
        taken: usize,
        is_last: bool,
        account: &Account,
    ) -> Sent {
        let sent = match sent {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Sent::Gone,
        };
        if sent == record.len() {
            return Sent::Bytes(taken);
        }
        self.keep(&record[sent..], account);
        self.ahead = usize::from(is_last);
        Sent::Bytes(taken - self.ahead)
    }

    fn keep(&mut self, bytes: &[u8], account: &Account) {
        let rest = self.rest.get_or_insert_with(|| {
            let charge = account.charge(Kind::Rests, 0);
            Rest { bytes: Vec::new(), sent: 0, charge }
        });
        rest.bytes.reserve_exact(bytes.len());
        rest.bytes.extend_from_slice(bytes);
        rest.charge.set(rest.bytes.capacity());
    }

    /// Sends what was kept. Whether nothing of it is left.
    pub(super) fn flush(&mut self, socket: &TcpStream) -> io::Result<bool> {
        while let Some(rest) = &mut self.rest {
            match send(socket.as_fd(), &[IoSlice::new(&rest.bytes[rest.sent..])]) {
                Ok(sent) => rest.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            self.rest.take_if(|rest| rest.sent == rest.bytes.len());
        }
        Ok(true)
    }

    /// Reads the whole records that there are. The beginning of one stays in the kernel: nothing is held here
    /// for those who send slowly.
    pub(super) fn read(
        &mut self,
        socket: &mut TcpStream,
        said: &mut Vec<u8>,
        buffers: &mut Buffers,
    ) -> io::Result<Received> {
        said.clear();
        if self.ended {
            return Ok(Received { bytes: 0, ended: true, more: false });
        }
        let came = socket.peek(&mut buffers.came)?;
        let mut answer = Vec::new();
        let taken = self.session.take(&mut buffers.came[..came], &mut answer, |says| {
            said.extend_from_slice(says);
        });
        if !answer.is_empty() {
            self.keep(&answer, &buffers.account);
            self.flush(socket)?;
        }
        let Taken { bytes, ended } = taken?;
        let mut left = bytes;
        while left > 0 {
            match socket.read(&mut buffers.came[..left]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => left -= read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.ended = ended || came == 0;
        let more = self.ended || came == buffers.came.len();
        Ok(Received { bytes: said.len(), ended: self.ended && said.is_empty(), more })
    }

    /// Says that nothing more is sent, if the socket takes it.
    pub(super) fn end(&mut self, socket: &TcpStream) {
        if self.rest.is_none() {
            let mut goes = Vec::new();
            self.session.end(&mut goes);
            if !goes.is_empty() {
                // Who does not hear it sees the end of the connection.
                _ = send(socket.as_fd(), &[IoSlice::new(&goes)]);
            }
        }
    }
}

/// Puts what stands in slices behind the first `skipped` bytes into one, up to its bound.
fn gather(slices: &[IoSlice<'_>], mut skipped: usize, bytes_max: usize, into: &mut Vec<u8>) {
    into.clear();
    for slice in slices {
        let begins = skipped.min(slice.len());
        skipped -= begins;
        let bytes = &slice[begins..];
        let room = bytes_max - into.len();
        into.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if into.len() == bytes_max {
            return;
        }
    }
}
