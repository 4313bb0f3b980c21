//! The application decides (protocol §5, `access.ask`): may somebody who shows this do that. Asked only where no
//! credential suffices.
//!
//! All questions are asked on one thread, which keeps the connections: those of a pool are driven where they were
//! opened, so that one worker's would wait for another's. Equal questions are one, and a yes counts for a while. So
//! many are under way at a time; the others wait, each for as long as an answer may take in all. Whatever is no
//! answer is no yes.
//!
//! | file | what it owns |
//! |---|---|
//! | `answer` | what an answer says |
//! | `answers` | the yeses that still count |
//! | `shown` | what the application is shown of whoever asks |

mod answer;
mod answers;
mod shown;
mod silence;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::time::timeout;

use super::carried::{Carried, Way};
use super::client::Client;
use crate::config::AskTable;
use crate::core::access::Verb;
use crate::core::account::{Account, Charge, Kind, Priority};
use crate::id::ThreadId;
use answer::Said;
use answers::{Answers, Hash};
pub(crate) use shown::Shown;
use silence::Silence;

/// Questions that are under way at a time,
pub(crate) const QUESTIONS_MAX: usize = 64;
/// and that wait for their turn beside them.
const QUESTIONS_WAITING_MAX: usize = 16_384;
/// What a question takes beside its text.
const QUESTION_BYTES: usize = 2_048;
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// A yes counts at least so long: nobody asks without a pause.
const LASTS_MIN: Duration = Duration::from_secs(1);
/// By up to so much of its time it ends earlier, so that what was asked together is not asked again together.
const SPREAD: f64 = 0.1;

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// He may, until then.
    Yes(Instant),
    /// He may not.
    No,
    /// Nobody said.
    Unanswered,
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) verb: Verb,
    /// The task; none where the verb is on none.
    pub(crate) task: Option<&'a str>,
    /// Its source; none is the agent's.
    pub(crate) source: Option<&'a str>,
}

/// What asks the application. One per process.
pub(crate) struct Asker {
    table: AskTable,
    authorization: Option<HeaderValue>,
    client: Client,
    /// Where questions are asked.
    runtime: Handle,
    account: Account,
    /// Places of the questions under way.
    places: Semaphore,
    held: Mutex<Held>,
    silence: Silence,
    counts: [AtomicU64; 3],
    reused: AtomicU64,
}

/// Where what comes of a question is told.
type Told = watch::Receiver<Option<Decision>>;

struct Held {
    answers: Answers,
    /// Questions that are under way or wait.
    flights: HashMap<Hash, Told>,
}

/// A question that is under way or waits, as long as this lives.
struct Flight {
    asker: Arc<Asker>,
    question: Hash,
    tell: watch::Sender<Option<Decision>>,
    has_landed: bool,
    _charge: Charge,
}

/// How often what came of questions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Yes, no, and no answer.
    pub(crate) outcomes: [u64; 3],
    /// Answers that were there already, or came to somebody else.
    pub(crate) reused: u64,
    /// Questions that are under way or wait.
    pub(crate) waiting: u64,
}

