//! Sends: the same bytes to many sockets, each in one call.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use socket2::SockRef;

use crate::config::Switch;

/// Sends for one worker.
#[derive(Debug)]
pub(crate) struct Sender {}

impl Sender {
    /// Probes what there is.
    ///
    /// # Errors
    /// None yet.
    pub(crate) fn new(_io_uring: Switch) -> io::Result<Self> {
        Ok(Self {})
    }

    /// Sends the same bytes to each socket; the results in the order of the sockets. Sockets are
    /// non-blocking: nothing waits.
    pub(crate) fn send_each(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        slices: &[IoSlice<'_>],
        results: &mut Vec<io::Result<usize>>,
    ) {
        results.extend(sockets.iter().map(|socket| send(*socket, slices)));
    }
}

/// Sends to one socket.
pub(crate) fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let socket = SockRef::from(&socket);
    loop {
        // One slice goes by the cheaper call.
        let sent = match slices {
            [one] => socket.send(one),
            many => socket.send_vectored(many),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => return sent,
        }
    }
}
