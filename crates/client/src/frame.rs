//! What a frame says about itself: the members that carry the protocol, in borrowed form.
//!
//! A task's own values are hostile: they may hold text that looks like a member, or name a member
//! twice. So the frame is read as JSON, and of several members with one name the last one counts,
//! which is the server's. Values that nobody asked for are skipped, however deep they go.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use taskcast_core::id::StreamId;

/// The members of a frame that matter to a viewer's position, as they stand in its text.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    update_type: Option<&'a RawValue>,
    stream_id: Option<&'a RawValue>,
    prev_stream_id: Option<&'a RawValue>,
    requested: Option<&'a RawValue>,
    first: Option<&'a RawValue>,
    last: Option<&'a RawValue>,
    reason: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    derived: Option<&'a RawValue>,
    status: Option<&'a RawValue>,
    task_id: Option<&'a RawValue>,
    failed: Option<&'a RawValue>,
}

impl Head<'_> {
    /// Of a frame; without members if it is no object.
    pub(super) fn of(frame: &str) -> Head<'_> {
        serde_json::from_str(frame).unwrap_or_default()
    }

    /// The task that the frame is about, of those of its thread.
    pub(super) fn task_id(&self) -> Option<String> {
        words(self.task_id)
    }

    /// The status that the frame tells.
    pub(super) fn status(&self) -> Option<String> {
        words(self.status)
    }

    /// Whether it tells that the status is another one.
    pub(super) fn changes_status(&self) -> bool {
        text(self.update_type).as_deref() == Some("status_change")
    }
}

/// The kinds of frames (protocol §3). What is no JSON object is `Other`.
#[derive(Debug)]
pub(super) enum Kind<'a> {
    Initial {
        stream_id: Option<StreamId>,
    },
    Entry {
        stream_id: Option<StreamId>,
        prev_stream_id: Option<StreamId>,
    },
    CaughtUp {
        stream_id: Option<StreamId>,
    },
    Gap {
        requested: Option<StreamId>,
        first: Option<StreamId>,
        last: Option<StreamId>,
        reason: Cow<'a, str>,
    },
    Derived,
    End {
        failed: bool,
    },
    Error,
    Other,
}

/// Tells what a frame is.
///
/// Only entries have a `prev_stream_id`; looking for it first keeps a publisher from passing off
/// an entry of its own as the server's `gap` or `initial_state`.
pub(super) fn kind(frame: &[u8]) -> Kind<'_> {
    let Ok(head) = serde_json::from_slice::<Head<'_>>(frame) else { return Kind::Other };
    let stream_id = id(head.stream_id);
    if head.prev_stream_id.is_some() {
        return Kind::Entry { stream_id, prev_stream_id: id(head.prev_stream_id) };
    }
    match text(head.update_type).as_deref() {
        Some("initial_state") => Kind::Initial { stream_id },
        Some("caught_up") => Kind::CaughtUp { stream_id },
        Some("gap") => Kind::Gap {
            requested: id(head.requested),
            first: id(head.first),
            last: id(head.last),
            reason: text(head.reason).unwrap_or_default(),
        },
        Some("end") if is_true(head.derived) => Kind::End { failed: is_true(head.failed) },
        _ if is_true(head.derived) => Kind::Derived,
        _ if head.update_type.is_none() && is_unknown(head.error) => Kind::Error,
        _ => Kind::Other,
    }
}

/// What happened, where an entry tells several things: those of NDJSON and of server-sent events, as their
/// source describes them. Empty where it is one thing, the frame itself.
pub fn events(frame: &str) -> Vec<&RawValue> {
    #[derive(serde::Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        events: Vec<&'a RawValue>,
    }
    serde_json::from_str(frame).map(|members: Members<'_>| members.events).unwrap_or_default()
}

/// Whether it says that there is no such task. What else is wrong, the Close behind it says.
fn is_unknown(error: Option<&RawValue>) -> bool {
    matches!(text(error).as_deref(), Some("Thread not found" | "Invalid thread id"))
}

fn is_true(member: Option<&RawValue>) -> bool {
    member.is_some_and(|value| value.get() == "true")
}

fn id(member: Option<&RawValue>) -> Option<StreamId> {
    text(member)?.parse().ok()
}

/// The text of a member that is a JSON string; nothing for one of another type.
fn text(member: Option<&RawValue>) -> Option<Cow<'_, str>> {
    let json = member?.get();
    let plain = json.strip_prefix('"')?.strip_suffix('"')?;
    if plain.contains('\\') {
        serde_json::from_str(json).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(plain))
    }
}

/// A member as text, whatever its type: the content of a string, the JSON of anything else. None if it is
/// null or empty.
fn words(member: Option<&RawValue>) -> Option<String> {
    let json = member.map(RawValue::get).filter(|json| *json != "null")?;
    let words = text(member).map_or_else(|| json.to_owned(), Cow::into_owned);
    (!words.is_empty()).then_some(words)
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    UpdateType,
    StreamId,
    PrevStreamId,
    Requested,
    First,
    Last,
    Reason,
    Error,
    Derived,
    Status,
    TaskId,
    Failed,
    #[serde(other)]
    Other,
}