impl Asker {
    /// As it is configured; questions are asked on the runtime on which this is called.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn new(table: &AskTable, account: &Account) -> Result<Self, String> {
        let client = Client::to(&table.url, QUESTIONS_MAX);
        let client = client.map_err(|error| format!("the system's certificates: {error}"))?;
        let authorization = table.authorization.as_ref();
        let authorization = authorization.map(|secret| HeaderValue::from_bytes(&secret.0));
        let runtime = Handle::try_current().map_err(|error| error.to_string())?;
        let charge = account.charge(Kind::Questions, 0);
        Ok(Self {
            authorization: authorization.transpose().map_err(|error| error.to_string())?,
            client,
            runtime,
            account: account.clone(),
            places: Semaphore::new(QUESTIONS_MAX),
            held: Mutex::new(Held { answers: Answers::new(charge), flights: HashMap::new() }),
            silence: Silence::new(table.url.host().unwrap_or_default()),
            counts: Default::default(),
            reused: AtomicU64::new(0),
            table: table.clone(),
        })
    }

    /// What the application is shown of a request; none where there is no memory for it.
    pub(super) fn show(&self, headers: &HeaderMap, carried: &Carried<'_>) -> Option<Arc<Shown>> {
        Shown::of(&self.table.headers, headers, carried, &self.account).map(Arc::new)
    }

    /// The same of a socket that has sent a token since.
    pub(super) fn show_token(&self, shown: &Arc<Shown>, token: &str) -> Option<Arc<Shown>> {
        if !self.is_shown(Way::Bearer) {
            return Some(shown.clone());
        }
        shown.with_bearer(token, &self.account).map(Arc::new)
    }

    /// Whether the application is shown what travels so.
    pub(super) fn is_shown(&self, way: Way) -> bool {
        self.shows(way.header())
    }

    /// Whether something is left out of what it is shown, as another site's page asks.
    pub(super) fn leaves_out(&self, headers: &HeaderMap, carried: &Carried<'_>) -> bool {
        let is_left_out = |name: &String| {
            let is_bearer = name == "authorization" && carried.bearer().is_some();
            shown::is_sent_by_itself(name) && headers.contains_key(name) && !is_bearer
        };
        !carried.may_use_cookie() && self.table.headers.iter().any(is_left_out)
    }

    fn shows(&self, header: &str) -> bool {
        self.table.headers.iter().any(|name| name == header)
    }

    /// What the application says, now or a while ago. May be dropped: others may wait for the same.
    pub(crate) async fn ask(self: &Arc<Self>, wish: Wish<'_>, shown: &Shown) -> Decision {
        let question = wish.hash(shown);
        let (told, begins) = {
            let mut held = self.held.lock();
            if let Some(ends) = held.answers.find(&question, Instant::now()) {
                self.reused.fetch_add(1, Relaxed);
                return Decision::Yes(ends);
            }
            match held.flights.get(&question) {
                Some(told) => {
                    self.reused.fetch_add(1, Relaxed);
                    (Some(told.clone()), None)
                }
                None => self.begin(&mut held, question, wish, shown).unzip(),
            }
        };
        let Some(mut told) = told else {
            self.count(Decision::Unanswered);
            self.silence.lasts("too many questions wait, or memory is spent");
            return Decision::Unanswered;
        };
        if let Some((flight, json)) = begins {
            self.runtime.spawn(flight.go(json));
        }
        // An error means that whoever asked is gone.
        let decision = told.wait_for(Option::is_some).await.ok().and_then(|told| *told);
        decision.unwrap_or(Decision::Unanswered)
    }

    /// What is to be asked, and where what comes of it is told; nothing where too many wait.
    fn begin(
        self: &Arc<Self>,
        held: &mut Held,
        question: Hash,
        wish: Wish<'_>,
        shown: &Shown,
    ) -> Option<(Told, (Flight, Bytes))> {
        if held.flights.len() >= QUESTIONS_MAX + QUESTIONS_WAITING_MAX {
            return None;
        }
        let Wish { verb, task, source } = wish;
        let json = json!({
            "task": task,
            "source": source,
            "verb": verb.name(),
            "headers": shown.to_json(),
        });
        let json = Bytes::from(json.to_string());
        let bytes = QUESTION_BYTES + json.len();
        let charge = self.account.reserve(Kind::Questions, bytes, Priority::Live)?;
        let (tell, told) = watch::channel(None);
        held.flights.insert(question, told.clone());
        let asker = self.clone();
        let flight = Flight { asker, question, tell, has_landed: false, _charge: charge };
        Some((told, (flight, json)))
    }

    /// Waits for the turn of a question.
    async fn place(&self) -> Result<SemaphorePermit<'_>, String> {
        let begun = Instant::now();
        // Never closed.
        let place = self.places.acquire().await.map_err(|error| error.to_string())?;
        // Of questions that are all answered too late, nobody has anything.
        if begun.elapsed() > self.table.timeout() / 2 {
            return Err("too many questions wait".to_owned());
        }
        Ok(place)
    }

    async fn said(&self, json: Bytes) -> Result<Said, String> {
        let AskTable { url, .. } = &self.table;
        let authorization = self.authorization.as_ref();
        let (status, body) = self.client.post(url, authorization, json, ANSWER_BYTES_MAX).await?;
        answer::read(status, body)
    }

    /// How long a yes counts.
    fn lasts(&self, said: Option<Duration>, random: f64) -> Duration {
        let cache = Duration::from_secs(self.table.cache_s);
        let lasts = said.map_or(cache, |said| said.min(cache));
        lasts.mul_f64(1.0 - SPREAD * random).max(LASTS_MIN)
    }

    fn count(&self, decision: Decision) {
        let at = match decision {
            Decision::Yes(_) => 0,
            Decision::No => 1,
            Decision::Unanswered => 2,
        };
        self.counts[at].fetch_add(1, Relaxed);
    }

    /// How often what came of questions.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            outcomes: std::array::from_fn(|at| self.counts[at].load(Relaxed)),
            reused: self.reused.load(Relaxed),
            waiting: self.held.lock().flights.len() as u64,
        }
    }
}

