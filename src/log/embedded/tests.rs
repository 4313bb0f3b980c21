//! The embedded log against the rules that it shares with Redis.

use std::sync::Arc;

use super::*;
use crate::log::{PageWants, State, Write};

fn limits() -> Limits {
    Limits { embedded_tasks_max: 3, embedded_bytes_max: 80_000, ..Limits::default() }
}

fn thread(name: &str) -> ThreadId {
    name.parse().unwrap()
}

fn event(text: &str) -> Vec<(String, String)> {
    vec![("message".into(), text.into())]
}

fn with_status(status: &str) -> Publication {
    Publication {
        writes: vec![Write::Status(status.into()), Write::Index(1.5)],
        events: vec![event(status)],
        ..Publication::default()
    }
}

const EVERYTHING: SnapshotWants = SnapshotWants {
    updates_max: Some(u64::MAX),
    newest_max: u64::MAX,
    page: Some(PageWants { from: StreamId::ZERO, entries_max: u64::MAX, bytes_max: u64::MAX }),
    looks_for: None,
    bytes_max: None,
};

fn names(threads: &[ThreadId]) -> Vec<&str> {
    threads.iter().map(ThreadId::as_str).collect()
}

#[test]
fn state_and_stream_are_of_one_instant() {
    let mut tasks = Tasks::new(&limits());
    let publication = Publication {
        writes: vec![
            Write::Status("queued".into()),
            Write::Metadata(vec![("a".into(), "1".into())]),
            Write::Metadata(vec![("b".into(), "2".into()), ("a".into(), "3".into())]),
            Write::Context(vec![("query".into(), "q".into())]),
            Write::Update("{}".into()),
            Write::Result("[]".into()),
            Write::Error("e".into()),
        ],
        events: vec![event("1"), event("2")],
        ..Publication::default()
    };
    let (id, gone) = tasks.publish(&thread("t"), &publication, 7).unwrap();
    assert_eq!((id.to_string().as_str(), gone), ("7-1", vec![]));

    let snapshot = tasks.snapshot(&thread("t"), EVERYTHING, 8);
    let state = State {
        status: Some("queued".into()),
        updates: vec!["{}".into()],
        updates_total: 1,
        result: Some("[]".into()),
        error: Some("e".into()),
        metadata: vec![("a".into(), "3".into()), ("b".into(), "2".into())],
        context: vec![("query".into(), "q".into())],
        task: None,
    };
    assert_eq!(snapshot.state, Some(state));
    assert_eq!(snapshot.stream.last_generated, id);
    assert_eq!(snapshot.page.len(), 2);
    assert_eq!(snapshot.newest, snapshot.page);
    assert_eq!(snapshot.now_ms, 8);
}

#[test]
fn an_unknown_thread_is_not_made_where_it_must_exist() {
    let mut tasks = Tasks::new(&limits());
    let publication = Publication { must_exist: true, ..with_status("queued") };
    assert_eq!(tasks.publish(&thread("t"), &publication, 1), Err(LogError::NotFound));
    assert!(!tasks.snapshot(&thread("t"), EVERYTHING, 1).thread_exists());

    tasks.publish(&thread("t"), &with_status("queued"), 1).unwrap();
    assert!(tasks.publish(&thread("t"), &publication, 2).is_ok());
}

#[test]
fn a_thread_whose_state_is_gone_exists_by_its_stream() {
    let mut tasks = Tasks::new(&limits());
    let publication = Publication { events: vec![event("x")], ..Publication::default() };
    tasks.publish(&thread("t"), &publication, 1).unwrap();
    let snapshot = tasks.snapshot(&thread("t"), EVERYTHING, 1);
    assert!(snapshot.state.is_none() && snapshot.thread_exists());
}

#[test]
fn the_newest_hundred_updates_are_kept() {
    let mut tasks = Tasks::new(&limits());
    let updates = (0..105).map(|n| Write::Update(n.to_string()));
    let writes = [Write::Status("queued".into())].into_iter().chain(updates).collect();
    let publication = Publication { writes, ..Publication::default() };
    tasks.publish(&thread("t"), &publication, 1).unwrap();
    let wants = SnapshotWants { updates_max: Some(2), ..EVERYTHING };
    let state = tasks.snapshot(&thread("t"), wants, 1).state.unwrap();
    assert_eq!(state.updates, ["103", "104"]);
    assert_eq!(state.updates_total, 100);
}

#[test]
fn a_task_expires_after_its_last_change() {
    let mut tasks = Tasks::new(&Limits { expiry_seconds: 10, ..limits() });
    tasks.publish(&thread("t"), &with_status("queued"), 0).unwrap();
    tasks.publish(&thread("t"), &with_status("done"), 5_000).unwrap();
    assert!(tasks.snapshot(&thread("t"), EVERYTHING, 14_999).thread_exists());
    assert!(!tasks.snapshot(&thread("t"), EVERYTHING, 15_000).thread_exists());
    assert!(tasks.newest(9, 15_000).is_empty());

    let (_, gone) = tasks.publish(&thread("u"), &with_status("queued"), 15_000).unwrap();
    assert_eq!(names(&gone), ["t"]);
    assert_eq!(tasks.newest(9, 15_000).len(), 1);
}

