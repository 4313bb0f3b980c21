//! The server's side of a connection: as HTTP has it, which keeps what it cannot take yet, and as a worker
//! does, which leaves that in the kernel and looks at it again.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use taskcast::fuzzing::{PEEK_BYTES, Session};

pub struct Server {
    session: Session,
    /// What came and is not done with.
    came: Vec<u8>,
    /// What the client said.
    pub said: Vec<u8>,
    /// The client says no more.
    pub has_ended: bool,
    /// Whether a worker gets the connection once it is established,
    peeks: bool,
    /// and whether it has it.
    is_worker: bool,
}

impl Server {
    pub fn new(config: Arc<ServerConfig>, peeks: bool) -> Self {
        let (came, said) = (Vec::new(), Vec::new());
        let session = Session::new(config).unwrap();
        Self { session, came, said, has_ended: false, peeks, is_worker: false }
    }

    pub fn is_established(&self) -> bool {
        self.session.is_established()
    }

    /// Hears what comes: what it answers, and whether it may come. Nobody reads what is behind an end.
    pub fn hear(&mut self, piece: &[u8]) -> (Vec<u8>, io::Result<()>) {
        let mut goes = Vec::new();
        if self.has_ended {
            return (goes, Ok(()));
        }
        self.came.extend_from_slice(piece);
        let result = match self.is_worker {
            false => self.take(&mut goes),
            true => self.peek(&mut goes),
        };
        // The beginning of a record goes to whoever got the one before.
        self.is_worker |= self.peeks && self.is_established() && self.came.is_empty();
        (goes, result)
    }

    fn take(&mut self, goes: &mut Vec<u8>) -> io::Result<()> {
        let said = &mut self.said;
        let taken = self.session.take(&mut self.came, goes, |says| said.extend_from_slice(says));
        let (bytes, has_ended) = taken?;
        self.came.drain(..bytes);
        self.has_ended = has_ended;
        Ok(())
    }

    /// Looks at as much as a worker does, as long as that leads to something.
    fn peek(&mut self, goes: &mut Vec<u8>) -> io::Result<()> {
        while !self.has_ended {
            let mut peeked = self.came[..self.came.len().min(PEEK_BYTES)].to_vec();
            let said = &mut self.said;
            let taken = self.session.take(&mut peeked, goes, |says| said.extend_from_slice(says));
            let (bytes, has_ended) = taken?;
            self.came.drain(..bytes);
            self.has_ended = has_ended;
            if peeked.len() < PEEK_BYTES {
                break;
            }
            // A worker would look at the same again and again.
            assert!(bytes > 0 || has_ended, "a full buffer is never taken");
        }
        Ok(())
    }

    /// Says something: what goes to the client.
    pub fn say(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut goes = Vec::new();
        self.session.encrypt(plain, &mut goes).unwrap();
        goes
    }
}
