//! Who lacks what of a task's present state, case by case.

use bytes::Bytes;

use super::*;
use crate::state::TaskPart;

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

fn entry(ms: u64, fields: &[(&str, &str)]) -> Entry {
    let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let fields = fields.iter().map(|(name, value)| (owned(name), owned(value))).collect();
    Entry { id: id(ms), fields }
}

fn status_change(ms: u64, status: &str) -> Entry {
    entry(ms, &[("update_type", "status_change"), ("status", status)])
}

fn of(status: &str) -> State {
    State { status: Some(Bytes::copy_from_slice(status.as_bytes())), ..State::default() }
}

fn of_task(task_id: &str, status: &str) -> State {
    let task_id = Bytes::copy_from_slice(task_id.as_bytes());
    State { task: Some(TaskPart { task_id, metadata: Vec::new() }), ..of(status) }
}

struct World(Present, Account);

impl World {
    fn new() -> Self {
        Self(Present::default(), Account::new(1 << 20))
    }

    fn read(&mut self, state: &State, ms: u64) -> Version {
        self.0.observe(&self.1, state, id(ms), ms, true)
    }

    /// Read and told.
    fn told(&mut self, state: &State, ms: u64) -> Version {
        let version = self.read(state, ms);
        self.0.tell();
        version
    }

    fn note(&mut self, entries: &[Entry]) -> bool {
        self.0.note(entries, &Words::default())
    }

    fn lacks_status(&self, version: Version) -> bool {
        self.0.lacks(version, None).is_some_and(|lacks| lacks.status)
    }

    fn resumed_lacks(&self, since: u64) -> Lacks {
        self.0.lacks(0, Some(id(since))).unwrap_or_default()
    }
}

#[test]
fn who_was_given_a_state_lacks_only_what_changed_since() {
    let mut world = World::new();
    let first = world.told(&of("queued"), 1);
    assert!(!world.lacks_status(first));
    let second = world.read(&of("done"), 1);
    assert_ne!(first, second);
    assert!(world.0.is_untold() && world.0.lacks_anything());
    // Not before it is told.
    assert!(!world.lacks_status(first));
    world.0.tell();
    assert!(world.lacks_status(first));
    assert!(!world.lacks_status(second));
    assert_eq!(world.read(&of("done"), 2), second);
}

#[test]
fn what_an_entry_tells_is_not_told_again_whether_it_came_before_or_after_the_key() {
    let mut world = World::new();
    let first = world.told(&of("queued"), 1);
    assert!(world.note(&[status_change(2, "in_progress")]));
    world.told(&of("in_progress"), 2);
    assert!(!world.lacks_status(first));
    world.read(&of("done"), 2);
    assert!(world.0.lacks_anything());
    assert!(!world.note(&[status_change(3, "done")]));
    assert!(!world.0.lacks_anything());
    world.0.tell();
    assert!(!world.lacks_status(first));
    // Any entry may mention it.
    world.read(&of("failed"), 3);
    world.note(&[entry(4, &[("update_type", "x"), ("status", "failed")])]);
    assert!(!world.0.lacks_anything());
}

#[test]
fn what_changed_and_changed_back_is_told_to_nobody_who_was_told_it_last() {
    let mut world = World::new();
    let first = world.told(&of("in_progress"), 1);
    let between = world.told(&of("awaiting_approval"), 1);
    world.told(&of("in_progress"), 1);
    assert!(!world.lacks_status(first));
    assert!(world.lacks_status(between));
}

#[test]
fn a_state_that_was_gone_for_a_while_is_told_to_nobody_who_was_told_it_last() {
    let mut world = World::new();
    let first = world.told(&of("in_progress"), 1);
    let gone = world.told(&State::default(), 1);
    assert!(!world.lacks_status(first));
    assert_eq!((world.0.passed_to(first), world.0.passed_to(0)), (first, gone));
    world.told(&of("in_progress"), 1);
    assert!(!world.lacks_status(first));
    // Who attached meanwhile was shown none.
    assert!(world.lacks_status(gone));
}

#[test]
fn an_entry_that_says_something_else_than_the_key_is_answered_by_what_the_key_says() {
    let mut world = World::new();
    let version = world.told(&of("done"), 1);
    assert!(world.note(&[status_change(2, "in_progress")]));
    let again = world.told(&of("done"), 2);
    assert_ne!(version, again);
    assert!(world.lacks_status(version));
    // Who attached behind that entry was given the state.
    assert!(!world.lacks_status(again));
}

