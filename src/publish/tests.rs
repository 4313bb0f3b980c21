//! What publishing writes, on the embedded log: events as protocol §4 has them, and the state.

use serde_json::{Value, json};

use super::*;
use crate::config::Limits;
use crate::id::{StreamId, ThreadId};
use crate::log::embedded::EmbeddedLog;
use crate::log::{Log, LogError, PageWants, Snapshot, SnapshotWants, State, TaskPart};

struct Fixture {
    log: Log,
    threads: ThreadManager,
    streams: TaskStreamManager,
}

impl Fixture {
    fn new() -> Self {
        let log = Log::from(EmbeddedLog::new(&Limits::default()));
        let (threads, streams) =
            (ThreadManager::new(log.clone()), TaskStreamManager::new(log.clone()));
        Self { log, threads, streams }
    }

    /// Every event of a task: the fields in their order, times and thread ids checked and left out.
    async fn events(&self, thread: &ThreadId) -> Vec<Vec<(String, String)>> {
        let page = PageWants { from: StreamId::ZERO, entries_max: 99, bytes_max: u64::MAX };
        let wants = SnapshotWants { page: Some(page), ..SnapshotWants::default() };
        let page = self.log.snapshot(thread, wants).await.unwrap().page;
        page.into_iter()
            .map(|entry| {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let mut fields: Vec<_> =
                    entry.fields.iter().map(|(name, value)| (text(name), text(value))).collect();
                assert_eq!(fields.remove(0), ("thread_id".into(), thread.to_string()));
                let (name, timestamp) = fields.remove(1);
                assert_eq!((name.as_str(), timestamp.len()), ("timestamp", 29));
                assert!(timestamp.ends_with("+00:00"));
                fields
            })
            .collect()
    }
}

