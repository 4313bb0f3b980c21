//! What a task has come to, folded from its frames: which turn is the thread's, its status, its end.
//!
//! A thread of the agent's may have several tasks. Its *turn* is the newest that is no child of another,
//! as the server says in states and derived frames; entries of the others name another `task_id`.

use super::chain::Update;
use super::frame::Head;

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Outcome {
    /// How a task with this status ended; none if it has not.
    pub fn of(status: &str) -> Option<Self> {
        match status {
            "done" | "completed" => Some(Self::Done),
            "failed" => Some(Self::Failed),
            "cancelled" => Some(Self::Cancelled),
            _ => None,
        }
    }
}

/// What a task has come to. Give it each frame of a [`Follow`](super::Follow).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    turn: Option<String>,
    /// That turn was asked for, and no other counts.
    only: bool,
    status: Option<String>,
    /// What the last `end` said, as long as nothing came behind it.
    ended: Option<Outcome>,
}

impl Standing {
    /// Of the thread's turn, whichever that is.
    pub fn new() -> Self {
        Self::default()
    }

    /// Of one task of a thread.
    pub fn of_turn(task_id: impl Into<String>) -> Self {
        Self { turn: Some(task_id.into()), only: true, ..Self::default() }
    }

    /// Takes a frame. Whether it is about the turn, and not about another task of its thread.
    pub fn take(&mut self, update: &Update, json: &str) -> bool {
        let told = Head::of(json);
        match update {
            Update::Initial { .. } => {
                let counts = self.takes_turn(&told);
                if counts {
                    (self.status, self.ended) = (told.status(), None);
                }
                counts
            }
            Update::Entry { .. } => {
                let counts = self.is_of_turn(&told);
                // It may take an end back: whether it does, the server says to who attaches.
                self.ended = None;
                self.take_status(&told, counts);
                counts
            }
            Update::Derived => {
                let counts = self.takes_turn(&told);
                self.take_status(&told, counts);
                counts
            }
            Update::End { failed } => {
                self.ended = Some(if *failed { Outcome::Failed } else { Outcome::Done });
                true
            }
            _ => true,
        }
    }

    /// The turn's `task_id`, where the thread has tasks.
    pub fn turn(&self) -> Option<&str> {
        self.turn.as_deref()
    }

    /// The status, as its publisher says it; none until it is known.
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// How it ended; none where it has not, as far as it came. What came last may be older than the end of
    /// a replay: whether it is, [`Update::CaughtUp`] tells.
    pub fn outcome(&self) -> Option<Outcome> {
        self.ended.or_else(|| self.status().and_then(Outcome::of))
    }

    /// Its status is known from elsewhere.
    pub fn set_status(&mut self, status: Option<String>) {
        self.status = status;
    }

    fn take_status(&mut self, told: &Head<'_>, counts: bool) {
        if counts && told.changes_status() {
            // Without a status, nothing is known to have changed.
            self.status = told.status().or(self.status.take());
        }
    }

    /// Whether a frame is about the turn.
    fn is_of_turn(&self, told: &Head<'_>) -> bool {
        let task = told.task_id();
        self.turn.is_none() || task.is_none() || task == self.turn
    }

    /// What the server says of the thread's turn is about another one: that is followed from now on, unless
    /// one was asked for. Whether it counts.
    fn takes_turn(&mut self, told: &Head<'_>) -> bool {
        if self.only {
            return self.is_of_turn(told);
        }
        self.turn = told.task_id().or(self.turn.take());
        true
    }
}

#[cfg(test)]
mod tests {
    use taskcast_core::id::StreamId;

    use super::*;

    const INITIAL: Update = Update::Initial { stream_id: None, lost: false };
    const ENTRY: Update =
        Update::Entry { stream_id: StreamId::MAX, prev_stream_id: StreamId::ZERO };

    fn status(status: &str, task: &str) -> String {
        format!(r#"{{"update_type":"status_change","status":"{status}","task_id":"{task}"}}"#)
    }

    #[test]
    fn of_a_thread_the_turn_counts_and_its_children_do_not() {
        let mut standing = Standing::new();
        assert!(standing.take(&INITIAL, r#"{"task_id":"a","status":"queued"}"#));
        assert_eq!((standing.turn(), standing.status()), (Some("a"), Some("queued")));
        assert!(!standing.take(&ENTRY, &status("failed", "child")));
        assert_eq!((standing.status(), standing.outcome()), (Some("queued"), None));
        assert!(standing.take(&ENTRY, r#"{"update_type":"status_change","status":"done"}"#));
        assert_eq!(standing.outcome(), Some(Outcome::Done));
        assert!(standing.take(&Update::Derived, &status("queued", "b")), "another turn begins");
        assert_eq!((standing.turn(), standing.outcome()), (Some("b"), None));
    }

    #[test]
    fn one_that_was_asked_for_stays_the_turn() {
        let mut standing = Standing::of_turn("a");
        assert!(!standing.take(&INITIAL, r#"{"task_id":"b","status":"done"}"#));
        assert!(!standing.take(&Update::Derived, &status("failed", "b")));
        assert_eq!((standing.turn(), standing.outcome()), (Some("a"), None));
        assert!(standing.take(&Update::Derived, &status("cancelled", "a")));
        assert_eq!(standing.outcome(), Some(Outcome::Cancelled));
    }

    #[test]
    fn an_end_counts_until_something_comes_behind_it() {
        let mut standing = Standing::new();
        standing.take(&INITIAL, r#"{"status":null}"#);
        standing.take(&Update::End { failed: true }, "{}");
        assert_eq!((standing.status(), standing.outcome()), (None, Some(Outcome::Failed)));
        standing.take(&ENTRY, r#"{"n":1}"#);
        assert_eq!(standing.outcome(), None);
        standing.take(&Update::End { failed: false }, "{}");
        assert_eq!(standing.outcome(), Some(Outcome::Done));
    }

    #[test]
    fn values_of_any_type_are_taken() {
        for value in ["null", "7", "[[]]", "\"\"", "\"\\ud800\"", "{\"a\":1}", "true"] {
            let json = format!(
                r#"{{"update_type":{value},"status":{value},"task_id":{value},"status":{value}}}"#
            );
            let mut standing = Standing::new();
            for update in [INITIAL, ENTRY, Update::Derived, Update::CaughtUp, Update::Other] {
                standing.take(&update, &json);
            }
        }
    }
}
