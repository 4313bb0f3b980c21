//! Sends in batches: one call into the kernel for many sockets (io_uring).
//!
//! Every send carries `MSG_DONTWAIT`, so the kernel finishes it, or says that it would block,
//! before the submitting call returns; no buffer has to outlive [`Ring::send_each`].

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::types::Fixed;
use io_uring::{IoUring, opcode, squeue};

use crate::sys::send::What;

/// Sends in one batch.
const BATCH: u32 = 256;

/// Sockets beyond this slot are sent to without the ring.
const FILES_MAX: u32 = 65_536;

/// A ring with the sockets of one worker registered, each under its slot's number.
pub(super) struct Ring {
    ring: IoUring,
    files: u32,
}

impl Ring {
    /// Sets a ring up and proves that a send over it works.
    pub(super) fn new() -> io::Result<Self> {
        let ring = IoUring::builder().setup_single_issuer().setup_coop_taskrun().build(BATCH)?;
        let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = open_files.map_or(FILES_MAX, |max| max.min(u64::from(FILES_MAX)) as u32);
        ring.submitter().register_files_sparse(files)?;
        let mut ring = Self { ring, files };
        ring.prove()?;
        Ok(ring)
    }

    fn prove(&mut self) -> io::Result<()> {
        use std::io::Read;
        use std::os::fd::AsFd;
        let (sender, mut receiver) = std::os::unix::net::UnixStream::pair()?;
        if !self.register(0, sender.as_fd()) {
            return Err(io::Error::other("no file can be registered"));
        }
        let mut results = Vec::new();
        let both = [IoSlice::new(b"ab"), IoSlice::new(b"c")];
        self.send_each(&[0], What::Same(&both), &mut results);
        self.forget(0);
        let mut received = [0; 3];
        match results.pop() {
            Some(Ok(3)) => receiver.read_exact(&mut received)?,
            Some(Err(error)) => return Err(error),
            _ => return Err(io::Error::other("a send was cut")),
        }
        if &received == b"abc" { Ok(()) } else { Err(io::Error::other("a send was garbled")) }
    }

    /// Registers the socket in a slot; false where it has to be sent to without the ring.
    pub(super) fn register(&mut self, slot: u32, socket: BorrowedFd<'_>) -> bool {
        slot < self.files
            && self
                .ring
                .submitter()
                .register_files_update(slot, &[socket.as_raw_fd()])
                .is_ok_and(|number| number == 1)
    }

    /// Lets a slot's socket go: until then the kernel keeps it open.
    pub(super) fn forget(&mut self, slot: u32) {
        // Only a slot that was never registered fails, and then there is nothing to let go.
        _ = self.ring.submitter().register_files_update(slot, &[-1]);
    }

    /// Sends to the sockets in these slots; one result each, in their order.
    pub(super) fn send_each(
        &mut self,
        slots: &[u32],
        what: What<'_>,
        results: &mut Vec<io::Result<usize>>,
    ) {
        for (number, batch) in slots.chunks(BATCH as usize).enumerate() {
            let what = match what {
                What::Same(slices) => What::Same(slices),
                What::Own(slices) => What::Own(&slices[number * BATCH as usize..]),
            };
            self.send_batch(batch, what, results);
        }
    }

