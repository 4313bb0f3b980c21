//! A client that follows a task: every update once and in order, over any reconnect.
//!
//! ```no_run
//! use taskcast_client::{Client, Event, Update};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:8000")?;
//! let mut follow = client.follow("01JXAMPLE".parse()?);
//! while let Some(event) = follow.next().await {
//!     match event? {
//!         Event::Frame { update: Update::Entry { stream_id, .. }, json } => {
//!             println!("{stream_id}: {json}");
//!         }
//!         Event::Disconnected { error, retry_in } => eprintln!("{error}; again in {retry_in:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Standing`] folds the frames to what the task has come to: the thread's turn, its status, how it ended.
//! Entries of a source that tell several things at once are taken apart by [`events`].
//!
//! The parts, from the wire inwards: `connect` opens a WebSocket, over `tls` where the URL asks for that,
//! `socket` makes messages of its frames and notices when it is dead, [`Chain`] proves that no entry is
//! missing, `drive` connects again where that proof ended.

mod chain;
mod connect;
mod drive;
mod error;
mod frame;
mod socket;
mod standing;
mod task;
mod tls;

use std::time::Duration;

use tokio::sync::mpsc;

pub use chain::{Broken, Chain, Gap, Update};
pub use error::ClientError;
pub use frame::events;
pub use standing::{Outcome, Standing};
pub use task::{InvalidTask, Task};
pub use taskcast_core::since::Since;

use connect::Server;

/// How many events wait for a [`Follow`] that is not asked for the next one. Then the client stops
/// reading, and the viewer falls behind in the server's log.
const EVENTS_WAITING_MAX: usize = 64;

/// A server to follow tasks on.
#[derive(Debug, Clone)]
pub struct Client {
    server: Server,
    timing: Timing,
}

impl Client {
    /// A client for the server at `url`: `http://` or `ws://`, with TLS `https://` or `wss://`, a host, and
    /// where needed a port and a path before `/api`.
    ///
    /// # Errors
    /// [`ClientError::Url`] says what the client cannot use.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Ok(Self { server: Server::parse(url)?, timing: Timing::default() })
    }

    /// Shows this token: one of the server's `[access]`.
    ///
    /// # Errors
    /// [`ClientError::Token`] where it cannot be sent.
    pub fn with_token(self, token: &str) -> Result<Self, ClientError> {
        Ok(Self { server: self.server.with_token(token)?, ..self })
    }

    /// Trusts these authorities (certificates in PEM) to vouch for the server, instead of the system's:
    /// those, or where it is set those of the file `SSL_CERT_FILE`, are read when they are needed.
    ///
    /// # Errors
    /// [`ClientError::Authorities`] where they cannot be used, or the URL asks for no TLS.
    pub fn with_authorities(self, pem: &[u8]) -> Result<Self, ClientError> {
        Ok(Self { server: self.server.with_authorities(pem)?, ..self })
    }

    /// Waits as `timing` says.
    pub fn with_timing(self, timing: Timing) -> Self {
        Self { timing, ..self }
    }

    /// Follows a task from its present state. Has to be called within a tokio runtime.
    pub fn follow(&self, task: Task) -> Follow {
        self.start(task, Chain::new())
    }

    /// Follows a task from the last entry that was seen, or with [`Since::Retained`] from the first
    /// one that there is still. Has to be called within a tokio runtime.
    pub fn follow_since(&self, task: Task, since: impl Into<Since>) -> Follow {
        self.start(task, Chain::since(since.into()))
    }

    fn start(&self, task: Task, chain: Chain) -> Follow {
        let (sender, events) = mpsc::channel(EVENTS_WAITING_MAX);
        let driver = drive::Driver::new(self.server.clone(), self.timing, task, chain, sender);
        // Ends when the `Follow` is dropped, or after a final error.
        tokio::spawn(driver.run());
        Follow { events }
    }
}

/// A task that is being followed. Dropping it ends the connection.
#[derive(Debug)]
pub struct Follow {
    events: mpsc::Receiver<Result<Event, ClientError>>,
}

impl Follow {
    /// The next event; `None` after an error. Safe to cancel: no event is lost.
    ///
    /// # Errors
    /// Those that are [final](ClientError::is_final). With anything else the client connects again.
    pub async fn next(&mut self) -> Option<Result<Event, ClientError>> {
        self.events.recv().await
    }
}

/// What happens to one who follows a task.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The WebSocket is open; frames follow.
    Connected,
    /// There is no connection. The next attempt goes on after the last entry that came.
    Disconnected {
        /// Why the connection ended, or did not begin.
        error: ClientError,
        /// When the next attempt begins.
        retry_in: Duration,
    },
    /// A frame came. Entries come once, in the order of the stream.
    Frame {
        /// What the frame means.
        update: Update,
        /// The frame's text, a JSON object.
        json: String,
    },
}

/// How long the client waits for what.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For a connection to be ready, with TLS where it is asked for.
    pub connect_within: Duration,
    /// In silence before a ping.
    pub ping_after: Duration,
    /// In silence before the connection counts as dead. Taken in steps of `ping_after`.
    pub dead_after: Duration,
    /// At most before the first attempt to reconnect. Doubles with each one, up to `retry_max`; the
    /// actual wait is random, so that viewers who were cut together do not come back together.
    pub retry_min: Duration,
    /// At most before any attempt. A connection that lives so long sets the wait back.
    pub retry_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect_within: Duration::from_secs(10),
            ping_after: Duration::from_secs(20),
            dead_after: Duration::from_secs(60),
            retry_min: Duration::from_millis(250),
            retry_max: Duration::from_secs(10),
        }
    }
}