#[test]
fn an_expired_task_begins_anew() {
    let mut tasks = Tasks::new(&Limits { expiry_seconds: 10, ..limits() });
    tasks.publish(&thread("t"), &with_status("queued"), 0).unwrap();
    let (_, gone) = tasks.publish(&thread("t"), &with_status("queued"), 20_000).unwrap();
    assert!(gone.is_empty());
    let facts = tasks.snapshot(&thread("t"), EVERYTHING, 20_000).stream;
    assert_eq!((facts.length, facts.entries_added), (1, Some(1)));
}

#[test]
fn finished_tasks_go_first_then_the_oldest() {
    let mut tasks = Tasks::new(&limits());
    for (name, status) in [("a", "queued"), ("b", "queued"), ("c", "failed")] {
        tasks.publish(&thread(name), &with_status(status), 1).unwrap();
    }
    tasks.publish(&thread("a"), &with_status("in_progress"), 2).unwrap();
    let mut gone = |name: &str| {
        let (_, gone) = tasks.publish(&thread(name), &with_status("queued"), 3).unwrap();
        names(&gone).concat()
    };
    assert_eq!(gone("d"), "c");
    assert_eq!(gone("e"), "b");
    assert_eq!(gone("f"), "a");
}

#[test]
fn one_task_cannot_take_all_the_memory() {
    let mut tasks = Tasks::new(&limits());
    tasks.publish(&thread("small"), &with_status("queued"), 1).unwrap();
    let large = Publication {
        writes: vec![Write::Update("x".repeat(500))],
        events: vec![event(&"x".repeat(1_000))],
        ..with_status("in_progress")
    };
    for now_ms in 0..200 {
        tasks.publish(&thread("large"), &large, now_ms).unwrap();
        assert!(tasks.held[&thread("large")].task.bytes() <= 10_000);
    }
    assert!(tasks.snapshot(&thread("small"), EVERYTHING, 1).thread_exists());
    assert_eq!(tasks.snapshot(&thread("large"), EVERYTHING, 1).stream.entries_added, Some(200));

    let too_large = Publication { events: vec![event(&"x".repeat(10_001))], ..large };
    let refused = tasks.publish(&thread("large"), &too_large, 200);
    assert!(matches!(refused, Err(LogError::Refused(_))));
}

#[test]
fn memory_is_given_back_when_tasks_go() {
    let mut tasks = Tasks::new(&limits());
    for n in 0..50 {
        let name = format!("t{n}");
        tasks.publish(&thread(&name), &with_status("queued"), n).unwrap();
        tasks.publish(&thread(&name), &with_status("done"), n).unwrap();
    }
    let held: usize = tasks.held.values().map(|held| held.task.bytes()).sum();
    assert_eq!(tasks.bytes, held);
    assert_eq!((tasks.held.len(), tasks.turns.len(), tasks.index.len()), (3, 3, 3));
}

#[test]
fn the_newest_tasks_come_first() {
    let mut tasks = Tasks::new(&limits());
    for (name, score) in [("a", 2.0), ("b", 3.25), ("c", 1.0)] {
        let mut publication = with_status("queued");
        publication.writes.push(Write::Index(score));
        tasks.publish(&thread(name), &publication, 1).unwrap();
    }
    let rows: Vec<_> = tasks.newest(2, 1).into_iter().map(|r| (r.thread, r.updated_at)).collect();
    assert_eq!(rows, [(thread("b"), 3.25), (thread("a"), 2.0)]);
}

#[test]
fn the_listener_hears_of_each_change_outside_the_lock() {
    let log = Arc::new(EmbeddedLog::new(&limits()));
    let heard = Arc::new(Mutex::new(Vec::new()));
    log.set_listener({
        let (log, heard) = (Arc::downgrade(&log), heard.clone());
        Box::new(move |thread| {
            let facts = log.upgrade().unwrap().read(thread, StreamId::ZERO, 9).0;
            heard.lock().push((thread.to_string(), facts.length));
        })
    });
    for (name, status) in [("a", "done"), ("b", "queued"), ("c", "queued"), ("d", "queued")] {
        log.publish(&thread(name), &with_status(status)).unwrap();
    }
    let heard = heard.lock();
    let heard: Vec<_> = heard.iter().map(|(name, length)| (name.as_str(), *length)).collect();
    assert_eq!(heard, [("a", 1), ("b", 1), ("c", 1), ("a", 0), ("d", 1)]);
}