#[test]
fn nothing_is_told_behind_entries_that_say_something_else() {
    let mut world = World::new();
    world.told(&of("in_progress"), 1);
    // The key was set before, and is not read yet. Whoever resumes is told when it is.
    world.note(&[entry(5, &[("update_type", "x"), ("status", "done")])]);
    assert!(!world.0.is_settled());
    assert_eq!(world.resumed_lacks(5), Lacks::default());
    world.told(&of("done"), 5);
    assert!(world.0.is_settled());
    assert!(world.resumed_lacks(5).status);
    assert!(!world.resumed_lacks(4).status);
    // One that says the same leaves all as it is.
    world.note(&[status_change(6, "done")]);
    assert!(world.0.is_settled());
}

#[test]
fn who_resumes_lacks_what_the_entries_behind_his_position_did_not_tell() {
    let mut world = World::new();
    let result = Some(Bytes::from_static(br#"{"a": 1}"#));
    let state = State { result, ..of("done") };
    let told = [("update_type", "result_set"), ("result", r#"{"a":1}"#)];
    world.note(&[entry(5, &told), status_change(6, "done")]);
    world.told(&state, 7);
    assert_eq!(world.resumed_lacks(4), Lacks::default());
    assert_eq!(world.resumed_lacks(5), Lacks { result: true, ..Lacks::default() });
    assert_eq!(world.resumed_lacks(6), Lacks { status: true, result: true, error: false });
    // Pages bring older ones, which change nothing.
    world.note(&[status_change(2, "in_progress")]);
    assert_eq!(world.resumed_lacks(1), Lacks::default());
}

#[test]
fn a_new_turn_with_the_same_status_is_told() {
    let mut world = World::new();
    let first = world.told(&of_task("a", "in_progress"), 1);
    world.told(&of_task("b", "in_progress"), 1);
    assert!(world.lacks_status(first));
    assert_eq!(world.0.task_id().unwrap(), "b");
}

#[test]
fn a_childs_own_status_tells_nothing_of_the_turn() {
    let mut world = World::new();
    let first = world.told(&of_task("parent", "in_progress"), 1);
    let child = [("update_type", "status_change"), ("status", "done"), ("task_id", "child")];
    // One that was not seen before.
    assert!(world.note(&[entry(2, &child)]));
    assert!(!world.note(&[entry(3, &child)]));
    world.told(&of_task("parent", "in_progress"), 3);
    assert!(!world.lacks_status(first));
    world.told(&of_task("parent", "done"), 3);
    assert!(world.lacks_status(first));
}

#[test]
fn an_end_means_that_the_state_is_read() {
    let mut world = World::new();
    let end = [("update_type", "turn_complete")];
    assert!(!world.note(&[entry(1, &end)]), "nobody was told anything yet");
    world.told(&of("in_progress"), 1);
    assert!(world.note(&[entry(2, &end)]));
    assert!(!world.note(&[entry(3, &[("update_type", "progress")])]));
}

#[test]
fn who_was_given_a_forgotten_reading_is_told_the_newest() {
    let mut world = World::new();
    let first = world.told(&of("a"), 1);
    for number in 0..2 * READINGS_MAX {
        world.told(&of(if number % 2 == 0 { "b" } else { "a" }), 1);
    }
    assert!(world.lacks_status(first));
}

#[test]
fn another_streams_entries_tell_nothing() {
    let mut world = World::new();
    let first = world.told(&of("queued"), 5);
    world.note(&[status_change(6, "done")]);
    world.0.begin_epoch();
    world.told(&of("done"), 2);
    assert!(world.lacks_status(first));
}

#[test]
fn what_was_forgotten_is_read_again_under_a_version_of_its_own() {
    let mut world = World::new();
    let first = world.told(&of("queued"), 1);
    world.0.forget();
    assert_eq!(world.0.told(), 0);
    let again = world.read(&of("queued"), 1);
    assert_ne!(first, again);
    assert_eq!(world.0.told(), again);
}

#[test]
fn what_tells_much_is_bounded() {
    let mut world = World::new();
    for ms in 1..1_000 {
        let told = [("status", "done"), ("task_id", &ms.to_string())];
        world.note(&[entry(ms, &told)]);
    }
    assert_eq!((world.0.tells.len(), world.0.tasks.len()), (TELLS_MAX, TASKS_MAX));
}

#[test]
fn an_entrys_word_for_a_status_is_the_status_that_it_means() {
    let mut world = World::new();
    let first = world.told(&of("in_progress"), 1);
    let words = Words::new([("SUCCESS", "done")].into_iter()).unwrap();
    world.0.note(&[status_change(2, "SUCCESS")], &words);
    world.told(&of("done"), 2);
    assert!(!world.lacks_status(first));
}
