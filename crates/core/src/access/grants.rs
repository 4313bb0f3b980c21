//! Grants: verbs on tasks. A task is an id, `prefix*` or `*`, of every source; with a source before a
//! `:`, of that one (protocol §5).

use std::fmt;

use crate::id::ThreadId;
use crate::source::{AGENT, check_name};

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// To attach to a task, and to read its state and its stream.
    Watch,
    /// To write to a task.
    Publish,
    /// To see which tasks there are.
    List,
    /// To see what the server measures.
    Metrics,
}

/// Verbs in the order in which they are named.
const VERBS: [Verb; 4] = [Verb::Watch, Verb::Publish, Verb::List, Verb::Metrics];

/// What somebody may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    watch: Vec<Tasks>,
    publish: Vec<Tasks>,
    list: bool,
    metrics: bool,
}

/// Tasks, as a grant names them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tasks {
    /// None: of every source.
    source: Option<Box<str>>,
    ids: Ids,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Ids {
    /// The one with this id.
    One(Box<str>),
    /// Those whose ids begin so.
    Beginning(Box<str>),
}

/// What is no grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedGrant;

impl fmt::Display for MalformedGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a grant is watch:TASKS, publish:TASKS, list or metrics, where TASKS are an id, prefix* or *, \
             with SOURCE: before it where they are of one source",
        )
    }
}

impl std::error::Error for MalformedGrant {}

impl Verb {
    /// Its name in grants and questions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Publish => "publish",
            Self::List => "list",
            Self::Metrics => "metrics",
        }
    }

    /// The verb of that name.
    pub fn named(name: &str) -> Option<Self> {
        VERBS.into_iter().find(|verb| verb.name() == name)
    }
}

impl Grants {
    /// Everything.
    pub fn everything() -> Self {
        let all = || vec![Tasks { source: None, ids: Ids::Beginning("".into()) }];
        Self { watch: all(), publish: all(), list: true, metrics: true }
    }

    /// Adds a grant as a configuration has it: `watch:team-a*`, `list`.
    ///
    /// # Errors
    /// It is none.
    pub fn add_text(&mut self, text: &str) -> Result<(), MalformedGrant> {
        match text.split_once(':') {
            Some((verb, tasks)) => self.add_tasks(Verb::named(verb).ok_or(MalformedGrant)?, tasks),
            None => self.add_verb(Verb::named(text).ok_or(MalformedGrant)?),
        }
    }

    /// Adds a verb on tasks.
    ///
    /// # Errors
    /// It is no verb on tasks, or these are none.
    pub fn add_tasks(&mut self, verb: Verb, tasks: &str) -> Result<(), MalformedGrant> {
        let tasks = Tasks::of(tasks)?;
        match verb {
            Verb::Watch => self.watch.push(tasks),
            Verb::Publish => self.publish.push(tasks),
            Verb::List | Verb::Metrics => return Err(MalformedGrant),
        }
        Ok(())
    }

    /// To watch one task, whatever its id is made of.
    pub fn to_watch(source: Option<&str>, id: &str) -> Self {
        let task = Tasks { source: Some(source.unwrap_or(AGENT).into()), ids: Ids::One(id.into()) };
        Self { watch: vec![task], ..Self::default() }
    }

    /// Adds a verb that is not on tasks.
    ///
    /// # Errors
    /// It is on tasks.
    pub fn add_verb(&mut self, verb: Verb) -> Result<(), MalformedGrant> {
        match verb {
            Verb::List => self.list = true,
            Verb::Metrics => self.metrics = true,
            Verb::Watch | Verb::Publish => return Err(MalformedGrant),
        }
        Ok(())
    }

    /// Adds what others grant.
    pub fn add(&mut self, other: Self) {
        self.watch.extend(other.watch);
        self.publish.extend(other.publish);
        self.list |= other.list;
        self.metrics |= other.metrics;
    }

    /// Whether it grants a verb on a task.
    pub fn may(&self, verb: Verb, thread: &ThreadId) -> bool {
        self.tasks(verb).iter().any(|tasks| tasks.have(thread))
    }

    /// Whether it grants a verb that is not on a task.
    pub fn may_all(&self, verb: Verb) -> bool {
        match verb {
            Verb::List => self.list,
            Verb::Metrics => self.metrics,
            Verb::Watch | Verb::Publish => false,
        }
    }

    /// Whether it grants a verb on each of the agent's tasks, whichever there will be.
    pub fn may_every(&self, verb: Verb) -> bool {
        let is_all = |tasks: &Tasks| matches!(&tasks.ids, Ids::Beginning(it) if it.is_empty());
        let is_agents = |tasks: &Tasks| tasks.source.as_deref().is_none_or(|name| name == AGENT);
        self.tasks(verb).iter().any(|tasks| is_all(tasks) && is_agents(tasks))
    }

    /// Whether it grants a verb on any task.
    pub fn may_some(&self, verb: Verb) -> bool {
        !self.tasks(verb).is_empty()
    }

    /// What they take, about, in bytes.
    pub fn bytes_len(&self) -> usize {
        let tasks = self.watch.iter().chain(&self.publish);
        tasks.map(|tasks| size_of::<Tasks>() + tasks.text_len()).sum()
    }