    #[allow(unsafe_code, reason = "the kernel is handed pointers; see each use")]
    fn send_batch(&mut self, slots: &[u32], what: What<'_>, results: &mut Vec<io::Result<usize>>) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: all zeroes is a valid `msghdr`: no name, no buffers, no control data.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // `IoSlice` has the layout of `iovec`, which is what its documentation promises.
        if let What::Same(slices) = what {
            message.msg_iov = slices.as_ptr().cast_mut().cast();
            message.msg_iovlen = slices.len();
        }
        {
            let mut queue = self.ring.submission();
            for (number, slot) in slots.iter().enumerate() {
                let entry: squeue::Entry = match what.of(number) {
                    [one] => opcode::Send::new(Fixed(*slot), one.as_ptr(), one.len() as u32)
                        .flags(flags)
                        .build(),
                    _ => opcode::SendMsg::new(Fixed(*slot), &message).flags(flags as u32).build(),
                };
                // SAFETY: the slices and the message live until this function returns, and it
                // returns only when every entry has its result.
                let pushed = unsafe { queue.push(&entry.user_data(number as u64)) };
                // The queue was empty and has room for a whole batch.
                debug_assert!(pushed.is_ok());
            }
        }
        let first = results.len();
        results.extend(slots.iter().map(|_| Err(io::ErrorKind::WouldBlock.into())));
        let mut finished = 0;
        while finished < slots.len() {
            // An interrupted or busy call is made again: the buffers must not be given up while
            // the kernel may read them. Nothing in the batch can block.
            _ = self.ring.submit_and_wait(slots.len() - finished);
            for completion in self.ring.completion() {
                finished += 1;
                let result = match completion.result() {
                    sent @ 0.. => Ok(sent as usize),
                    error => Err(io::Error::from_raw_os_error(-error)),
                };
                results[first + completion.user_data() as usize] = result;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// Where the kernel does not allow a ring there is nothing to test.
    fn ring() -> Option<Ring> {
        Ring::new().inspect_err(|error| eprintln!("no io_uring here: {error}")).ok()
    }

    #[test]
    fn each_socket_gets_all_bytes_and_its_own_result() {
        let Some(mut ring) = ring() else { return };
        let mut pairs: Vec<_> = (0..600).map(|_| UnixStream::pair().unwrap()).collect();
        for (slot, (sender, _)) in pairs.iter().enumerate() {
            assert!(ring.register(slot as u32, sender.as_fd()));
        }
        let slots: Vec<u32> = (0..600).collect();
        for slices in [&[IoSlice::new(b"hello")][..], &[IoSlice::new(b"he"), IoSlice::new(b"llo")]]
        {
            let mut results = Vec::new();
            ring.send_each(&slots, What::Same(slices), &mut results);
            assert_eq!(results.len(), 600);
            for (result, (_, receiver)) in results.iter().zip(&mut pairs) {
                assert_eq!(*result.as_ref().unwrap(), 5);
                let mut received = [0; 5];
                receiver.read_exact(&mut received).unwrap();
                assert_eq!(&received, b"hello");
            }
        }
    }

    #[test]
    fn a_full_and_a_closed_socket_say_so_and_leave_the_others_alone() {
        let Some(mut ring) = ring() else { return };
        let (full, _kept) = UnixStream::pair().unwrap();
        let (closed, gone) = UnixStream::pair().unwrap();
        drop(gone);
        let (open, mut receiver) = UnixStream::pair().unwrap();
        for (slot, socket) in [&full, &closed, &open].into_iter().enumerate() {
            socket.set_nonblocking(true).unwrap();
            assert!(ring.register(slot as u32, socket.as_fd()));
        }
        let much = vec![0; 1 << 20];
        while super::super::send::send(full.as_fd(), &[IoSlice::new(&much)]).is_ok() {}
        let mut results = Vec::new();
        ring.send_each(&[0, 1, 2], What::Same(&[IoSlice::new(b"x")]), &mut results);
        assert_eq!(results[0].as_ref().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(results[1].as_ref().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(*results[2].as_ref().unwrap(), 1);
        receiver.read_exact(&mut [0]).unwrap();
    }

    #[test]
    fn a_socket_that_is_forgotten_is_closed() {
        let Some(mut ring) = ring() else { return };
        let (sender, mut receiver) = UnixStream::pair().unwrap();
        assert!(ring.register(5, sender.as_fd()));
        ring.forget(5);
        drop(sender);
        assert_eq!(receiver.read(&mut [0]).unwrap(), 0);
    }
}
