//! Where list and stream really are, and what is done to them.

use taskcast::id::StreamId;
use taskcast::log::{Snapshot, SnapshotWants};

/// The two ways in which state is kept (protocol §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Thread,
    Task,
}

pub type Fields = Vec<(&'static str, String)>;

#[derive(Debug, Clone)]
pub enum Command {
    /// A task becomes the thread's newest; in the thread layout there is one, without a name.
    Begin(Option<String>),
    Push(String),
    /// With this id.
    Add(StreamId, Fields),
    /// Both in one step, with an id by the server's clock.
    Publish(String, Fields),
    /// The stream keeps so many of its newest entries.
    Trim(usize),
    /// The stream is gone, as when it expires.
    DropStream,
    DropList,
}

pub trait Server {
    /// Makes sure that there is nothing.
    fn clear(&mut self);
    /// Does a command. Answers the id of what it added.
    fn run(&mut self, command: Command) -> Option<StreamId>;
    /// Reads as the server's desk does, through the log that ships.
    fn snapshot(&mut self, wants: SnapshotWants) -> Snapshot;
}
