//! What the watched task is, by the frames that came.

use proptest::prelude::*;

use super::*;

const ID: StreamId = StreamId { ms: 1_700_000_000_000, seq: 0 };
const ENTRY: Update = Update::Entry { stream_id: ID, prev_stream_id: StreamId::ZERO };
const INITIAL: Update = Update::Initial { stream_id: Some(ID), lost: false };

fn task() -> Task {
    let mut task = Task::new("t1".parse().unwrap(), None, None);
    task.connected();
    task
}

fn shown(notes: &[Note]) -> Vec<String> {
    notes.iter().map(|n| format!("{} {} {}", n.time, n.label, n.text)).collect()
}

#[test]
fn the_state_gives_status_updates_and_progress() {
    let mut task = task();
    let notes = task.apply(
        &INITIAL,
        r#"{"update_type":"initial_state","status":"in_progress","updates":[
            {"timestamp":"2025-06-10T12:00:00+02:00","message":"a","update_type":"progress",
             "metadata":{"progress":40}},
            {"timestamp":"2025-06-10T12:00:01.5","message":{"b":1},"update_type":null},
            7, null],
            "updates_total":14,"result":null,"error_message":null,"stream_id":"1-0"}"#,
    );
    assert_eq!(
        shown(&notes),
        [
            "  10 earlier updates not shown",
            "10:00:00 progress a",
            "12:00:01  {\"b\":1}",
            "  7",
            "  null",
            " status in_progress"
        ]
    );
    assert_eq!((task.progress, task.outcome()), (Some(0.4), None));
}