impl Flight {
    async fn go(mut self, json: Bytes) {
        let asker = self.asker.clone();
        let saying = async {
            let place = asker.place().await?;
            if self.is_abandoned() {
                return Ok(None);
            }
            let said = asker.said(json).await;
            drop(place);
            said.map(Some)
        };
        let in_time = timeout(asker.table.timeout(), saying).await;
        let late = || Err(format!("there was no answer within {} ms", asker.table.timeout_ms));
        let decision = match in_time.unwrap_or_else(|_| late()) {
            // Nobody is told.
            Ok(None) => return,
            Ok(Some(Said::Yes(lasts))) => {
                Decision::Yes(Instant::now() + asker.lasts(lasts, rand::random()))
            }
            Ok(Some(Said::No)) => Decision::No,
            Err(why) => {
                asker.silence.lasts(&why);
                Decision::Unanswered
            }
        };
        if decision != Decision::Unanswered {
            asker.silence.is_over();
        }
        asker.count(decision);
        self.land(decision);
    }

    /// Whether nobody waits for it any more. Then it is none: whoever asks from now on asks anew.
    fn is_abandoned(&mut self) -> bool {
        let mut held = self.asker.held.lock();
        // One is of those that ask the same.
        if self.tell.receiver_count() > 1 {
            return false;
        }
        held.flights.remove(&self.question);
        self.has_landed = true;
        true
    }

    /// Tells what came of it. Whoever asks from then on finds the answer, or asks anew.
    fn land(mut self, decision: Decision) {
        let asker = self.asker.clone();
        let mut held = asker.held.lock();
        if let Decision::Yes(ends) = decision {
            held.answers.add(self.question, ends, Instant::now());
        }
        held.flights.remove(&self.question);
        self.has_landed = true;
        self.tell.send_replace(Some(decision));
    }
}

/// One that never lands, as the server ends or of a fault, keeps no equal question from being asked.
impl Drop for Flight {
    fn drop(&mut self) {
        if !self.has_landed {
            self.asker.held.lock().flights.remove(&self.question);
        }
    }
}

impl<'a> Wish<'a> {
    /// To do something with a task.
    pub(crate) fn of(verb: Verb, thread: &'a ThreadId) -> Self {
        Self { verb, task: Some(thread.as_str()), source: thread.source_name() }
    }

    /// What tells the question from others.
    fn hash(&self, shown: &Shown) -> Hash {
        let mut hash = Sha256::new();
        for part in [Some(self.verb.name()), self.source, self.task] {
            // Nothing is not the same as an empty text.
            hash.update(part.map_or(u64::MAX, |part| part.len() as u64).to_be_bytes());
            hash.update(part.unwrap_or_default());
        }
        hash.update(shown.hash());
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests;
