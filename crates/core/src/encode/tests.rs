//! Any fields, any bytes: the frames are whole, and the JSON says what went in.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn account() -> Account {
    Account::new(1 << 30)
}

fn thread() -> ThreadId {
    "t1".parse().unwrap()
}

fn entry(ms: u64, fields: &[(&str, &str)]) -> Entry {
    Entry {
        id: StreamId { ms, seq: 0 },
        fields: fields
            .iter()
            .map(|(name, value)| {
                (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
            })
            .collect(),
    }
}

/// Cuts a buffer of unmasked text frames into payloads.
fn payloads(mut bytes: &[u8]) -> Vec<String> {
    let mut payloads = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[0], 0x81);
        let (len, header) = match bytes[1] {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (u64::from_be_bytes(bytes[2..10].try_into().unwrap()) as usize, 10),
            len => (usize::from(len), 2),
        };
        payloads.push(String::from_utf8(bytes[header..header + len].to_vec()).unwrap());
        bytes = &bytes[header + len..];
    }
    payloads
}

fn encode_one(fields: &[(&str, &str)]) -> String {
    let chunks = entries(&account(), &thread(), StreamId::ZERO, &[entry(5, fields)]);
    payloads(&chunks[0].bytes).remove(0)
}

#[test]
fn an_entry_keeps_its_order_and_gains_its_place() {
    let text = encode_one(&[("b", "1E400"), ("status", "1"), ("a", " [1 ]"), ("message", "null")]);
    assert_eq!(
        text,
        r#"{"b":1E400,"status":"1","a": [1 ],"message":"null","stream_id":"5-0","prev_stream_id":"0-0","thread_id":"t1","timestamp":"1970-01-01T00:00:00.005+00:00"}"#
    );
}

#[test]
fn what_a_publisher_says_of_itself_stays_but_for_its_place() {
    let text = encode_one(&[
        ("stream_id", "9-9"),
        ("thread_id", "other"),
        ("prev_stream_id", "8-8"),
        ("timestamp", "then"),
    ]);
    assert_eq!(
        text,
        r#"{"thread_id":"other","timestamp":"then","stream_id":"5-0","prev_stream_id":"0-0"}"#
    );
}

