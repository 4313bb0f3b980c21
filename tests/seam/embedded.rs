//! List and stream in the embedded log, which writes both in one step and trims by its own limit.

use taskcast::config::Limits;
use taskcast::id::{StreamId, ThreadId};
use taskcast::log::embedded::EmbeddedLog;
use taskcast::log::{Publication, Snapshot, SnapshotWants, Write};

use crate::server::{Command, Server};

pub struct Embedded {
    log: EmbeddedLog,
    thread: ThreadId,
}

impl Embedded {
    /// Streams have at most that many entries.
    pub fn new(length_max: usize) -> Self {
        // Whoever publishes to one task lets the other go.
        let limits = Limits {
            embedded_tasks_max: 1,
            stream_length_max: length_max as u64,
            ..Limits::default()
        };
        Self { log: EmbeddedLog::new(&limits), thread: "thread".parse().unwrap() }
    }

    fn publish(&self, writes: Vec<Write>, events: Vec<Vec<(String, String)>>) -> StreamId {
        let publication = Publication { writes, events, ..Publication::default() };
        self.log.publish(&self.thread, &publication).unwrap().stream_id
    }
}

impl Server for Embedded {
    fn clear(&mut self) {
        let publication =
            Publication { writes: vec![Write::Status("done".into())], ..Publication::default() };
        self.log.publish(&"other".parse().unwrap(), &publication).unwrap();
    }

    fn run(&mut self, command: Command) -> Option<StreamId> {
        match command {
            Command::Begin(None) => {
                self.publish(vec![Write::Status("in_progress".into())], Vec::new());
                None
            }
            Command::Push(update) => {
                self.publish(vec![Write::Update(update)], Vec::new());
                None
            }
            Command::Publish(update, fields) => {
                let event = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
                Some(self.publish(vec![Write::Update(update)], vec![event.collect()]))
            }
            _ => panic!("the embedded log cannot do {command:?}"),
        }
    }

    fn snapshot(&mut self, wants: SnapshotWants) -> Snapshot {
        self.log.snapshot(&self.thread, wants)
    }
}
