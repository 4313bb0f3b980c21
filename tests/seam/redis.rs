//! List and stream on a real Redis server: written as workers do, read through the log.

use ::redis::Pipeline;
use taskcast::config::Config;
use taskcast::id::{StreamId, ThreadId};
use taskcast::log::{Log, Snapshot, SnapshotWants};
use tokio::runtime::Runtime;

use crate::common::RedisServer;
use crate::server::{Command, Server};

const STREAM: &str = "sre:stream:task:thread";
const TASKS: &str = "sre:thread:thread:tasks";
const STATUS: &str = "sre:thread:thread:status";

pub struct Redis {
    connection: ::redis::Connection,
    log: Log,
    runtime: Runtime,
    thread: ThreadId,
    /// In the task layout, whose list is pushed to; and how many tasks there were.
    task: Option<String>,
    tasks: usize,
    /// Nobody looks before the next read, so they are sent together.
    waiting: Pipeline,
    _server: RedisServer,
}

impl Redis {
    pub fn start() -> Self {
        let server = RedisServer::start();
        let connection = ::redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        let config = Config { redis: server.url(), ..Config::default() };
        Self {
            connection,
            log: Log::open(&config).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
            thread: "thread".parse().unwrap(),
            task: None,
            tasks: 0,
            waiting: ::redis::pipe(),
            _server: server,
        }
    }

    fn send(&mut self, words: &[&str]) {
        self.waiting.cmd(words[0]).arg(&words[1..]).ignore();
    }

    fn list(&self) -> String {
        match &self.task {
            Some(task) => format!("sre:task:{task}:updates"),
            None => "sre:thread:thread:updates".to_owned(),
        }
    }

    fn begin(&mut self, task: Option<String>) {
        match &task {
            Some(task) => {
                // The newest task is the thread's turn once the one before it has ended.
                if let Some(before) = self.task.take() {
                    self.send(&["SET", &format!("sre:task:{before}:status"), "done"]);
                }
                self.tasks += 1;
                let score = self.tasks.to_string();
                self.send(&["SET", &format!("sre:task:{task}:status"), "in_progress"]);
                self.send(&["ZADD", TASKS, &score, task]);
            }
            None => self.send(&["SET", STATUS, "in_progress"]),
        }
        self.task = task;
    }
}

impl Server for Redis {
    fn clear(&mut self) {
        self.waiting = ::redis::pipe();
        self.send(&["FLUSHDB"]);
        (self.task, self.tasks) = (None, 0);
    }

    fn run(&mut self, command: Command) -> Option<StreamId> {
        let list = self.list();
        match command {
            Command::Begin(task) => self.begin(task),
            Command::Push(update) if self.task.is_some() => self.send(&["RPUSH", &list, &update]),
            Command::Push(update) => {
                self.send(&["LPUSH", &list, &update]);
                self.send(&["LTRIM", &list, "0", "99"]);
            }
            Command::Add(id, fields) => {
                let id_text = id.to_string();
                let mut words = vec!["XADD", STREAM, &id_text];
                words.extend(fields.iter().flat_map(|(name, value)| [*name, value.as_str()]));
                self.send(&words);
                return Some(id);
            }
            Command::Publish(..) => panic!("workers write in two steps"),
            Command::Trim(kept) => self.send(&["XTRIM", STREAM, "MAXLEN", "=", &kept.to_string()]),
            Command::DropStream => self.send(&["DEL", STREAM]),
            Command::DropList => self.send(&["DEL", &list]),
        }
        None
    }

    fn snapshot(&mut self, wants: SnapshotWants) -> Snapshot {
        let waiting = std::mem::replace(&mut self.waiting, ::redis::pipe());
        if !waiting.is_empty() {
            let () = waiting.query(&mut self.connection).unwrap();
        }
        self.runtime.block_on(self.log.snapshot(&self.thread, wants)).unwrap()
    }
}
