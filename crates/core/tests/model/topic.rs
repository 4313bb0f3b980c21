//! A topic of the model: a log beside the naive stream that it is a part of.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use taskcast_core::fanout;
use taskcast_core::id::ThreadId;
use taskcast_core::topic::TopicLog;

pub(crate) struct Topic {
    pub(crate) number: usize,
    thread: ThreadId,
    pub(crate) log: RefCell<TopicLog>,
    /// The fan-out was told of news and has not looked yet.
    pub(crate) told: Cell<bool>,
    pub(crate) lagging: Cell<i64>,
    pub(crate) viewers: Cell<i64>,
}

#[derive(Clone)]
pub(crate) struct Followed(pub(crate) Rc<Topic>);

impl Followed {
    pub(crate) fn new(number: usize, log: TopicLog) -> Self {
        Self(Rc::new(Topic {
            number,
            thread: thread(number),
            log: RefCell::new(log),
            told: Cell::new(false),
            lagging: Cell::new(0),
            viewers: Cell::new(0),
        }))
    }
}

/// The task of a stream.
pub(crate) fn thread(number: usize) -> ThreadId {
    format!("t{number}").parse().unwrap()
}

/// The stream of a task.
pub(crate) fn number_of(thread: &str) -> usize {
    thread.strip_prefix('t').unwrap().parse().unwrap()
}

impl fanout::Topic for Followed {
    fn thread(&self) -> &ThreadId {
        &self.0.thread
    }

    fn with_log<R>(&self, look: impl FnOnce(&TopicLog) -> R) -> Option<R> {
        Some(look(&self.0.log.borrow()))
    }

    fn listen(&self) {
        self.0.told.set(false);
    }

    fn count_lagging(&self, lagging: bool) {
        self.0.lagging.set(self.0.lagging.get() + if lagging { 1 } else { -1 });
    }

    fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}
