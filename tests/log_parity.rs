//! The two logs are one: what is published to Redis and to memory reads the same.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use taskcast::config::Limits;
use taskcast::core::source::Words;
use taskcast::id::{Keys, StreamId, ThreadId};
use taskcast::log::embedded::EmbeddedLog;
use taskcast::log::redis::connection::Timeouts;
use taskcast::log::redis::{RedisLog, RedisOptions};
use taskcast::log::{
    IdempotencyKey, Log, LogError, PageWants, Publication, PublicationId, Published, Snapshot,
    SnapshotWants, Write,
};

use common::RedisServer;

const PUBLICATIONS: usize = 600;
const THREADS: usize = 60;

fn both(server: &RedisServer) -> [Log; 2] {
    let limits = Limits::default();
    let patience = Duration::from_secs(10);
    let options = RedisOptions {
        url: server.url(),
        ca: String::new(),
        keys: Keys::default(),
        words: Words::default(),
        timeouts: Timeouts { connect: patience, response: patience },
        stream_length_max: limits.stream_length_max,
        expiry_seconds: limits.expiry_seconds,
    };
    let redis = Log::from(RedisLog::new(options).unwrap());
    [redis, Log::from(EmbeddedLog::new(&limits))]
}

fn thread(number: usize) -> ThreadId {
    format!("t{number}").parse().unwrap()
}

fn random_pairs(random: &mut StdRng) -> Vec<(String, String)> {
    let length = random.random_range(1..4);
    let name = |random: &mut StdRng| format!("f{}", random.random_range(0..6));
    (0..length).map(|_| (name(random), random.random_range(0..1_000).to_string())).collect()
}

fn random_publication(random: &mut StdRng) -> Publication {
    let writes = random.random_range(0..4);
    let events = random.random_range(0..3);
    Publication {
        id: random_id(random),
        must_exist: random.random_bool(0.5),
        writes: (0..writes).map(|_| random_write(random)).collect(),
        events: (0..events).map(|_| random_pairs(random)).collect(),
    }
}

/// Of every other one a key that another may have had.
fn random_id(random: &mut StdRng) -> PublicationId {
    if random.random_bool(0.5) {
        return PublicationId::default();
    }
    let [path, key, content] = [3, 9, 2].map(|max| random.random_range(0..max).to_string());
    let key: IdempotencyKey = key.parse().unwrap();
    PublicationId::new(key, &[&path], &[content])
}

fn random_write(random: &mut StdRng) -> Write {
    let text = random.random_range(0..1_000).to_string();
    match random.random_range(0..7) {
        0 => Write::Status(text),
        1 | 2 => Write::Update(text),
        3 => Write::Result(text),
        4 => Write::Error(text),
        5 => Write::Metadata(random_pairs(random)),
        _ => Write::Context(random_pairs(random)),
    }
}

/// A snapshot without what depends on the clock; hashes have no order.
#[derive(Debug, PartialEq)]
struct Comparable {
    snapshot: Snapshot,
    newest: Vec<Vec<(Bytes, Bytes)>>,
    page: Vec<Vec<(Bytes, Bytes)>>,
}

impl Comparable {
    fn new(mut snapshot: Snapshot) -> Self {
        let facts = &mut snapshot.stream;
        assert_eq!(facts.last.is_some(), facts.length > 0);
        if facts.length > 0 {
            assert_eq!(facts.last, Some(facts.last_generated));
        }
        (facts.first, facts.last, facts.last_generated) = (None, None, StreamId::ZERO);
        if let Some(state) = &mut snapshot.state {
            state.metadata.sort();
            state.context.sort();
        }
        let fields = |entries: Vec<taskcast::log::Entry>| {
            assert!(entries.is_sorted_by(|before, after| before.id < after.id));
            entries.into_iter().map(|entry| entry.fields).collect()
        };
        let newest = fields(std::mem::take(&mut snapshot.newest));
        let page = fields(std::mem::take(&mut snapshot.page));
        snapshot.now_ms = 0;
        (snapshot.history, snapshot.one_step) = Default::default();
        Self { snapshot, newest, page }
    }
}

async fn read(log: &Log, number: usize, wants: SnapshotWants) -> Comparable {
    Comparable::new(log.snapshot(&thread(number), wants).await.unwrap())
}

#[tokio::test]
async fn redis_and_memory_read_the_same() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = RedisServer::start();
    let [redis, memory] = both(&server);
    for _ in 0..PUBLICATIONS {
        let number = random.random_range(0..THREADS);
        let publication = random_publication(&mut random);
        let outcomes = [
            redis.publish(&thread(number), &publication).await,
            memory.publish(&thread(number), &publication).await,
        ];
        match outcomes {
            [Ok(one), Ok(other)] => {
                assert_eq!(one.thread, other.thread);
                assert_eq!(one.stream_id == StreamId::ZERO, other.stream_id == StreamId::ZERO);
            }
            [one, other] => {
                assert!(one == NOT_FOUND || one == Err(LogError::KeyUsed), "{one:?}");
                assert_eq!(one, other, "{publication:?}");
            }
        }
        let page = PageWants {
            from: StreamId::ZERO,
            entries_max: random.random_range(1..9),
            bytes_max: u64::MAX,
        };
        let wants = SnapshotWants {
            updates_max: match random.random_range(0..10) {
                0..2 => None,
                2..5 => Some(u64::MAX),
                _ => Some(random.random_range(0..12)),
            },
            newest_max: random.random_range(0..5),
            page: random.random_bool(0.5).then_some(page),
            looks_for: random.random_bool(0.5).then_some(StreamId::MAX),
            bytes_max: None,
        };
        let read = [read(&redis, number, wants).await, read(&memory, number, wants).await];
        assert_eq!(read[0], read[1], "after {publication:?}, with {wants:?}");
    }
}

const NOT_FOUND: Result<Published, LogError> = Err(LogError::NotFound);

#[tokio::test]
async fn redis_and_memory_list_the_same() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let server = RedisServer::start();
    let [redis, memory] = both(&server);
    for _ in 0..100 {
        let score = f64::from(random.random_range(0..40)) / 4.0;
        let writes = vec![
            Write::Status("queued".to_owned()),
            Write::Update(random.random_range(0..1_000).to_string()),
            Write::Index(score),
        ];
        let thread = thread(random.random_range(0..THREADS));
        let publication = Publication { writes, ..Publication::default() };
        for log in [&redis, &memory] {
            log.publish(&thread, &publication).await.unwrap();
        }
        let limit = random.random_range(1..8);
        let listed = [redis.newest_tasks(limit).await, memory.newest_tasks(limit).await];
        assert_eq!(listed[0], listed[1]);
    }
}
