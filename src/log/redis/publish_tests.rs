//! The publish script on a real Redis.

use super::*;
use crate::id::StreamId;
use crate::log::redis::common::RedisServer;

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

    fn publish(&mut self, publication: &Publication) -> redis::RedisResult<Option<String>> {
        self.publish_until("", publication)
    }

    fn publish_until(
        &mut self,
        deadline_ms: &str,
        publication: &Publication,
    ) -> redis::RedisResult<Option<String>> {
        let thread = THREAD.parse().unwrap();
        let (keys, mut args) = invocation(&Keys::default(), &thread, publication, 1_000, 86_400);
        args[DEADLINE_MS] = deadline_ms.to_owned();
        redis::cmd("EVAL")
            .arg(include_str!("publish.lua"))
            .arg(keys.len())
            .arg(keys)
            .arg(args)
            .query(&mut self.connection)
    }

    /// Every key with its value, but for the expiries.
    fn everything(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut keys: Vec<String> = self.run("KEYS *");
        keys.sort();
        keys.into_iter().map(|key| (key.clone(), self.run(&format!("DUMP {key}")))).collect()
    }
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn full() -> Publication {
    Publication {
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
    let writes = (0..150).map(|n| Write::Update(n.to_string())).collect();
    let events = (0..3_000).map(|_| pairs(&[("a", "b")])).collect();
    redis.publish(&Publication { must_exist: false, writes, events }).unwrap().unwrap();
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
    let quiet = Publication { events: vec![], ..full() };
    assert_eq!(redis.publish(&quiet).unwrap().as_deref(), Some("0-0"));
    redis.run::<()>("XADD sre:stream:task:t1 5-7 a b");
    redis.run::<()>("XDEL sre:stream:task:t1 5-7");
    assert_eq!(redis.publish(&quiet).unwrap().as_deref(), Some("5-7"));
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
