//! A key with a stream on a server, its naive counterpart, and the commands that both are given.

use std::fmt;

use taskcast::id::StreamId;
use taskcast::log::StreamFacts;

use crate::naive::{Number, Stream};

/// The key that is read, and the one that others move to.
pub const KEY: &str = "stream";
pub const PARKED: &str = "parked";

/// How an entry comes to its id.
#[derive(Debug, Clone, Copy)]
pub enum Id {
    /// By the server's clock.
    Clock,
    /// The next one of this millisecond.
    Next(u64),
    Explicit(StreamId),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock => f.write_str("*"),
            Self::Next(ms) => write!(f, "{ms}-*"),
            Self::Explicit(id) => write!(f, "{id}"),
        }
    }
}

#[derive(Debug, Clone)]
pub enum Command {
    Add {
        id: Id,
        length_max: Option<u64>,
    },
    TrimLength(u64),
    TrimAbout(u64),
    TrimBelow(StreamId),
    Delete(Vec<StreamId>),
    Remove,
    Expire,
    RenameAway,
    RenameOver,
    MakeStream,
    /// What a replica has that will be left behind.
    Save,
    /// The replica takes over.
    FailOver,
}

/// What a server says to a command.
#[derive(Debug, Default)]
pub struct Reply {
    /// Of the entry that was added.
    pub id: StreamId,
    /// How many entries were trimmed.
    pub trimmed: u64,
}

/// Where the stream really is.
pub trait Server {
    /// Makes sure that there is nothing.
    fn clear(&mut self);
    /// Does a command. `number` is what an entry that it adds is to hold.
    fn run(&mut self, command: &Command, number: Number) -> Reply;
    /// All entries with what they hold, and the stream's facts, of one instant.
    fn read(&mut self) -> (Vec<(StreamId, String)>, StreamFacts);
}

#[derive(Default)]
pub struct World {
    pub stream: Option<Stream>,
    pub parked: Option<Stream>,
    saved: Option<Option<Stream>>,
    incarnations: u32,
    /// How many streams with entries went since the last read.
    pub went: u32,
    /// The server lost its newest commands since the last read.
    pub failed_over: bool,
    /// What happened, to be shown.
    pub story: Vec<String>,
}

impl World {
    pub fn has_saved(&self) -> bool {
        self.saved.is_some()
    }

    pub fn apply(&mut self, server: &mut impl Server, command: &Command) {
        let fresh = self.incarnations + 1;
        let number = self
            .stream
            .as_ref()
            .map_or(Stream::new(fresh).next_number(), |stream| stream.next_number());
        let reply = server.run(command, number);
        self.mirror(command, number, &reply);
        let trace = match command {
            Command::Add { .. } => format!("{command:?} -> {} as {number}", reply.id),
            Command::TrimAbout(_) => format!("{command:?} -> {}", reply.trimmed),
            _ => format!("{command:?}"),
        };
        self.story.push(trace);
    }

    fn mirror(&mut self, command: &Command, number: Number, reply: &Reply) {
        if let Command::Add { length_max, .. } = command {
            let stream = self.make();
            stream.add(number, reply.id);
            length_max.iter().for_each(|length_max| stream.trim_to(*length_max));
            return;
        }
        match (command, &mut self.stream) {
            (Command::TrimLength(length_max), Some(stream)) => stream.trim_to(*length_max),
            (Command::TrimAbout(_), Some(stream)) => stream.trim(reply.trimmed),
            (Command::TrimBelow(id), Some(stream)) => stream.trim_below(*id),
            (Command::Delete(ids), Some(stream)) => ids.iter().for_each(|id| stream.delete(*id)),
            (Command::Remove | Command::Expire, _) => self.replace(None),
            (Command::RenameAway, Some(_)) => {
                self.parked = self.stream.clone();
                self.replace(None);
            }
            (Command::RenameOver, _) if self.parked.is_some() => {
                let parked = self.parked.take();
                self.replace(parked);
            }
            (Command::MakeStream, None) => _ = self.make(),
            (Command::Save, _) => self.saved = Some(self.stream.clone()),
            (Command::FailOver, _) => self.fail_over(),
            _ => {}
        }
    }

    fn make(&mut self) -> &mut Stream {
        if self.stream.is_none() {
            self.incarnations += 1;
        }
        self.stream.get_or_insert_with(|| Stream::new(self.incarnations))
    }

    fn replace(&mut self, stream: Option<Stream>) {
        let gone = std::mem::replace(&mut self.stream, stream);
        self.went += u32::from(gone.is_some_and(|gone| !gone.history().is_empty()));
    }

    fn fail_over(&mut self) {
        let Some(saved) = self.saved.clone() else { return };
        self.replace(saved);
        self.parked = None;
        self.incarnations += 1;
        if let Some(stream) = &mut self.stream {
            stream.incarnation = self.incarnations;
        }
        self.failed_over = true;
    }

    /// The facts by the server, which must have what the naive stream has.
    pub fn read(&mut self, server: &mut impl Server) -> Result<StreamFacts, String> {
        let (entries, facts) = server.read();
        let there = self.stream.iter().flat_map(Stream::there);
        let expected: Vec<_> = there.map(|entry| (entry.id, entry.number.to_string())).collect();
        let naive = self.stream.as_ref().map(Stream::facts).unwrap_or_default();
        self.story.push(format!("read {facts:?}"));
        if entries != expected || facts != naive {
            return Err(format!("the naive stream has {expected:?}, {naive:?}; not {entries:?}"));
        }
        Ok(facts)
    }
}
