//! A topic as the fan-out of one worker follows it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::core::fanout;
use crate::core::topic::TopicLog;
use crate::id::ThreadId;
use crate::topic::Topic;

/// A topic, and the worker.
#[derive(Clone)]
pub(crate) struct Followed {
    pub(crate) topic: Arc<Topic>,
    pub(crate) worker: usize,
}

impl fanout::Topic for Followed {
    fn thread(&self) -> &ThreadId {
        &self.topic.thread
    }

    fn with_log<R>(&self, look: impl FnOnce(&TopicLog) -> R) -> Option<R> {
        self.topic.recent.lock().log.as_ref().map(look)
    }

    fn listen(&self) {
        self.topic.on_worker[self.worker].told.store(false, Relaxed);
    }

    fn count_lagging(&self, lagging: bool) {
        if lagging {
            self.topic.lagging.fetch_add(1, Relaxed);
        } else {
            self.topic.lagging.fetch_sub(1, Relaxed);
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.topic, &other.topic)
    }
}