    fn tasks(&self, verb: Verb) -> &[Tasks] {
        match verb {
            Verb::Watch => &self.watch,
            Verb::Publish => &self.publish,
            Verb::List | Verb::Metrics => &[],
        }
    }
}

impl Tasks {
    fn of(text: &str) -> Result<Self, MalformedGrant> {
        let (source, id) = match text.split_once(':') {
            Some((source, _)) if check_name(source).is_err() && source != AGENT => {
                return Err(MalformedGrant);
            }
            Some((source, id)) => (Some(source.into()), id),
            None => (None, text),
        };
        let ids = match id.strip_suffix('*') {
            Some(beginning) => Ids::Beginning(beginning.into()),
            None if id.is_empty() => return Err(MalformedGrant),
            None => Ids::One(id.into()),
        };
        Ok(Self { source, ids })
    }

    fn text_len(&self) -> usize {
        let (Ids::One(id) | Ids::Beginning(id)) = &self.ids;
        id.len() + self.source.as_deref().map_or(0, str::len)
    }

    fn have(&self, thread: &ThreadId) -> bool {
        let id = thread.as_str();
        let is_theirs = match &self.ids {
            Ids::One(one) => id == &**one,
            Ids::Beginning(beginning) => id.starts_with(&**beginning),
        };
        let is_all = matches!(&self.ids, Ids::Beginning(beginning) if beginning.is_empty());
        let of_source = match &self.source {
            Some(source) => thread.source_name().unwrap_or(AGENT) == &**source,
            // An id with a ':' of its own is granted only with its source.
            None => is_all || !id.contains(':'),
        };
        is_theirs && of_source
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::source::{Definition, Source};

    fn grants(texts: &[&str]) -> Grants {
        let mut grants = Grants::default();
        for text in texts {
            grants.add_text(text).unwrap();
        }
        grants
    }

    fn agents(id: &str) -> ThreadId {
        id.parse().unwrap()
    }

    fn of_source(id: &str) -> ThreadId {
        let definition = Definition {
            name: "jobs".to_owned(),
            key: "jobs:{queue}:{id}".to_owned(),
            ..Definition::default()
        };
        ThreadId::of(&Arc::new(Source::new(definition).unwrap()), id).unwrap()
    }

    #[test]
    fn tasks_are_an_id_a_prefix_or_all() {
        for (grant, yes, no) in [
            ("watch:t1", &["t1"][..], &["t", "t12", "T1"][..]),
            ("watch:team-*", &["team-", "team-7"], &["team", "xteam-7"]),
            ("watch:*", &["t1", "team-7"], &[]),
            ("watch:sre:t1", &["t1"], &["t2", "sre"]),
            ("watch:sre:*", &["t1"], &[]),
            ("watch:jobs:*", &[], &["t1", "jobs"]),
        ] {
            let grants = grants(&[grant]);
            for id in yes {
                assert!(grants.may(Verb::Watch, &agents(id)), "{grant} {id}");
                assert!(!grants.may(Verb::Publish, &agents(id)), "{grant} {id}");
            }
            for id in no {
                assert!(!grants.may(Verb::Watch, &agents(id)), "{grant} {id}");
            }
        }
    }

    #[test]
    fn a_task_of_a_source_is_granted_with_it_or_by_all() {
        let task = of_source("q:t1");
        for (grant, may) in [
            ("watch:*", true),
            ("watch:jobs:*", true),
            ("watch:jobs:q:*", true),
            ("watch:jobs:q:t1", true),
            ("watch:jobs:q", false),
            ("watch:sre:*", false),
            // What is before the first ':' is a source.
            ("watch:q:t1", false),
            ("watch:q*", false),
        ] {
            assert_eq!(grants(&[grant]).may(Verb::Watch, &task), may, "{grant}");
        }
    }

    #[test]
    fn one_task_is_no_beginning_of_others() {
        let one = Grants::to_watch(Some("jobs"), "q:t");
        assert!(
            one.may(Verb::Watch, &of_source("q:t")) && !one.may(Verb::Publish, &of_source("q:t"))
        );
        assert!(!one.may(Verb::Watch, &of_source("q:t1")));
        let agents_one = Grants::to_watch(None, "t1");
        assert!(
            agents_one.may(Verb::Watch, &agents("t1"))
                && !agents_one.may(Verb::Watch, &agents("t12"))
        );
    }

    #[test]
    fn what_several_grant_adds_up() {
        let mut sum = grants(&["watch:a", "list"]);
        sum.add(grants(&["watch:b", "publish:b", "metrics"]));
        assert!(sum.may(Verb::Watch, &agents("a")) && sum.may(Verb::Watch, &agents("b")));
        assert!(!sum.may(Verb::Publish, &agents("a")) && sum.may(Verb::Publish, &agents("b")));
        assert!(sum.may_all(Verb::List) && sum.may_all(Verb::Metrics));
        assert!(!Grants::default().may_all(Verb::List));
    }

    #[test]
    fn what_is_no_grant_is_refused() {
        for text in [
            "",
            "watch",
            "watch:",
            "watch:jobs:",
            "watch::t",
            "list:*",
            "metrics:a",
            "read:*",
            "Watch:*",
            "*",
            "watch:A b:t",
            " list",
        ] {
            assert_eq!(Grants::default().add_text(text), Err(MalformedGrant), "{text:?}");
        }
    }
}
