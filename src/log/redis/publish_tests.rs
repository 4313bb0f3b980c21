//! The publish script on a real Redis.

use std::time::Duration;

use super::*;
use crate::core::source::Words;
use crate::id::{Keys, StreamId};
use crate::log::redis::common::RedisServer;
use crate::log::redis::connection::Timeouts;
use crate::log::{IdempotencyKey, PublicationId};

const THREAD: &str = "t1";

struct Redis {
    connection: redis::Connection,
    _server: RedisServer,
}

impl Redis {
    fn start() -> Self {
        let server = RedisServer::start();
        let connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        Self { connection, _server: server }
    }

    /// Runs a command given as words, and shows the reply.
    fn run<T: redis::FromRedisValue>(&mut self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut cmd = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            cmd.arg(word);
        });
        cmd.query(&mut self.connection).unwrap()
    }

    /// The id of the last entry, where the thread exists.
    fn publish(&mut self, publication: &Publication) -> redis::RedisResult<Option<String>> {
        self.publish_until("", publication)
    }

    /// The same of a publication that may come again: the whole answer.
    fn publish_to(
        &mut self,
        thread: &str,
        publication: &Publication,
    ) -> redis::RedisResult<(String, String)> {
        let thread = thread.parse().unwrap();
        let (keys, args) = invocation(&options(), &thread, publication);
        self.eval(keys, args)
    }

    fn eval<T: redis::FromRedisValue>(
        &mut self,
        keys: Vec<String>,
        args: Vec<String>,
    ) -> redis::RedisResult<T> {
        redis::cmd("EVAL")
            .arg(concat!(include_str!("turn.lua"), include_str!("publish.lua")))
            .arg(keys.len())
            .arg(keys)
            .arg(args)
            .query(&mut self.connection)
    }

    fn publish_until(
        &mut self,
        deadline_ms: &str,
        publication: &Publication,
    ) -> redis::RedisResult<Option<String>> {
        let thread = THREAD.parse().unwrap();
        let (keys, mut args) = invocation(&options(), &thread, publication);
        args[DEADLINE_MS] = deadline_ms.to_owned();
        let answer: Option<(String, String)> = self.eval(keys, args)?;
        Ok(answer.map(|(thread, id)| {
            assert_eq!(thread, THREAD);
            id
        }))
    }

    /// Every key with its value, but for the expiries.
    fn everything(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut keys: Vec<String> = self.run("KEYS *");
        keys.sort();
        keys.into_iter().map(|key| (key.clone(), self.run(&format!("DUMP {key}")))).collect()
    }
}

fn options() -> RedisOptions {
    let patience = Duration::from_secs(5);
    RedisOptions {
        words: Words::default(),
        url: String::new(),
        ca: String::new(),
        keys: Keys::default(),
        timeouts: Timeouts { connect: patience, response: patience },
        stream_length_max: 1_000,
        expiry_seconds: 86_400,
    }
}

