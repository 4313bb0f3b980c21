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
        _ if head.derived.is_some_and(|derived| derived.get() == "true") => Kind::Derived,
        _ if head.update_type.is_none() && head.error.is_some() => Kind::Error,
        _ => Kind::Other,
    }
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
