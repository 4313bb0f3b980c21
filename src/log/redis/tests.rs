//! The log in Redis where something is in its way.

use std::net::TcpListener;
use std::time::Duration;

use super::common::RedisServer;
use super::*;
use crate::core::source::Words;
use crate::id::StreamId;
use crate::log::{PageWants, Publication, Write};

fn log(url: String, connect_ms: u64) -> RedisLog {
    let timeouts =
        Timeouts { connect: Duration::from_millis(connect_ms), response: Duration::from_secs(10) };
    let keys = Keys::default();
    let options = RedisOptions {
        url,
        ca: String::new(),
        keys,
        words: Words::default(),
        timeouts,
        stream_length_max: 1_000,
        expiry_seconds: 1_000,
    };
    RedisLog::new(options).unwrap()
}

fn publication(number: usize) -> Publication {
    Publication {
        writes: vec![Write::Status("queued".into())],
        events: vec![vec![("n".into(), number.to_string())]],
        ..Publication::default()
    }
}

async fn entries(log: &RedisLog) -> usize {
    let page = Some(PageWants { from: StreamId::ZERO, entries_max: 100, bytes_max: 1 << 20 });
    let wants = SnapshotWants { page, bytes_max: Some(1 << 20), ..SnapshotWants::default() };
    log.snapshot(&"t".parse().unwrap(), wants).await.unwrap().page.len()
}

#[tokio::test]
async fn a_clock_that_was_set_is_looked_at_again_and_what_is_late_is_written_once() {
    let server = RedisServer::start();
    let log = log(server.url(), 10_000);
    let thread = "t".parse().unwrap();
    for (number, seconds) in [0, 60, -60, 3_600, -3_600].into_iter().enumerate() {
        log.publish(&thread, &publication(number)).await.unwrap();
        log.link.clock.set(log.link.clock.now_ms() - seconds * 1_000);
        log.publish(&thread, &publication(number)).await.unwrap();
        assert_eq!(entries(&log).await, 2 * number + 2);
    }
}

#[tokio::test]
async fn those_who_wait_for_a_connection_wait_for_the_same_one() {
    // The kernel takes connections, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let log = log(format!("redis://{}/", silent.local_addr().unwrap()), 300);
    let asking = (0..40).map(|number| async move { number }).map(|_| log.check());
    let answers = futures_util::future::join_all(asking).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(LogError::Unavailable(_)))));
    silent.set_nonblocking(true).unwrap();
    let connections = std::iter::from_fn(|| silent.accept().ok()).count();
    assert!(connections <= 2, "{connections} connections");
}

#[tokio::test]
async fn scripts_and_connections_that_are_gone_are_made_anew() {
    let server = RedisServer::start();
    let log = log(server.url(), 10_000);
    let thread = "t".parse().unwrap();
    let mut admin = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    for number in 0..20 {
        log.publish(&thread, &publication(number)).await.unwrap();
        () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut admin).unwrap();
        tokio::time::sleep(link::UNHEARD_OF).await;
        () = redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query(&mut admin)
            .unwrap();
    }
    assert_eq!(entries(&log).await, 20);
}

#[tokio::test]
async fn what_may_not_be_read_is_refused_and_never_missing() {
    let server = RedisServer::start();
    let mut admin = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let commands =
        ["xinfo", "xrange", "xrevrange", "get", "lrange", "llen", "hgetall", "hlen", "zrevrange"];
    for command in commands {
        () = redis::cmd("ACL")
            .arg(&["SETUSER", "tc", "reset", "on", ">secret", "~*", "+@all"])
            .arg(format!("-{command}"))
            .query(&mut admin)
            .unwrap();
        let url = format!("redis://tc:secret@127.0.0.1:{}/", server.port);
        let log = log(url, 10_000);
        let missing = log.check().await.unwrap_err().to_string();
        assert!(missing.to_lowercase().contains(command), "{missing}");
        let page = Some(PageWants { from: StreamId::ZERO, entries_max: 9, bytes_max: 1 << 20 });
        let thread = "t".parse().unwrap();
        // There has to be something of each kind, so that each command is run.
        let mut publication = publication(1);
        publication.writes.push(Write::Update("{}".into()));
        self::log(server.url(), 10_000).publish(&thread, &publication).await.unwrap();
        let updates_max = Some(u64::MAX);
        let wants = SnapshotWants { updates_max, newest_max: 9, page, ..SnapshotWants::default() };
        let read = log.snapshot(&thread, wants).await;
        assert!(
            matches!(&read, Err(LogError::Refused(why)) if why.contains("can't run") || why.contains("NOPERM")),
            "{command}: {read:?}"
        );
    }
}