fn id(key: &str, content: &str) -> PublicationId {
    PublicationId::new(key.parse::<IdempotencyKey>().unwrap(), &[], &[content])
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn full() -> Publication {
    Publication {
        id: PublicationId::default(),
        must_exist: false,
        writes: vec![
            Write::Status("queued".into()),
            Write::Update("{\"message\":\"one\"}".into()),
            Write::Result("{}".into()),
            Write::Error("broken".into()),
            Write::Metadata(pairs(&[("updated_at", "now"), ("user_id", "u")])),
            Write::Context(pairs(&[("query", "why?")])),
            Write::Index(12.5),
        ],
        events: vec![pairs(&[("update_type", "a"), ("n", "1")]), pairs(&[("update_type", "b")])],
    }
}

fn must_exist() -> Publication {
    Publication { must_exist: true, ..full() }
}

#[test]
fn one_step_writes_state_events_and_expiries() {
    let mut redis = Redis::start();
    let id = redis.publish(&full()).unwrap().unwrap();

    assert_eq!(redis.run::<String>("GET sre:thread:t1:status"), "queued");
    assert_eq!(
        redis.run::<Vec<String>>("LRANGE sre:thread:t1:updates 0 -1"),
        ["{\"message\":\"one\"}"]
    );
    assert_eq!(redis.run::<String>("GET sre:thread:t1:result"), "{}");
    assert_eq!(redis.run::<String>("GET sre:thread:t1:error"), "broken");
    assert_eq!(redis.run::<String>("HGET sre:thread:t1:metadata user_id"), "u");
    assert_eq!(redis.run::<String>("HGET sre:thread:t1:context query"), "why?");
    assert_eq!(redis.run::<String>("ZSCORE sre:threads:index t1"), "12.5");
    let entries: Vec<(String, Vec<String>)> = redis.run("XRANGE sre:stream:task:t1 - +");
    assert_eq!(entries[0].1, ["update_type", "a", "n", "1"]);
    assert_eq!(entries[1], (id, vec!["update_type".into(), "b".into()]));
    for key in redis.run::<Vec<String>>("KEYS *") {
        if key.contains(":publication:") {
            continue;
        }
        let seconds: i64 = redis.run(&format!("TTL {key}"));
        assert!((86_000..=86_400).contains(&seconds), "{key}: {seconds}");
    }
}

#[test]
fn a_thread_that_must_exist_may_do_so_in_any_way() {
    let mut redis = Redis::start();
    for making in [
        "SET sre:thread:t1:status x",
        "HSET sre:thread:t1:metadata a b",
        "ZADD sre:thread:t1:tasks 1 k1",
        "XADD sre:stream:task:t1 * a b",
    ] {
        redis.run::<()>("FLUSHALL");
        assert_eq!(redis.publish(&must_exist()).unwrap(), None);
        assert!(redis.everything().is_empty());
        redis.run::<()>(making);
        assert!(redis.publish(&must_exist()).unwrap().is_some(), "{making}");
    }
}

#[test]
fn a_thread_in_the_task_layout_is_written_where_it_is_read() {
    let mut redis = Redis::start();
    redis.run::<()>("ZADD sre:thread:t1:tasks 1 old 2 new");
    redis.run::<()>("RPUSH sre:task:new:updates first");
    redis.publish(&must_exist()).unwrap().unwrap();

    assert_eq!(redis.run::<String>("GET sre:task:new:status"), "queued");
    assert_eq!(
        redis.run::<Vec<String>>("LRANGE sre:task:new:updates 0 -1"),
        ["first", "{\"message\":\"one\"}"]
    );
    assert_eq!(redis.run::<String>("HGET sre:task:new:metadata user_id"), "u");
    assert_eq!(redis.run::<String>("HGET sre:thread:t1:context query"), "why?");
    assert_eq!(redis.run::<u64>("EXISTS sre:thread:t1:status sre:task:old:status"), 0);
    // What had no expiry keeps none; what is new gets one.
    assert_eq!(redis.run::<i64>("TTL sre:task:new:updates"), -1);
    assert!(redis.run::<i64>("TTL sre:task:new:status") > 86_000);
}

#[test]
fn a_key_of_another_type_is_refused_before_anything_is_written() {
    let mut redis = Redis::start();
    for (key, making) in [
        ("sre:stream:task:t1", "SET"),
        ("sre:thread:t1:status", "SADD"),
        ("sre:thread:t1:updates", "SET"),
        ("sre:thread:t1:error", "RPUSH"),
        ("sre:thread:t1:metadata", "SET"),
        ("sre:thread:t1:context", "SET"),
    ] {
        redis.run::<()>("FLUSHALL");
        redis.run::<()>(&format!("{making} {key} x"));
        let before = redis.everything();
        let error = redis.publish(&full()).unwrap_err();
        assert_eq!(error.code(), Some("WRONGTYPE"), "{key}");
        assert!(error.to_string().contains(key), "{error}");
        assert_eq!(redis.everything(), before);
    }
}

#[test]
fn an_index_of_another_type_is_left_alone() {
    let mut redis = Redis::start();
    redis.run::<()>("SET sre:threads:index x");
    assert!(redis.publish(&full()).unwrap().is_some());
    assert_eq!(redis.run::<String>("GET sre:threads:index"), "x");
    assert_eq!(redis.run::<i64>("TTL sre:threads:index"), -1);
    assert_eq!(redis.run::<String>("GET sre:thread:t1:status"), "queued");
}

#[test]
fn a_redis_that_takes_no_writes_is_left_as_it_was() {
    let mut redis = Redis::start();
    redis.publish(&full()).unwrap().unwrap();
    let before = redis.everything();

    redis.run::<()>("CONFIG SET maxmemory 1");
    let error = redis.publish(&full()).unwrap_err();
    assert_eq!(error.code(), Some("OOM"), "{error}");
    redis.run::<()>("CONFIG SET maxmemory 0");
    assert_eq!(redis.everything(), before);

    redis.run::<()>("CONFIG SET min-replicas-to-write 1");
    let error = redis.publish(&full()).unwrap_err();
    assert_eq!(error.code(), Some("NOREPLICAS"), "{error}");
    redis.run::<()>("CONFIG SET min-replicas-to-write 0");
    assert_eq!(redis.everything(), before);
}

#[test]
fn a_full_stream_is_left_as_it_was() {
    let mut redis = Redis::start();
    redis.run::<()>(&format!("XADD sre:stream:task:t1 {} a b", StreamId::MAX));
    let before = redis.everything();
    redis.publish(&full()).unwrap_err();
    assert_eq!(redis.everything(), before);
}

#[test]
fn the_stream_and_the_updates_are_bounded() {
    let mut redis = Redis::start();
    let id = PublicationId::default();
    let writes = (0..150).map(|n| Write::Update(n.to_string())).collect();
    let events = (0..3_000).map(|_| pairs(&[("a", "b")])).collect();
    redis.publish(&Publication { id, must_exist: false, writes, events }).unwrap().unwrap();
    assert!((1_000..1_200).contains(&redis.run::<u64>("XLEN sre:stream:task:t1")));
    assert_eq!(redis.run::<u64>("LLEN sre:thread:t1:updates"), 100);
    assert_eq!(redis.run::<String>("LINDEX sre:thread:t1:updates 0"), "149");
}

#[test]
fn a_context_of_any_size_is_written() {
    let mut redis = Redis::start();
    let context = (0..20_000).map(|n| (n.to_string(), "x".into())).collect();
    let writes = vec![Write::Context(context)];
    redis.publish(&Publication { writes, ..Publication::default() }).unwrap().unwrap();
    assert_eq!(redis.run::<u64>("HLEN sre:thread:t1:context"), 20_000);
}

#[test]
fn without_an_event_the_id_is_the_streams_last() {
    let mut redis = Redis::start();
    let quiet = || Publication { events: vec![], ..full() };
    assert_eq!(redis.publish(&quiet()).unwrap().as_deref(), Some("0-0"));
    redis.run::<()>("XADD sre:stream:task:t1 5-7 a b");
    redis.run::<()>("XDEL sre:stream:task:t1 5-7");
    assert_eq!(redis.publish(&quiet()).unwrap().as_deref(), Some("5-7"));
}

#[test]
fn rows_of_threads_that_are_gone_leave_the_index() {
    let mut redis = Redis::start();
    redis.run::<()>("SET sre:thread:alive:status x");
    redis.run::<()>("ZADD sre:threads:index 1 gone 2 alive 3 gone-later");
    redis.publish(&full()).unwrap().unwrap();
    let left: Vec<String> = redis.run("ZRANGE sre:threads:index 0 -1");
    assert_eq!(left, ["alive", "gone-later", "t1"]);
    assert_eq!(redis.run::<i64>("TTL sre:threads:index"), -1);
}

#[test]
fn nothing_is_written_after_the_deadline() {
    let mut redis = Redis::start();
    let (seconds, micros): (u64, u64) = redis.run("TIME");
    let now_ms = seconds * 1000 + micros / 1000;
    let error = redis.publish_until(&(now_ms - 1).to_string(), &full()).unwrap_err();
    assert_eq!(error.code(), Some("LATE"));
    assert!(redis.everything().is_empty());
    assert!(redis.publish_until(&(now_ms + 60_000).to_string(), &full()).unwrap().is_some());
}

#[test]
fn what_has_an_id_is_written_once_and_answered_the_same() {
    let mut redis = Redis::start();
    let publication = Publication { id: id("k", "a"), ..full() };
    let first = redis.publish_to("t1", &publication).unwrap();
    let before = redis.everything();
    // Whatever came between, and under whatever name a thread would have been made.
    assert_eq!(redis.publish_to("t1", &publication).unwrap(), first);
    assert_eq!(redis.publish_to("t2", &publication).unwrap(), first);
    assert_eq!(redis.publish_until("1", &publication).unwrap(), Some(first.1.clone()));
    redis.run::<()>("CONFIG SET maxmemory 1");
    assert_eq!(redis.publish_to("t1", &publication).unwrap(), first);
    redis.run::<()>("CONFIG SET maxmemory 0");
    assert_eq!(redis.everything(), before);

    let other = Publication { id: id("k", "b"), ..full() };
    assert_eq!(redis.publish(&other).unwrap_err().code(), Some("KEYUSED"));
    assert_eq!(redis.everything(), before);
    let next = Publication { id: id("l", "a"), ..full() };
    assert!(redis.publish(&next).unwrap().is_some_and(|id| id > first.1));
}

#[test]
fn what_is_refused_may_come_again() {
    let mut redis = Redis::start();
    let publication = Publication { id: id("k", "a"), ..must_exist() };
    assert_eq!(redis.publish(&publication).unwrap(), None);
    assert_eq!(redis.publish_until("1", &full()).unwrap_err().code(), Some("LATE"));
    assert!(redis.everything().is_empty());
    redis.run::<()>("SET sre:thread:t1:status x");
    assert!(redis.publish(&publication).unwrap().is_some());
}

#[test]
fn a_record_lives_a_day_or_a_minute_after_the_last_answer() {
    let mut redis = Redis::start();
    for (id, seconds) in [(id("k", "a"), 86_400), (PublicationId::default(), 60)] {
        let key = format!("sre:publication:{}", id.name());
        redis.publish(&Publication { id, ..full() }).unwrap().unwrap();
        let ttl: i64 = redis.run(&format!("PTTL {key}"));
        assert!((seconds * 1000..=(seconds + 5) * 1000).contains(&ttl), "{key}: {ttl}");
    }
}

#[test]
fn what_is_written_in_part_is_not_called_refused() {
    let mut redis = Redis::start();
    redis.run::<()>("ACL SETUSER tc on nopass ~* &* +@all -hset");
    redis.run::<()>("AUTH tc any");
    let error = redis.publish(&full()).unwrap_err();
    assert_eq!(error.code(), Some("TORN"), "{error}");
    // Nothing was written before, so that is a refusal.
    let writes = vec![Write::Metadata(pairs(&[("a", "b")]))];
    let error = redis.publish(&Publication { writes, ..Publication::default() }).unwrap_err();
    assert_ne!(error.code(), Some("TORN"), "{error}");
}

#[test]
fn of_two_events_the_second_of_which_is_refused_the_first_is_there() {
    let mut redis = Redis::start();
    redis.run::<()>(&format!("XADD sre:stream:task:t1 {} a b", StreamId::MAX.predecessor()));
    let events = vec![pairs(&[("a", "1")]), pairs(&[("a", "2")])];
    let publication = Publication { events, ..Publication::default() };
    let error = redis.publish(&publication).unwrap_err();
    assert_eq!(error.code(), Some("TORN"), "{error}");
    let events = vec![pairs(&[("a", "3")])];
    let error = redis.publish(&Publication { events, ..Publication::default() }).unwrap_err();
    assert_ne!(error.code(), Some("TORN"), "{error}");
}
