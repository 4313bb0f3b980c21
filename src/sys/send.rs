//! Sends: the same bytes to many sockets.
//!
//! Where it is allowed, in batches through io_uring; otherwise one call per socket.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use socket2::SockRef;

use crate::config::Switch;
use crate::sys::uring::Ring;

/// A batch of fewer sockets is not worth a ring.
const RING_SOCKETS_MIN: usize = 4;

/// Sends for one worker.
pub struct Sender {
    ring: Option<Ring>,
}

/// A socket to send to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The slot under which it was registered.
    pub slot: u32,
    /// The socket.
    pub socket: BorrowedFd<'a>,
}

/// What goes to many sockets.
#[derive(Debug, Clone, Copy)]
pub enum What<'a> {
    /// The same to each.
    Same(&'a [IoSlice<'a>]),
    /// To each a slice of its own, in their order.
    Own(&'a [IoSlice<'a>]),
}

impl Sender {
    /// Probes what there is.
    ///
    /// # Errors
    /// Where io_uring is asked for and does not work here.
    pub fn new(io_uring: Switch) -> io::Result<Self> {
        let ring = match io_uring {
            Switch::Off => None,
            Switch::On => Some(Ring::new().map_err(no_ring)?),
            Switch::Auto => Ring::new().ok(),
        };
        Ok(Self { ring })
    }

    /// How it sends: `io_uring` or `writev`.
    pub fn name(&self) -> &'static str {
        if self.ring.is_some() { "io_uring" } else { "writev" }
    }

    /// A new socket.
    pub fn register(&mut self, target: Target<'_>) {
        if let Some(ring) = &mut self.ring
            && !ring.register(target.slot, target.socket)
        {
            tracing::warn!(slot = target.slot, "io_uring_register_failed");
            // A socket that the ring does not know would be sent to wrongly: do without the ring.
            self.ring = None;
        }
    }

    /// The socket in this slot is about to be closed.
    pub fn forget(&mut self, slot: u32) {
        if let Some(ring) = &mut self.ring {
            ring.forget(slot);
        }
    }

    /// Sends to each socket; the results in the order of the sockets. Sockets are non-blocking: nothing
    /// waits.
    pub fn send_each(
        &mut self,
        targets: &[Target<'_>],
        what: What<'_>,
        results: &mut Vec<io::Result<usize>>,
    ) {
        if let Some(ring) = &mut self.ring
            && targets.len() >= RING_SOCKETS_MIN
        {
            let slots: Vec<u32> = targets.iter().map(|target| target.slot).collect();
            return ring.send_each(&slots, what, results);
        }
        let each = targets.iter().enumerate();
        results.extend(each.map(|(number, target)| send(target.socket, what.of(number))));
    }
}

impl<'a> What<'a> {
    /// What goes to the socket of this number.
    pub(super) fn of(self, number: usize) -> &'a [IoSlice<'a>] {
        match self {
            Self::Same(slices) => slices,
            Self::Own(slices) => &slices[number..=number],
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&self.name()).finish()
    }
}

fn no_ring(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("io_uring does not work here ({error}); start with --io-uring auto or off"),
    )
}

/// Sends to one socket.
pub fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
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
