//! The stream in the embedded log, which can add, trim to its fixed length, and let a task go.

use taskcast::config::Limits;
use taskcast::id::{StreamId, ThreadId};
use taskcast::log::embedded::EmbeddedLog;
use taskcast::log::{Publication, StreamFacts};

use crate::naive::Number;
use crate::world::{Command, Id, KEY, Reply, Server};

pub struct Embedded {
    log: EmbeddedLog,
    length_max: u64,
}

impl Embedded {
    /// Streams have at most that many entries.
    pub fn new(length_max: u64) -> Self {
        // Whoever publishes to one task lets the other go.
        let limits =
            Limits { embedded_tasks_max: 1, stream_length_max: length_max, ..Limits::default() };
        Self { log: EmbeddedLog::new(&limits), length_max }
    }

    fn publish(&self, thread: &str, text: String) -> StreamId {
        let events = vec![vec![("e".to_owned(), text)]];
        let publication = Publication { events, ..Publication::default() };
        let thread: ThreadId = thread.parse().unwrap();
        self.log.publish(&thread, &publication).unwrap().stream_id
    }
}

impl Server for Embedded {
    fn clear(&mut self) {
        self.publish("other", String::new());
    }

    fn run(&mut self, command: &Command, number: Number) -> Reply {
        match command {
            Command::Add { id: Id::Clock, length_max } if *length_max == Some(self.length_max) => {
                Reply { id: self.publish(KEY, number.to_string()), trimmed: 0 }
            }
            Command::Remove => {
                self.clear();
                Reply::default()
            }
            _ => panic!("the embedded log cannot do {command:?}"),
        }
    }

    fn read(&mut self) -> (Vec<(StreamId, String)>, StreamFacts) {
        let (facts, entries) = self.log.read(&KEY.parse().unwrap(), StreamId::ZERO, u64::MAX);
        let entries = entries
            .into_iter()
            .map(|entry| (entry.id, String::from_utf8(entry.fields[0].1.to_vec()).unwrap()));
        (entries.collect(), facts)
    }
}
