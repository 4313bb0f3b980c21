//! What a token that is signed has to grant, read from its claims once more.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};
use taskcast::core::access::{Pass, Verb};
use taskcast::core::source::{AGENT, Definition, Source, check_name};
use taskcast::id::ThreadId;

/// The end of the year 9999: no time is later.
const SECONDS_MAX: f64 = 253_402_300_799.0;
/// The longest `sub` or `jti`.
const NAME_BYTES_MAX: usize = 1_024;

static JOBS: LazyLock<Arc<Source>> = LazyLock::new(|| {
    let (name, key) = ("jobs".to_owned(), "jobs:{queue}:{id}".to_owned());
    Arc::new(Source::new(Definition { name, key, ..Definition::default() }).unwrap())
});

/// What an issuer's claims have to have.
#[derive(Clone, Copy)]
pub struct Claims {
    pub issuer: Option<&'static str>,
    pub audience: Option<&'static str>,
    pub claim: &'static str,
    pub leeway_ms: u64,
}

/// What is granted, beside what everybody may.
#[derive(Debug, Default)]
pub struct Expected {
    pub watch: Vec<Tasks>,
    pub publish: Vec<Tasks>,
    list: bool,
    metrics: bool,
    ends_ms: Option<u64>,
    subject: Option<String>,
}

/// Tasks that are granted: of one source or of all, one id or all that begin so.
#[derive(Debug)]
pub struct Tasks {
    source: Option<String>,
    id: String,
    begins: bool,
}

impl Claims {
    /// What a token grants that is signed with this algorithm; none where it does not count.
    pub fn grant(
        self,
        algorithm: &str,
        header: &[u8],
        claims: &[u8],
        now_ms: u64,
    ) -> Option<Expected> {
        let header: Map<String, Value> = serde_json::from_slice(header).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(claims).ok()?;
        let kid_is_text = header.get("kid").is_none_or(Value::is_string);
        if header.get("alg")? != algorithm || header.contains_key("crit") || !kid_is_text {
            return None;
        }
        if self.issuer.is_some_and(|issuer| claims.get("iss").is_none_or(|iss| iss != issuer)) {
            return None;
        }
        if let Some(audience) = self.audience {
            match claims.get("aud")? {
                Value::Array(all) if all.iter().any(|one| one == audience) => {}
                one if one == audience => {}
                _ => return None,
            }
        }
        let mut times = ["exp", "nbf", "iat"].iter().map(|name| match claims.get(*name) {
            None => Some(None),
            Some(time) => time_ms(time).map(Some),
        });
        let (exp, nbf, _iat) = (times.next()??, times.next()??, times.next()??);
        let ends_ms = exp? + self.leeway_ms;
        if now_ms >= ends_ms || nbf.is_some_and(|nbf| nbf > now_ms + self.leeway_ms) {
            return None;
        }
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let subject = text("sub");
        if subject.iter().chain(&text("jti")).any(|text| text.len() > NAME_BYTES_MAX) {
            return None;
        }
        let mut expected = Expected { ends_ms: Some(ends_ms), subject, ..Expected::default() };
        if let Some(grants) = claims.get(self.claim) {
            for (verb, on) in grants.as_object()? {
                match verb.as_str() {
                    "watch" => expected.watch = all_tasks(on)?,
                    "publish" => expected.publish = all_tasks(on)?,
                    "list" => expected.list = on.as_bool()?,
                    "metrics" => expected.metrics = on.as_bool()?,
                    _ => {}
                }
            }
        }
        Some(expected)
    }
}

impl Expected {
    /// What an API key grants that is to publish these.
    pub fn of_key(name: &str, publish: &str) -> Option<Self> {
        let publish = vec![Tasks::of(publish)?];
        Some(Self { publish, subject: Some(name.to_owned()), ..Self::default() })
    }

    /// What a link grants that says this.
    pub fn of_link(said: &[u8], now_ms: u64) -> Option<Self> {
        let (ends, rest) = said.split_first_chunk()?;
        let (_id, task) = rest.split_first_chunk::<16>()?;
        let (source, id) = std::str::from_utf8(task).ok()?.split_once(':')?;
        let task = Tasks { source: Some(source.to_owned()), id: id.to_owned(), begins: false };
        let ends_ms = u64::from_be_bytes(*ends);
        let expected = Self { watch: vec![task], ends_ms: Some(ends_ms), ..Self::default() };
        (now_ms < ends_ms).then_some(expected)
    }

    /// A pass grants this and what everybody may watch, and nothing else.
    pub fn check(&self, pass: &Pass, everybody: &str) {
        assert_eq!(pass.ends_ms, self.ends_ms);
        assert_eq!(pass.subjects().map(|it| it.to_string()).next(), self.subject);
        assert_eq!(pass.grants.may_all(Verb::List), self.list);
        assert_eq!(pass.grants.may_all(Verb::Metrics), self.metrics);
        let everybody = Tasks::of(everybody);
        for task in self.probes() {
            let watch = self.watch.iter().chain(&everybody).any(|tasks| tasks.have(&task));
            assert_eq!(pass.may(Verb::Watch, &task), watch, "{task}: {pass:?}");
            let publish = self.publish.iter().any(|tasks| tasks.have(&task));
            assert_eq!(pass.may(Verb::Publish, &task), publish, "{task}: {pass:?}");
        }
    }

    /// Some tasks, those that are granted among them, and their neighbours.
    fn probes(&self) -> Vec<ThreadId> {
        let mut ids = ["t1", "open-1", "q:t1", "sre", "jobs"].map(str::to_owned).to_vec();
        for Tasks { id, .. } in self.watch.iter().chain(&self.publish) {
            let shorter = id.char_indices().next_back().map_or("", |(at, _)| &id[..at]);
            ids.extend([id.clone(), format!("{id}x"), format!("q:{id}"), shorter.to_owned()]);
        }
        let both = ids.iter().flat_map(|id| [id.parse().ok(), ThreadId::of(&JOBS, id).ok()]);
        both.flatten().collect()
    }
}

impl Tasks {
    fn of(text: &str) -> Option<Self> {
        let (source, id) = match text.split_once(':') {
            Some((source, id)) if source == AGENT || check_name(source).is_ok() => {
                (Some(source.to_owned()), id)
            }
            Some(_) => return None,
            None => (None, text),
        };
        let begins = id.ends_with('*');
        let id = if begins { &id[..id.len() - 1] } else { id };
        (begins || !id.is_empty()).then(|| Self { source, id: id.to_owned(), begins })
    }

    fn have(&self, task: &ThreadId) -> bool {
        let is_it = match self.begins {
            true => task.as_str().starts_with(&self.id),
            false => task.as_str() == self.id,
        };
        let of_source = task.source_name().unwrap_or(AGENT);
        let is_everything = self.begins && self.id.is_empty();
        // Where no source is named, an id that has a ':' is granted by what grants everything alone.
        let is_of_it = match &self.source {
            Some(source) => source == of_source,
            None => is_everything || !task.as_str().contains(':'),
        };
        is_it && is_of_it
    }
}

fn all_tasks(texts: &Value) -> Option<Vec<Tasks>> {
    texts.as_array()?.iter().map(|text| Tasks::of(text.as_str()?)).collect()
}

/// A time in milliseconds; one before 1970 is none of them.
fn time_ms(time: &Value) -> Option<u64> {
    let seconds = time.as_f64()?;
    (seconds <= SECONDS_MAX).then(|| (seconds.max(0.0) * 1000.0) as u64)
}