#[test]
fn entries_change_status_progress_result_and_error() {
    let mut task = task();
    let mut shown = |json| shown(&task.apply(&ENTRY, json)).join("");
    assert_eq!(
        shown(
            r#"{"update_type":"thread_update","type":"tool","message":"m","metadata":{"step":1,"total_steps":4}}"#
        ),
        "22:13:20 tool m"
    );
    shown(r#"{"update_type":"result_set","result":{"a":[1]},"message":"there"}"#);
    assert_eq!(
        shown(r#"{"update_type":"error_set","error_message":"broke","message":"m"}"#),
        "22:13:20 error broke"
    );
    assert_eq!(
        shown(r#"{"update_type":"status_change","status":"failed","message":"m"}"#),
        "22:13:20 status failed"
    );
    assert_eq!(task.progress, Some(0.25));
    assert_eq!(task.result.as_deref(), Some(r#"{"a":[1]}"#));
    assert_eq!(task.error.as_deref(), Some("broke"));
}

#[test]
fn a_task_has_ended_once_nothing_more_can_be_on_the_way() {
    let mut task = task();
    task.apply(&ENTRY, r#"{"update_type":"status_change","status":"done"}"#);
    assert_eq!(task.outcome(), None, "a replay may go on");
    task.apply(&Update::CaughtUp, "{}");
    assert_eq!(task.outcome(), Some(Outcome::Done));
    task.disconnected("cut".to_owned());
    assert_eq!(task.outcome(), None, "the result may still come");
    task.apply(&ENTRY, r#"{"update_type":"result_set","result":1}"#);
    assert_eq!(task.outcome(), Some(Outcome::Done));
    task.apply(&ENTRY, r#"{"update_type":"status_change","status":"queued"}"#);
    assert_eq!(task.outcome(), None, "it was taken up again");
}

#[test]
fn a_derived_frame_tells_what_an_entry_would() {
    let mut task = task();
    task.apply(&INITIAL, r#"{"status":"in_progress","updates":[]}"#);
    let mut shown = |json| shown(&task.apply(&Update::Derived, json)).join("");
    assert_eq!(
        shown(
            r#"{"update_type":"thread_update","timestamp":"2025-06-10T12:00:00Z","message":"m","type":"tool"}"#
        ),
        "12:00:00 tool m"
    );
    assert_eq!(shown(r#"{"update_type":"thread_update","data":[1]}"#), " thread_update [1]");
    shown(r#"{"update_type":"status_change","status":"done"}"#);
    assert_eq!((task.outcome(), task.at), (Some(Outcome::Done), ID));
}

#[test]
fn a_source_says_what_happened_in_its_own_members() {
    let mut task = Task::new("jobs:q:1".parse().unwrap(), None, None);
    task.connected();
    task.apply(&INITIAL, r#"{"status":null,"updates":[]}"#);
    assert!(task.lacks_past());
    let mut shown = |json| shown(&task.apply(&ENTRY, json));
    assert_eq!(
        shown(r#"{"update_type":"step","n":[1],"a":"x","source":"jobs","stream_id":"7-0"}"#),
        [r#"22:13:20 step {"a":"x","n":[1]}"#]
    );
    assert_eq!(
        shown(
            r#"{"update_type":"entry","events":[{"event":"token","data":"hi"},{"message":"m","type":"t"},7]}"#
        ),
        ["22:13:20 token hi", "22:13:20 t m", "22:13:20 entry 7"]
    );
    assert_eq!(shown(r#"{"update_type":"ping"}"#), ["22:13:20 ping "]);
    assert!(!task.lacks_past());
}

#[test]
fn the_end_of_a_source_is_in_doubt_once_something_comes_behind_it() {
    let mut task = Task::new("jobs:q:1".parse().unwrap(), None, None);
    task.connected();
    task.apply(&INITIAL, r#"{"status":null,"updates":[]}"#);
    let told = task.apply(&Update::End { failed: true }, "{}");
    assert_eq!(
        (shown(&told), task.outcome()),
        (vec![" end it failed".into()], Some(Outcome::Failed))
    );
    task.apply(&ENTRY, r#"{"n":1}"#);
    assert_eq!((task.outcome(), task.end_in_doubt), (None, true));
    task.apply(&Update::End { failed: false }, "{}");
    assert_eq!((task.outcome(), task.end_in_doubt), (Some(Outcome::Done), false));
}

#[test]
fn a_look_back_gives_what_was_not_shown_up_to_the_position() {
    let entry = |ms| Update::Entry { stream_id: at(ms), prev_stream_id: StreamId::ZERO };
    fn at(ms: u64) -> StreamId {
        StreamId { ms, seq: 0 }
    }
    let status = r#"{"update_type":"status_change","status":"done"}"#;
    let mut task = Task::new("t1".parse().unwrap(), Some(at(1).into()), None);
    task.connected();
    assert!(!task.lacks_past(), "it may be on the way");
    task.apply(&entry(2), "{}");
    task.apply(&Update::Initial { stream_id: Some(at(4)), lost: false }, r#"{"status":null}"#);
    assert!(task.lacks_past());
    let mut shown = |update, json| match task.recall(&update, json) {
        ControlFlow::Continue(notes) => notes.len(),
        ControlFlow::Break(()) => panic!("{update:?}"),
    };
    assert_eq!(
        [shown(entry(2), status), shown(entry(3), status), shown(entry(4), "{}")],
        [0, 1, 1]
    );
    assert_eq!(task.recall(&entry(5), "{}"), ControlFlow::Break(()), "that one will come");
    assert_eq!(task.outcome(), Some(Outcome::Done));
}

proptest! {
    #[test]
    fn values_of_any_type_are_taken(
        names in prop::collection::vec(prop::sample::select(vec![
            "update_type", "type", "status", "message", "metadata", "result", "updates",
            "updates_total", "timestamp", "error_message",
        ]), 8),
        values in prop::collection::vec(prop::sample::select(vec![
            "null", "-1", "1e400", "\"\"", "\"\\ud800\"", "[[]]", "{\"progress\":{}}",
            "[{\"timestamp\":9}]", "\"status_change\"", "\"result_set\"", "\"error_set\"",
            "\"+999999-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59-23:59\"", "true",
        ]), 8),
    ) {
        let members: Vec<_> =
            names.iter().zip(&values).map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let json = format!("{{{}}}", members.join(","));
        let mut task = task();
        for update in [INITIAL, ENTRY, Update::Derived, Update::CaughtUp, Update::Other] {
            task.apply(&update, &json);
        }
    }
}
