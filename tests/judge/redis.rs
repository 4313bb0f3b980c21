//! The stream on a real Redis server.

use std::collections::HashMap;
use std::time::Duration;

use ::redis::{FromRedisValue, RedisResult, Value};
use taskcast::id::StreamId;
use taskcast::log::StreamFacts;

use crate::common::RedisServer;
use crate::naive::Number;
use crate::world::{Command, KEY, PARKED, Reply, Server};

pub struct Redis {
    connection: ::redis::Connection,
    /// What the replica has.
    dump: Option<Vec<u8>>,
    groups: u32,
    _server: RedisServer,
}

impl Redis {
    pub fn start() -> Self {
        // Three entries to a node, so that trimming by whole nodes happens.
        let arguments = ["--save", "", "--appendonly", "no", "--stream-node-max-entries", "3"];
        let server = RedisServer::start_with(&arguments);
        let connection = ::redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        Self { connection, dump: None, groups: 0, _server: server }
    }

    fn query<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        ::redis::cmd(words[0]).arg(&words[1..]).query(&mut self.connection).unwrap()
    }

    fn add(&mut self, id: &str, length_max: Option<u64>, number: Number) -> Reply {
        let (number, length_max) = (number.to_string(), length_max.map(|max| max.to_string()));
        let mut words = vec!["XADD", KEY];
        words.extend(length_max.iter().flat_map(|max| ["MAXLEN", "=", max]));
        words.extend([id, "e", &number]);
        let id: String = self.query(&words);
        Reply { id: id.parse().unwrap(), trimmed: 0 }
    }

    fn trim(&mut self, how: &[&str]) -> Reply {
        let trimmed = self.query(&[&["XTRIM", KEY], how].concat());
        Reply { id: StreamId::ZERO, trimmed }
    }

    fn fail_over(&mut self) {
        let _: () = self.query(&["DEL", KEY, PARKED]);
        if let Some(dump) = &self.dump {
            let mut restore = ::redis::cmd("RESTORE");
            let _: () = restore.arg(KEY).arg(0).arg(dump).query(&mut self.connection).unwrap();
        }
    }
}

impl Server for Redis {
    fn clear(&mut self) {
        self.dump = None;
        let _: () = self.query(&["DEL", KEY, PARKED]);
    }

    fn run(&mut self, command: &Command, number: Number) -> Reply {
        let _: () = match command {
            Command::Add { id, length_max } => {
                return self.add(&id.to_string(), *length_max, number);
            }
            Command::TrimLength(max) => return self.trim(&["MAXLEN", "=", &max.to_string()]),
            Command::TrimAbout(max) => return self.trim(&["MAXLEN", "~", &max.to_string()]),
            Command::TrimBelow(id) => return self.trim(&["MINID", "=", &id.to_string()]),
            Command::Delete(ids) => {
                let ids: Vec<String> = ids.iter().map(StreamId::to_string).collect();
                let ids = ids.iter().map(String::as_str);
                self.query(&["XDEL", KEY].into_iter().chain(ids).collect::<Vec<_>>())
            }
            Command::Remove => self.query(&["DEL", KEY]),
            Command::Expire => {
                let _: () = self.query(&["PEXPIRE", KEY, "1"]);
                std::thread::sleep(Duration::from_millis(2));
            }
            Command::RenameAway => self.query(&["RENAME", KEY, PARKED]),
            Command::RenameOver => self.query(&["RENAME", PARKED, KEY]),
            Command::MakeStream => {
                self.groups += 1;
                let group = self.groups.to_string();
                self.query(&["XGROUP", "CREATE", KEY, &group, "$", "MKSTREAM"])
            }
            Command::Save => self.dump = self.query(&["DUMP", KEY]),
            Command::FailOver => self.fail_over(),
        };
        Reply::default()
    }

    fn read(&mut self) -> (Vec<(StreamId, String)>, StreamFacts) {
        let mut read = ::redis::pipe();
        read.atomic().ignore_errors();
        read.cmd("XRANGE").arg(KEY).arg("-").arg("+");
        read.cmd("XINFO").arg("STREAM").arg(KEY);
        let replies: Vec<RedisResult<Value>> = read.query(&mut self.connection).unwrap();
        let [entries, info]: [_; 2] = replies.try_into().unwrap();
        let entries: Vec<(String, Vec<String>)> =
            ::redis::from_redis_value(entries.unwrap()).unwrap();
        let entries = entries
            .into_iter()
            .map(|(id, mut fields)| (id.parse().unwrap(), fields.pop().unwrap()));
        // There is no such key.
        let facts = info.ok().map(facts).unwrap_or_default();
        (entries.collect(), facts)
    }
}

fn facts(info: Value) -> StreamFacts {
    let info: HashMap<String, Value> = ::redis::from_redis_value(info).unwrap();
    let number = |name: &str| -> u64 { ::redis::from_redis_value(info[name].clone()).unwrap() };
    let id = |value: &Value| -> StreamId {
        let id: String = ::redis::from_redis_value(value.clone()).unwrap();
        id.parse().unwrap()
    };
    let entry = |name: &str| match &info[name] {
        Value::Array(entry) => Some(id(&entry[0])),
        _ => None,
    };
    StreamFacts {
        exists: true,
        length: number("length"),
        last_generated: id(&info["last-generated-id"]),
        first: entry("first-entry"),
        last: entry("last-entry"),
        entries_added: Some(number("entries-added")),
        max_deleted: Some(id(&info["max-deleted-entry-id"])),
    }
}
