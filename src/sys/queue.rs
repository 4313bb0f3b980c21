//! A kernel's queue of socket events, to be waited for among a runtime's other tasks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use mio::Poll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The queue of a [`Poll`]; it may outlive it.
pub(crate) struct Queue(AsyncFd<OwnedFd>);

impl Queue {
    /// # Errors
    /// What the operating system said.
    #[allow(unsafe_code, reason = "mio and tokio hand file descriptors over as bare numbers")]
    pub(crate) fn of(poll: &Poll) -> io::Result<Self> {
        // SAFETY: the descriptor is open as long as `poll` is, and is borrowed for this line only.
        let queue = unsafe { BorrowedFd::borrow_raw(poll.as_raw_fd()) }.try_clone_to_owned()?;
        // SAFETY: the descriptor is owned by what is registered, and nobody else closes it.
        let registered = unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) };
        registered.map(Self).map_err(Into::into)
    }

    /// Resolves when there may be events. May be dropped: the queue stays ready until it is read.
    ///
    /// # Errors
    /// When the runtime ends.
    pub(crate) async fn filled(&self) -> io::Result<()> {
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::net::UdpSocket;
    use mio::{Events, Token};
    use std::time::Duration;

    #[tokio::test]
    async fn resolves_when_there_is_an_event() {
        let mut poll = Poll::new().unwrap();
        let queue = Queue::of(&poll).unwrap();
        let mut socket = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        poll.registry().register(&mut socket, Token(7), mio::Interest::READABLE).unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        queue.filled().await.unwrap();
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        assert_eq!(events.iter().next().map(|event| event.token()), Some(Token(7)));
    }
}
