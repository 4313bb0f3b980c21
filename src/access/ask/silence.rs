//! That the application does not answer is said when it begins, and every ten seconds while it lasts.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How often it is said.
const PAUSE: Duration = Duration::from_secs(10);
/// After so long without a question that got no answer, it is over.
const OVER_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Silence {
    /// Who is asked.
    host: String,
    /// None: it answers.
    since: Mutex<Option<Lasting>>,
}

struct Lasting {
    said: Instant,
    /// When a question got no answer last,
    last: Instant,
    /// and how many did since it was said.
    questions: u64,
}

impl Silence {
    pub(super) fn new(host: &str) -> Self {
        Self { host: host.to_owned(), since: Mutex::new(None) }
    }

    /// A question got no answer.
    pub(super) fn lasts(&self, why: &str) {
        let now = Instant::now();
        let mut since = self.since.lock();
        let begins = since.is_none();
        let lasting = since.get_or_insert(Lasting { said: now, last: now, questions: 0 });
        lasting.questions += 1;
        lasting.last = now;
        if begins || now - lasting.said >= PAUSE {
            lasting.said = now;
            let questions = std::mem::take(&mut lasting.questions);
            tracing::warn!(host = %self.host, questions, why, "application_silent");
        }
    }

    /// A question got an answer.
    pub(super) fn is_over(&self) {
        let mut since = self.since.lock();
        if since.take_if(|lasting| lasting.last.elapsed() >= OVER_AFTER).is_some() {
            tracing::info!(host = %self.host, "application_answers");
        }
    }
}