#[test]
fn a_name_that_repeats_keeps_its_first_place_and_last_value() {
    let text = encode_one(&[("a", "1"), ("timestamp", "x"), ("thread_id", "t"), ("a", "2")]);
    assert!(text.starts_with(r#"{"a":2,"timestamp":"x","#), "{text}");
    let many: Vec<(String, String)> =
        (0..40).map(|n| (format!("f{}", n % 20), n.to_string())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let text = encode_one(&many);
    assert!(text.starts_with(r#"{"f0":20,"f1":21,"#), "{text}");
    assert_eq!(text.matches("\"f0\"").count(), 1);
}

#[test]
fn units_end_where_frames_end_and_chunks_follow_each_other() {
    let big = "x".repeat(100_000);
    let many: Vec<Entry> = (1..=10).map(|ms| entry(ms, &[("message", &big)])).collect();
    let chunks = entries(&account(), &thread(), StreamId::ZERO, &many);
    assert!(chunks.len() > 1);
    let mut after = StreamId::ZERO;
    for chunk in &chunks {
        assert_eq!(chunk.after, after);
        assert_eq!(chunk.units.last().unwrap().end, chunk.bytes.len());
        let mut start = 0;
        for unit in &chunk.units {
            let payloads = payloads(&chunk.bytes[start..unit.end]);
            assert_eq!(payloads.len(), 1);
            let json: Value = serde_json::from_str(&payloads[0]).unwrap();
            assert_eq!(json["stream_id"], unit.position.to_string());
            assert_eq!(json["prev_stream_id"], after.to_string());
            assert_eq!(chunk.offset_after(unit.position), Some(unit.end));
            assert_eq!(chunk.unit_at(start).unwrap().1, *unit);
            after = unit.position;
            start = unit.end;
        }
    }
    assert_eq!(after, StreamId { ms: 10, seq: 0 });
}

#[test]
fn an_initial_state_has_the_newest_ten_and_its_layouts_members() {
    let state = State {
        status: Some("done".into()),
        updates: (0..12).map(|n| Bytes::from(format!("{{\"message\":\"{n}\"}}"))).collect(),
        updates_total: 12,
        result: Some("{\"a\":1}".into()),
        ..State::default()
    };
    let mut out = BytesMut::new();
    put_initial_state(&mut out, &thread(), StreamId { ms: 7, seq: 1 }, &state, 0);
    assert_eq!(
        payloads(&out)[0],
        concat!(
            r#"{"update_type":"initial_state","thread_id":"t1","status":"done","updates":["#,
            r#"{"message":"2"},{"message":"3"},{"message":"4"},{"message":"5"},{"message":"6"},"#,
            r#"{"message":"7"},{"message":"8"},{"message":"9"},{"message":"10"},{"message":"11"}],"#,
            r#""updates_total":12,"result":{"a":1},"error_message":null,"stream_id":"7-1","#,
            r#""timestamp":"1970-01-01T00:00:00.000+00:00"}"#
        )
    );
    let state = State {
        task: Some(crate::state::TaskPart {
            task_id: "k1".into(),
            metadata: vec![
                ("pending_approval".into(), "".into()),
                ("resume_supported".into(), "true".into()),
            ],
        }),
        ..State::default()
    };
    let mut out = BytesMut::new();
    put_initial_state(&mut out, &thread(), StreamId::ZERO, &state, 0);
    let json: Value = serde_json::from_str(&payloads(&out)[0]).unwrap();
    assert_eq!(json["task_id"], "k1");
    assert_eq!(json["resume_supported"], true);
    assert_eq!(json["pending_approval"], Value::Null);
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<String>().prop_map(String::into_bytes),
        "[\\[{\"0-9a,:}\\]]{0,12}".prop_map(String::into_bytes),
        Just(b"{\"a\":[1,2]}".to_vec()),
    ]
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any_bytes(),
        prop::sample::select(&TEXT_MEMBERS[..]).prop_map(|name| name.as_bytes().to_vec()),
        Just(b"stream_id".to_vec()),
    ]
}

proptest! {
    #[test]
    fn any_entry_becomes_one_valid_frame_that_says_what_went_in(
        fields in prop::collection::vec((any_name(), any_bytes()), 0..24),
        size in prop::sample::select(&[0usize, 100, 126, 70_000][..]),
    ) {
        let mut fields: Vec<(Bytes, Bytes)> =
            fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        fields.push(("filler".into(), "x".repeat(size).into()));
        let entry = Entry { id: StreamId { ms: 5, seq: 6 }, fields };
        let chunks = entries(&account(), &thread(), StreamId { ms: 1, seq: 0 }, std::slice::from_ref(&entry));
        let payloads = payloads(&chunks[0].bytes);
        prop_assert_eq!(payloads.len(), 1);
        let json: serde_json::Map<String, Value> = serde_json::from_str(&payloads[0]).unwrap();
        prop_assert_eq!(&json["stream_id"], "5-6");
        prop_assert_eq!(&json["prev_stream_id"], "1-0");
        let mut expected = HashMap::new();
        for (name, value) in &entry.fields {
            expected.insert(String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        }
        for (name, value) in expected {
            match name.as_ref() {
                "stream_id" | "prev_stream_id" => {}
                name if TEXT_MEMBERS.contains(&name) => {
                    prop_assert_eq!(&json[name], value.as_ref());
                }
                name => {
                    let parsed = serde_json::from_str::<Value>(&value);
                    let wanted = parsed.unwrap_or_else(|_| Value::String(value.into_owned()));
                    prop_assert_eq!(&json[name], &wanted);
                }
            }
        }
    }
}

fn derived(update: &str) -> String {
    let mut out = BytesMut::new();
    put_derived_update(&mut out, &thread(), StreamId { ms: 7, seq: 1 }, update.as_bytes());
    payloads(&out).remove(0)
}

#[test]
fn an_update_without_an_entry_keeps_its_members_and_gains_the_viewers_place() {
    assert_eq!(
        derived(
            r#"{"timestamp": "then", "message":"\u00e4", "update_type":"progress", "metadata": {"a": 1E400 }}"#
        ),
        r#"{"update_type":"thread_update","thread_id":"t1","timestamp":"then","message":"\u00e4","type":"progress","metadata":{"a": 1E400 },"derived":true,"stream_id":"7-1"}"#
    );
}

#[test]
fn what_an_update_says_of_its_place_and_kind_is_ours() {
    assert_eq!(
        derived(
            r#"{"stream_id":"9-9","prev_stream_id":1,"derived":false,"thread_id":[],"type":"own","update_type":"x","a":1,"a":2}"#
        ),
        r#"{"update_type":"thread_update","thread_id":"t1","type":"own","a":2,"derived":true,"stream_id":"7-1"}"#
    );
}

#[test]
fn an_update_of_any_form_is_told() {
    for (update, data) in [("[1]", "[1]"), ("not json", "\"not json\""), ("", "\"\"")] {
        assert_eq!(
            derived(update),
            format!(
                r#"{{"update_type":"thread_update","thread_id":"t1","data":{data},"derived":true,"stream_id":"7-1"}}"#
            )
        );
    }
    let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(derived(&deep).contains("\"a\":[[["));
}

proptest! {
    #[test]
    fn a_derived_frame_is_whole_whatever_the_update(
        update in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..64),
            r#"\{("[a\\"u]{0,4}":[0-9a{}\[\]"]{0,4},?){0,4}\}"#.prop_map(String::into_bytes),
        ]
    ) {
        let mut out = BytesMut::new();
        put_derived_update(&mut out, &thread(), StreamId { ms: 7, seq: 1 }, &update);
        let payloads = payloads(&out);
        prop_assert_eq!(payloads.len(), 1);
        let frame: Value = serde_json::from_str(&payloads[0]).unwrap();
        prop_assert_eq!(&frame["stream_id"], "7-1");
        prop_assert_eq!(&frame["derived"], true);
        prop_assert_eq!(&frame["update_type"], "thread_update");
    }
}

#[test]
fn a_frame_behind_another_entry_is_the_same_but_for_that() {
    let account = account();
    let nested = r#"{"prev_stream_id":"3-0"}"#;
    for message in [String::new(), "x".repeat(200), "x".repeat(70_000)] {
        for fields in [
            vec![("message", message.as_str()), ("metadata", nested)],
            vec![
                ("thread_id", "t9"),
                ("message", r#""prev_stream_id":"3-0""#),
                ("timestamp", "now"),
            ],
        ] {
            let of = |after| {
                let chunks = entries(&account, &thread(), after, &[entry(5, &fields)]);
                chunks[0].bytes.clone()
            };
            let (before, other) = (StreamId { ms: 3, seq: 0 }, StreamId { ms: 4_000_000, seq: 77 });
            assert_eq!(with_other_previous(&of(before), before, other), Some(of(other)));
            assert_eq!(with_other_previous(&of(other), other, before), Some(of(before)));
            assert_eq!(with_other_previous(&of(other), before, other), None);
        }
    }
    for no_frame in [&b""[..], b"\x81", b"\x81\x05", b"<entry>"] {
        assert_eq!(with_other_previous(no_frame, StreamId::ZERO, StreamId::MAX), None);
    }
}