fn pairs(fields: &[(&str, &str)]) -> Vec<(String, String)> {
    fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn status_change(status: &str) -> Vec<(String, String)> {
    let message = format!("Status changed to {status}");
    pairs(&[("update_type", "status_change"), ("status", status), ("message", &message)])
}

#[tokio::test]
async fn each_call_publishes_its_event() {
    let fixture = Fixture::new();
    let threads = &fixture.threads;
    let thread = threads.create(NewTask::new("Why?")).await.unwrap();
    threads.set_status(&thread, Status::InProgress).await.unwrap();
    let update = Update::new("Looking").with_type("tool_call");
    let update = update.with_metadata(&json!({"step": 1})).unwrap();
    threads.add_update(&thread, update).await.unwrap();
    threads.add_update(&thread, Update::new("Found")).await.unwrap();
    threads.set_result(&thread, &json!({"summary": "ok"})).await.unwrap();
    let id = threads.set_error(&thread, "No space left").await.unwrap();

    let expected = [
        status_change("queued"),
        status_change("in_progress"),
        pairs(&[
            ("update_type", "thread_update"),
            ("type", "tool_call"),
            ("message", "Looking"),
            ("metadata", r#"{"step":1}"#),
        ]),
        pairs(&[
            ("update_type", "thread_update"),
            ("type", "progress"),
            ("message", "Found"),
            ("metadata", "{}"),
        ]),
        pairs(&[
            ("update_type", "result_set"),
            ("result", r#"{"summary":"ok"}"#),
            ("message", "Task result available"),
        ]),
        pairs(&[
            ("update_type", "error_set"),
            ("error_message", "No space left"),
            ("message", "No space left"),
        ]),
        status_change("failed"),
    ];
    assert_eq!(fixture.events(&thread).await, expected);
    assert_eq!(fixture.streams.info(&thread).await.unwrap().last_generated, id);
}

#[tokio::test]
async fn the_state_is_what_was_published() {
    let Fixture { threads, .. } = Fixture::new();
    let context = json!({"query": "overridden", "host": "cache-1", "port": 6379, "tags": ["a"]});
    let task = NewTask {
        user_id: Some("7".into()),
        priority: 3,
        tags: vec!["redis".into()],
        context: Fields::of(&context).unwrap(),
        ..NewTask::new("Why\nis it slow?")
    };
    let thread = threads.create(task).await.unwrap();
    for n in 0..102 {
        threads.add_update(&thread, Update::new(n.to_string())).await.unwrap();
    }
    threads.set_result(&thread, &json!([1])).await.unwrap();
    let id = threads.set_error(&thread, "broken").await.unwrap();

    let mut state = serde_json::to_value(threads.state(&thread).await.unwrap()).unwrap();
    let updates = state["updates"].take();
    let updates = updates.as_array().unwrap();
    assert_eq!(updates.len(), 100);
    assert_eq!(updates[99]["message"], "101");
    assert_eq!(updates[99]["update_type"], "progress");
    assert_eq!(updates[99]["metadata"], json!({}));
    assert!(updates[99]["timestamp"].is_string());
    for time in ["created_at", "updated_at"] {
        assert!(state["metadata"][time].take().is_string());
    }
    let expected = json!({
        "thread_id": thread.to_string(),
        "status": "failed",
        "updates": null,
        "result": [1],
        "error_message": "broken",
        "metadata": {
            "created_at": null,
            "updated_at": null,
            "priority": 3,
            "tags": ["redis"],
            "subject": "Why is it slow?",
            "user_id": "7",
        },
        "context":
            {"query": "Why\nis it slow?", "host": "cache-1", "port": 6379, "tags": ["a"]},
        "stream_id": id.to_string(),
    });
    assert_eq!(state, expected);
}

#[tokio::test]
async fn an_unknown_thread_is_not_found() {
    let Fixture { threads, streams, .. } = Fixture::new();
    let thread: ThreadId = "t-any".parse().unwrap();
    let not_found = Err(LogError::NotFound);
    assert_eq!(threads.set_status(&thread, Status::Done).await, not_found);
    assert_eq!(threads.add_update(&thread, Update::new("x")).await, not_found);
    assert_eq!(threads.set_result(&thread, &1).await, not_found);
    assert_eq!(threads.set_error(&thread, "x").await, not_found);
    assert!(matches!(threads.state(&thread).await, Err(LogError::NotFound)));
    assert!(!streams.info(&thread).await.unwrap().exists);
}

#[tokio::test]
async fn any_event_goes_to_a_stream_that_need_not_exist() {
    let fixture = Fixture::new();
    let thread: ThreadId = "t-any".parse().unwrap();
    let fields = json!({
        "thread_id": "another", "update_type": "another", "text": "plain", "number": 1.5,
        "none": null, "list": [1, "a"],
    });
    fixture.streams.publish(&thread, "custom", &fields).await.unwrap();
    let expected = pairs(&[
        ("update_type", "custom"),
        ("text", "plain"),
        ("number", "1.5"),
        ("none", "null"),
        ("list", r#"[1,"a"]"#),
    ]);
    assert_eq!(fixture.events(&thread).await, [expected]);
    assert!(fixture.threads.state(&thread).await.unwrap().status.is_none());

    let many: Value = (0..1_000).map(|n| (n.to_string(), json!(n))).collect();
    for refused in [json!([]), json!("text"), many] {
        let answer = fixture.streams.publish(&thread, "custom", &refused).await;
        assert!(matches!(answer, Err(LogError::Refused(_))));
    }
}

#[tokio::test]
async fn what_has_a_key_is_published_once() {
    let fixture = Fixture::new();
    let key = || "k".parse::<IdempotencyKey>().unwrap();
    let threads = fixture.threads.with_idempotency_key(key());
    let thread = threads.create(NewTask::new("Why?")).await.unwrap();
    assert_eq!(threads.create(NewTask::new("Why?")).await.unwrap(), thread);
    let id = threads.set_error(&thread, "broken").await.unwrap();
    assert_eq!(threads.set_error(&thread, "broken").await.unwrap(), id);
    assert_eq!(threads.set_error(&thread, "fine").await, Err(LogError::KeyUsed));

    let streams = fixture.streams.with_idempotency_key(key());
    let custom = json!({"a": 1});
    let id = streams.publish(&thread, "custom", &custom).await.unwrap();
    assert_eq!(streams.publish(&thread, "custom", &custom).await.unwrap(), id);
    for (update_type, fields) in [("other", &custom), ("custom", &json!({"a": 2}))] {
        let answer = streams.publish(&thread, update_type, fields).await;
        assert_eq!(answer, Err(LogError::KeyUsed));
    }
    assert_eq!(fixture.events(&thread).await.len(), 1 + 2 + 1);
    // Without the key each is another.
    assert!(fixture.streams.publish(&thread, "custom", &custom).await.unwrap() > id);
}

#[tokio::test]
async fn the_newest_tasks_are_listed_with_what_they_last_said() {
    let Fixture { threads, .. } = Fixture::new();
    let old = threads.create(NewTask::new("old")).await.unwrap();
    let new = threads.create(NewTask::new("new")).await.unwrap();
    let update = Update::new("half way").with_metadata(&json!({"progress": 50})).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    threads.add_update(&old, update).await.unwrap();

    let rows = serde_json::to_value(threads.newest(9).await.unwrap()).unwrap();
    let ids = [&rows[0]["thread_id"], &rows[1]["thread_id"]];
    assert_eq!(ids, [&json!(old.to_string()), &json!(new.to_string())]);
    assert_eq!(rows[0]["message"], "half way");
    assert_eq!(rows[0]["progress"], 50.0);
    assert_eq!(rows[0]["subject"], "old");
    assert_eq!(rows[1]["message"], Value::Null);
    assert_eq!(threads.newest(1).await.unwrap().len(), 1);
}

#[test]
fn the_task_layout_shows_its_newest_task() {
    let task = TaskPart {
        task_id: "k1".into(),
        metadata: vec![
            ("thread_id".into(), "t".into()),
            ("subject".into(), "of the task".into()),
            ("pending_approval".into(), r#"{"tool":"restart"}"#.into()),
            ("resume_supported".into(), "true".into()),
        ],
    };
    let state = State {
        status: Some("awaiting_approval".into()),
        updates: vec!["{\"message\":\"a\"}".into(), b"\xff"[..].into()],
        result: Some("not JSON".into()),
        metadata: vec![("subject".into(), "of the thread".into()), ("a".into(), "1".into())],
        task: Some(task),
        ..State::default()
    };
    let snapshot = Snapshot { state: Some(state), ..Snapshot::default() };
    let state = TaskState::new(&"t".parse().unwrap(), snapshot);
    let expected = json!({
        "thread_id": "t",
        "status": "awaiting_approval",
        "updates": [{"message": "a"}, "\u{fffd}"],
        "result": "not JSON",
        "error_message": null,
        "metadata": {"a": "1", "subject": "of the task"},
        "context": {},
        "stream_id": "0-0",
        "task_id": "k1",
        "pending_approval": {"tool": "restart"},
        "resume_supported": true,
    });
    assert_eq!(serde_json::to_value(state).unwrap(), expected);
}
