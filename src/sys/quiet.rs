//! A socket that keeps still for a while: what comes is kept by the kernel and wakes nobody up.

use std::os::fd::{AsFd, OwnedFd};

/// So many bytes wake somebody up all the same.
const HELD_BYTES_MAX: i32 = 32 * 1024;

/// A handle on a TCP socket that somebody else reads.
pub(crate) struct Quiet {
    socket: OwnedFd,
}

impl Quiet {
    /// Of a TCP socket.
    ///
    /// # Errors
    /// Where there are too many open files.
    pub(crate) fn of(socket: &impl AsFd) -> std::io::Result<Self> {
        let socket: OwnedFd = socket.as_fd().try_clone_to_owned()?;
        Ok(Self { socket })
    }

    /// The socket keeps still from now on, or does no more; then its reader hears of what has come
    /// meanwhile (Linux 4.18 and later) or of what comes next.
    pub(crate) fn keep(&self, still: bool) {
        self.wake_at(if still { HELD_BYTES_MAX } else { 1 });
    }

    #[allow(unsafe_code, reason = "no safe crate sets SO_RCVLOWAT")]
    fn wake_at(&self, bytes: libc::c_int) {
        use std::os::fd::AsRawFd;
        // SAFETY: the descriptor is open as long as `self` is, and the kernel reads as many bytes
        // as it is told from an integer that lives until it returns.
        _ = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use mio::{Events, Interest, Poll, Token};

    #[test]
    fn what_comes_meanwhile_is_told_afterwards() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let receiver = listener.accept().unwrap().0;
        receiver.set_nonblocking(true).unwrap();
        let quiet = Quiet::of(&receiver).unwrap();
        let mut receiver = mio::net::TcpStream::from_std(receiver);
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(4));
        poll.registry().register(&mut receiver, Token(0), Interest::READABLE).unwrap();
        let mut told = |ms| {
            poll.poll(&mut events, Some(Duration::from_millis(ms))).unwrap();
            events.iter().any(|event| event.is_readable())
        };
        quiet.keep(true);
        sender.write_all(b"x").unwrap();
        assert!(!told(50));
        quiet.keep(false);
        assert!(told(5_000));
        quiet.keep(true);
        drop(sender);
        assert!(told(5_000), "the end is told at once");
    }
}
