//! What a message of a viewer says, if it is one of those that mean something.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::id::ThreadId;
use crate::since::Since;
use crate::source::{AGENT, NoThread, Sources};

/// A message that means something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Ping,
    Subscribe { task: Given<'a>, since: Option<Result<Since, ()>> },
    Unsubscribe { task: Given<'a> },
    Auth { token: Cow<'a, str> },
}

/// A task as it was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given<'a> {
    /// Empty where there is none.
    pub(super) id: Cow<'a, str>,
    /// Empty where it is no text.
    source: Option<Cow<'a, str>>,
}

impl Given<'_> {
    /// The task, if there can be such a one.
    pub(super) fn thread(&self, sources: &Sources) -> Result<ThreadId, NoThread> {
        sources.thread(self.source.as_deref(), &self.id)
    }

    /// The source, where it is not the agent's.
    pub(super) fn other_source(&self) -> Option<&str> {
        self.source.as_deref().filter(|name| *name != AGENT)
    }
}

/// What a text says; nothing where it is none of ours.
pub(super) fn of(text: &str) -> Option<Request<'_>> {
    // What is no object need not be parsed.
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let Members { kind, thread, source, since, token } = serde_json::from_str(text).ok()?;
    let task = || Given {
        id: thread.text().unwrap_or_default(),
        source: match source {
            Value::Nothing => None,
            source => Some(source.text().unwrap_or_default()),
        },
    };
    Some(match kind.text()?.as_ref() {
        "ping" => Request::Ping,
        "subscribe" => {
            let since = match since {
                Value::Nothing => None,
                Value::Text(text) => Some(text.parse().map_err(|_| ())),
                Value::Other => Some(Err(())),
            };
            Request::Subscribe { task: task(), since }
        }
        "unsubscribe" => Request::Unsubscribe { task: task() },
        // What is no text is a token that does not count, not none.
        "auth" => Request::Auth { token: token.text().unwrap_or_default() },
        _ => return None,
    })
}

/// The members that we know. Where one repeats, the last counts.
#[derive(Default)]
struct Members<'a> {
    kind: Value<'a>,
    thread: Value<'a>,
    source: Value<'a>,
    since: Value<'a>,
    token: Value<'a>,
}

#[derive(Default)]
enum Value<'a> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    Other,
}

impl<'a> Value<'a> {
    fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            Self::Nothing | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Members::default();
        while let Some(Value::Text(name)) = map.next_key()? {
            match name.as_ref() {
                "type" => members.kind = map.next_value()?,
                "thread_id" => members.thread = map.next_value()?,
                "source" => members.source = map.next_value()?,
                "since" => members.since = map.next_value()?,
                "token" => members.token = map.next_value()?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(members)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::owed::JSON_PONG;
    use crate::form::ws::{self, Opcode};
    use crate::id::StreamId;

    #[test]
    fn the_pong_is_a_whole_frame() {
        assert_eq!(JSON_PONG, ws::whole(Opcode::Text, b"{\"type\":\"pong\"}"));
    }

    #[test]
    fn what_is_no_message_of_ours_means_nothing() {
        for text in [
            "",
            "ping",
            "[]",
            "{}",
            "{\"type\":1}",
            "{\"type\":\"pang\"}",
            "{",
            "null",
            "1",
            "{\"type\":\"ping\"",
            "{\"type\":\"ping\"} x",
            "{\"type\":null}",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn members_of_any_type_are_understood() {
        let task = |id: &'static str| Given { id: Cow::Borrowed(id), source: None };
        let subscribe = |id, since| Some(Request::Subscribe { task: task(id), since });
        let five = Since::After(StreamId { ms: 5, seq: 0 });
        for (text, message) in [
            (" {\"type\":\"ping\",\"x\":[{\"y\":[[1]]}]}", Some(Request::Ping)),
            ("{\"type\":\"pang\",\"type\":\"p\\u0069ng\"}", Some(Request::Ping)),
            ("{\"type\":\"subscribe\",\"thread_id\":\"a\"}", subscribe("a", None)),
            ("{\"type\":\"subscribe\"}", subscribe("", None)),
            ("{\"type\":\"subscribe\",\"thread_id\":{\"a\":1}}", subscribe("", None)),
            ("{\"type\":\"subscribe\",\"thread_id\":\"a\",\"since\":null}", subscribe("a", None)),
            (
                "{\"type\":\"subscribe\",\"thread_id\":\"a\",\"since\":\"5\"}",
                subscribe("a", Some(Ok(five))),
            ),
            ("{\"since\":[5],\"type\":\"subscribe\"}", subscribe("", Some(Err(())))),
            ("{\"since\":-1e9,\"type\":\"subscribe\"}", subscribe("", Some(Err(())))),
            (
                "{\"type\":\"unsubscribe\",\"thread_id\":\"a\"}",
                Some(Request::Unsubscribe { task: task("a") }),
            ),
            (
                "{\"source\":\"agno\",\"type\":\"unsubscribe\",\"thread_id\":\"a\"}",
                Some(Request::Unsubscribe {
                    task: Given { source: Some(Cow::Borrowed("agno")), ..task("a") },
                }),
            ),
            (
                "{\"source\":1,\"type\":\"unsubscribe\"}",
                Some(Request::Unsubscribe {
                    task: Given { source: Some(Cow::Borrowed("")), ..task("") },
                }),
            ),
        ] {
            assert_eq!(of(text), message, "{text}");
        }
        let deep =
            format!("{{\"type\":\"ping\",\"x\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert_eq!(of(&deep), Some(Request::Ping));
    }
}