// By hand because the derived form refuses a member that comes twice.
impl<'de> Deserialize<'de> for Head<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Head<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
                let mut head = Head::default();
                while let Some(name) = map.next_key()? {
                    let member = match name {
                        Name::UpdateType => &mut head.update_type,
                        Name::StreamId => &mut head.stream_id,
                        Name::PrevStreamId => &mut head.prev_stream_id,
                        Name::Requested => &mut head.requested,
                        Name::First => &mut head.first,
                        Name::Last => &mut head.last,
                        Name::Reason => &mut head.reason,
                        Name::Error => &mut head.error,
                        Name::Derived => &mut head.derived,
                        Name::Status => &mut head.status,
                        Name::TaskId => &mut head.task_id,
                        Name::Failed => &mut head.failed,
                        Name::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *member = Some(map.next_value()?);
                }
                Ok(head)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(frame: &str) -> Option<(StreamId, StreamId)> {
        match kind(frame.as_bytes()) {
            Kind::Entry { stream_id, prev_stream_id } => stream_id.zip(prev_stream_id),
            _ => None,
        }
    }

    #[test]
    fn an_entry_is_known_by_its_prev_stream_id_whatever_it_calls_itself() {
        let ids = Some((StreamId { ms: 7, seq: 1 }, StreamId { ms: 7, seq: 0 }));
        for own in [
            r#""update_type":"thread_update""#,
            r#""update_type":"gap","reason":"trimmed","first":"1-0","last":"2-0""#,
            r#""update_type":"initial_state","updates":[]"#,
            r#""error":"Thread not found""#,
            r#""update_type":7,"update_type":null"#,
            r#""message":"\"stream_id\":\"9-9\",\"prev_stream_id\":\"9-8\"""#,
            r#""stream_id":"9-9","prev_stream_id":"9-8""#,
            r#""metadata":{"stream_id":"9-9","prev_stream_id":"9-8"}"#,
            r#""stre\u0061m_id":{"a":[]}"#,
        ] {
            let frame =
                format!(r#"{{{own},"stream_id":"7-1","prev_stream_id":"7-0","thread_id":"t"}}"#);
            assert_eq!(entry(&frame), ids, "{frame}");
        }
    }

    #[test]
    fn a_value_may_be_nested_deeper_than_a_parser_would_go() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let frame = format!(r#"{{"metadata":{deep},"stream_id":"7-1","prev_stream_id":"7-0"}}"#);
        assert!(entry(&frame).is_some());
    }

    #[test]
    fn a_derived_frame_is_no_entry_and_an_entry_is_not_derived() {
        let frame =
            r#"{"update_type":"thread_update","error":"x","derived":true,"stream_id":"7-1"}"#;
        assert!(matches!(kind(frame.as_bytes()), Kind::Derived));
        assert!(matches!(kind(frame.replace("true", "\"true\"").as_bytes()), Kind::Other));
        assert!(entry(&frame.replace('}', r#","prev_stream_id":"7-0"}"#)).is_some());
    }

    #[test]
    fn only_the_server_ends_a_task() {
        let end = r#"{"update_type":"end","failed":true,"derived":true,"stream_id":"7-1"}"#;
        assert!(matches!(kind(end.as_bytes()), Kind::End { failed: true }));
        let done = end.replace("\"failed\":true", "\"failed\":\"true\"");
        assert!(matches!(kind(done.as_bytes()), Kind::End { failed: false }));
        assert!(entry(&end.replace('}', r#","prev_stream_id":"7-0"}"#)).is_some());
    }

    #[test]
    fn an_entry_of_several_events_has_each_of_them() {
        let frame = r#"{"update_type":"entry","events":[{"a":1},"two",null],"stream_id":"7-1"}"#;
        let events: Vec<_> = events(frame).iter().map(|event| event.get()).collect();
        assert_eq!(events, [r#"{"a":1}"#, "\"two\"", "null"]);
        for none in ["", "[]", r#"{"events":7}"#, r#"{"event":[1]}"#] {
            assert!(super::events(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn frames_without_a_position_are_told_apart() {
        assert!(matches!(kind(br#"{"type":"pong"}"#), Kind::Other));
        assert!(matches!(kind(br#"{"error":"Thread not found","thread_id":"t"}"#), Kind::Error));
        assert!(matches!(
            kind(br#"{"update_type":"initial_state","stream_id":"0-0"}"#),
            Kind::Initial { stream_id: Some(StreamId::ZERO) }
        ));
        assert!(matches!(
            kind(br#"{"update_type":"caught_up","stream_id":7}"#),
            Kind::CaughtUp { stream_id: None }
        ));
        for odd in ["", "null", "[]", "{", "\"stream_id\"", "{\"stream_id\":}", "\u{1b}"] {
            assert!(matches!(kind(odd.as_bytes()), Kind::Other), "{odd:?}");
        }
    }
}
