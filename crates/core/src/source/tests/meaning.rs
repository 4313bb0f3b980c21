//! What entries mean: the frames that come of them.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::account::Account;
use crate::chunk::{After, Chunk};
use crate::encode;
use crate::entry::Entry;
use crate::form::ws::first_payload;
use crate::id::StreamId;

fn entry(ms: u64, fields: &[(&str, &str)]) -> Entry {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Entry {
        id: StreamId { ms, seq: 0 },
        fields: fields.iter().map(|(name, value)| (bytes(name), bytes(value))).collect(),
    }
}

fn frames(bytes: &[u8]) -> Vec<String> {
    let mut frames = Vec::new();
    let mut rest = bytes;
    while let Some((payload, behind)) = first_payload(rest) {
        frames.push(String::from_utf8(payload.to_vec()).unwrap());
        rest = behind;
    }
    frames
}

fn chunks(source: &Arc<Source>, after: impl Into<After>, entries: &[Entry]) -> Vec<Arc<Chunk>> {
    let thread = ThreadId::of(source, "t1").unwrap();
    encode::entries(&Account::new(1 << 30), &thread, after, entries)
}

fn encoded(source: &Arc<Source>, fields: &[(&str, &str)]) -> Vec<String> {
    frames(&chunks(source, StreamId::ZERO, &[entry(5, fields)])[0].bytes)
}

const OURS: &str = r#""stream_id":"5-0","prev_stream_id":"0-0","thread_id":"t1","source":"jobs""#;
const TIME: &str = r#""timestamp":"1970-01-01T00:00:00.005+00:00""#;

#[test]
fn fields_are_members_as_the_agents_are() {
    let fields = source(Definition { types: vec!["type".into()], ..definition(Form::Fields, "") });
    let told =
        encoded(&fields, &[("type", "7"), ("n", "1E400"), ("stream_id", "9-9"), ("source", "x")]);
    assert_eq!(told, [format!(r#"{{"type":"7","n":1E400,"update_type":"7",{OURS},{TIME}}}"#)]);
    let own = [("update_type", "x"), ("timestamp", "now"), ("derived", "true"), ("thread_id", "y")];
    let told = encoded(&fields, &own);
    assert_eq!(told, [format!(r#"{{"update_type":"x","timestamp":"now",{OURS}}}"#)]);
    assert_eq!(encoded(&fields, &[]), [format!(r#"{{"update_type":"entry",{OURS},{TIME}}}"#)]);
}

#[test]
fn an_objects_members_keep_their_bytes_but_for_ours() {
    let json = source(definition(Form::Json, "data"));
    let data = " {\"a\" : 1.0 ,\"thread_id\":5,\"stream\\u005fid\":[{}], \"b\":{ \"c\":\"\\u00e9\" }\t, \"derived\":true,\"n\":null}";
    let told = encoded(&json, &[("data", data), ("b", "5"), ("more", "[1 ]")]);
    let kept = "\"a\" : 1.0,\"b\":{ \"c\":\"\\u00e9\" },\"n\":null";
    assert_eq!(told, [format!(r#"{{{kept},"more":[1 ],"update_type":"entry",{OURS},{TIME}}}"#)]);
    let told = encoded(&json, &[("data", r#"{"update_type":5,"timestamp":1}"#)]);
    assert_eq!(told, [format!(r#"{{"update_type":5,"timestamp":1,{OURS}}}"#)]);
    assert_eq!(
        encoded(&json, &[("data", "{}")]),
        [format!(r#"{{"update_type":"entry",{OURS},{TIME}}}"#)]
    );
}

#[test]
fn what_is_no_object_is_data() {
    let told = |form, value| {
        let frame = encoded(&source(definition(form, "p")), &[("data", "lost"), ("p", value)]);
        serde_json::from_str::<Value>(&frame[0]).unwrap()["data"].clone()
    };
    assert_eq!(told(Form::Json, "[1]"), json!([1]));
    assert_eq!(told(Form::Json, "7"), json!(7));
    assert_eq!(told(Form::Json, "{\"a\":1"), json!("{\"a\":1"));
    assert_eq!(told(Form::Text, "{}"), json!("{}"));
    assert_eq!(told(Form::Base64, "a\n\u{1}"), json!("YQoB"));
    let json = source(definition(Form::Json, "p"));
    let without = encoded(&json, &[("data", "5"), ("terminal", "done")]);
    let expected = format!(r#"{{"data":5,"terminal":"done","update_type":"entry",{OURS},{TIME}}}"#);
    assert_eq!(without, [expected]);
}

#[test]
fn lines_and_events_are_a_list() {
    let lines = source(definition(Form::Ndjson, "p"));
    let told = encoded(&lines, &[("p", "{\"a\": 1}\r\n\n oops\n7\n")]);
    assert_eq!(
        told,
        [format!(r#"{{"events":[{{"a": 1}},"oops",7],"update_type":"entry",{OURS},{TIME}}}"#)]
    );
    let sse = source(definition(Form::Sse, "p"));
    let told = encoded(
        &sse,
        &[("p", "event: a\ndata: {\"x\":\ndata: 1}\n\ndata: [DONE]\n\n"), ("seq", "3")],
    );
    let events = "{\"event\":\"a\",\"data\":{\"x\":\n1}},{\"data\":\"[DONE]\"}";
    assert_eq!(
        told,
        [format!(r#"{{"events":[{events}],"seq":3,"update_type":"entry",{OURS},{TIME}}}"#)]
    );
}

#[test]
fn the_first_path_that_there_is_gives_the_type() {
    let types = vec!["event".into(), "a.b".into(), "type".into()];
    let of = |form| source(Definition { types: types.clone(), ..definition(form, "p") });
    let told = |form, fields: &[(&str, &str)]| {
        let frame = encoded(&of(form), fields);
        serde_json::from_str::<Value>(&frame[0]).unwrap()["update_type"].clone()
    };
    assert_eq!(told(Form::Json, &[("p", r#"{"type":"x"}"#)]), "x");
    assert_eq!(told(Form::Json, &[("p", r#"{"type":"x","a":{"b":"\u0041"}}"#)]), "A");
    assert_eq!(told(Form::Json, &[("p", r#"{"type":"x","event":null,"a":{"b":[]}}"#)]), "x");
    assert_eq!(told(Form::Json, &[("p", "{}"), ("type", "of the field")]), "of the field");
    assert_eq!(told(Form::Json, &[("p", "{}"), ("a", r#"{"b":5}"#)]), "5");
    assert_eq!(told(Form::Json, &[("p", r#"{"x":1}"#)]), "entry");
    assert_eq!(told(Form::Sse, &[("p", "data: {\"type\":\"x\"}\n\nevent: y\ndata: 1\n\n")]), "y");
    assert_eq!(told(Form::Sse, &[("p", "event: y\ndata: {\"event\":\"z\"}\n\n")]), "z");
    assert_eq!(told(Form::Ndjson, &[("p", "1\n{\"type\":\"x\"}\n{\"type\":\"y\"}")]), "x");
    assert_eq!(told(Form::Fields, &[("type", "x"), ("event", "e")]), "e");
    let long = "x".repeat(300);
    assert_eq!(told(Form::Fields, &[("type", &long)]), "entry");
}

fn meaning(form: Form, fields: &[(&str, &str)]) -> (bool, Option<bool>) {
    let source = source(Definition {
        skip: vec![Rule::Has("reopen".into()), is("kind", &["heartbeat", "7"])],
        end: vec![
            Rule::Has("terminal".into()),
            is("data.status", &["done", "error"]),
            is("status", &["done", "error"]),
            Rule::Text("[DONE]".into()),
        ]
        .into_iter()
        .filter(|rule| form != Form::Fields || !matches!(rule, Rule::Text(_)))
        .collect(),
        failed: vec![is("status", &["error"]), is("data.status", &["error"])],
        ..definition(form, "p")
    });
    let entry = entry(5, fields);
    let meaning = source.meaning(&entry);
    (meaning.skipped, meaning.end.map(|end| end.failed))
}

#[test]
fn rules_look_into_fields_payloads_lines_and_events() {
    let (sent, skipped) = ((false, None), (true, None));
    let (done, failed) = ((false, Some(false)), (false, Some(true)));
    for (form, fields, expected) in [
        (Form::Json, &[("p", "{\"a\":1}")][..], sent),
        (Form::Json, &[("reopen", "1")], skipped),
        (Form::Json, &[("p", r#"{"reopen":false}"#)], skipped),
        (Form::Json, &[("p", r#"{"kind":"heartbeat"}"#)], skipped),
        (Form::Json, &[("p", r#"{"kind":7}"#)], skipped),
        (Form::Json, &[("p", r#"{"kind":7.0}"#)], sent),
        (Form::Json, &[("p", "{}"), ("kind", "heartbeat")], skipped),
        (Form::Json, &[("p", r#"{"kind":7,"status":"done"}"#)], skipped),
        (Form::Json, &[("p", r#"{"status":"done"}"#)], done),
        (Form::Json, &[("p", r#"{"status" : "\u0064one" }"#)], done),
        (Form::Json, &[("p", r#"{"data":{"status":"error"}}"#)], failed),
        (Form::Json, &[("p", r#"{"status":"running","status":"done"}"#)], done),
        (Form::Json, &[("p", r#"{"status":"done""#)], sent),
        (Form::Json, &[("p", "[\"status\"]")], sent),
        (Form::Json, &[("p", "[DONE]")], done),
        (Form::Json, &[("terminal", "failed")], done),
        (Form::Text, &[("p", "[DONE]")], done),
        (Form::Text, &[("p", "[DONE] ")], sent),
        (Form::Base64, &[("p", "[DONE]")], done),
        (Form::Ndjson, &[("p", "{\"kind\":7}\n{\"status\":\"done\"}\n")], done),
        (Form::Ndjson, &[("p", "{\"kind\":7}\n{\"kind\":7}\n")], skipped),
        (Form::Ndjson, &[("p", "\n"), ("reopen", "1")], skipped),
        (Form::Sse, &[("p", "data: [DONE]\n\n")], done),
        (Form::Sse, &[("p", "event: x\ndata: {\"status\":\"error\"}\n\n: bye\n")], failed),
        (Form::Sse, &[("p", ": ping\n\n")], sent),
        (Form::Fields, &[("status", "error")], failed),
        (Form::Fields, &[("data", r#"{"status":"done"}"#)], done),
        (Form::Fields, &[("data", "status")], sent),
        (Form::Fields, &[], sent),
    ] {
        assert_eq!(meaning(form, fields), expected, "{form:?} {fields:?}");
    }
}

#[test]
fn a_skipped_entry_has_no_frame_and_the_chain_does_not_name_it() {
    let skips =
        source(Definition { skip: vec![Rule::Has("skip".into())], ..definition(Form::Fields, "") });
    let entries = [
        entry(1, &[("skip", "1")]),
        entry(2, &[("a", "1")]),
        entry(3, &[("skip", "1")]),
        entry(4, &[("skip", "1")]),
        entry(5, &[("a", "2")]),
        entry(6, &[("skip", "1")]),
    ];
    let id = |ms| StreamId { ms, seq: 0 };
    let after = After { position: id(0), sent: StreamId::ZERO };
    let chunk = &chunks(&skips, after, &entries)[0];
    let told: Vec<Value> =
        frames(&chunk.bytes).iter().map(|frame| serde_json::from_str(frame).unwrap()).collect();
    let chain: Vec<_> = told.iter().map(|it| (&it["prev_stream_id"], &it["stream_id"])).collect();
    assert_eq!(chain, [(&json!("0-0"), &json!("2-0")), (&json!("2-0"), &json!("5-0"))]);
    assert_eq!((chunk.units.len(), chunk.last(), chunk.last_sent()), (6, id(6), id(5)));
    let middle = chunk.units[1].end;
    let places = [(0, Some(0)), (2, Some(middle)), (5, Some(chunk.bytes.len()))];
    for (sent, place) in places {
        let position = if sent == 0 { StreamId::ZERO } else { id(sent) };
        assert_eq!(chunk.offset_after(position), place, "{sent}");
    }
    for skipped in [1, 3, 4, 6] {
        assert_eq!(chunk.offset_after(id(skipped)), None, "{skipped}");
    }
    assert_eq!(chunk.sent_before(0), Some(StreamId::ZERO));
    assert_eq!(chunk.sent_before(middle), Some(id(2)));
    assert_eq!(chunk.sent_before(middle - 1), None);
    assert_eq!([0, middle, chunk.bytes.len()].map(|at| chunk.entries_from(at)), [6, 4, 1]);
    assert_eq!((0..7).map(|it| chunk.frames_from(it)).collect::<Vec<_>>(), [2, 2, 1, 1, 1, 0, 0]);
}

#[test]
fn an_end_is_told_behind_its_entry_unless_it_is_taken_back_at_once() {
    let ends = |end_only_if_last| {
        source(Definition {
            end: vec![Rule::Has("end".into())],
            failed: vec![Rule::Has("failed".into())],
            end_only_if_last,
            ..definition(Form::Fields, "")
        })
    };
    let entries = [entry(5, &[("end", "1"), ("failed", "1")]), entry(6, &[("a", "1")])];
    let end = r#"{"update_type":"end","thread_id":"t1","source":"jobs","stream_id":"5-0","failed":true,"derived":true}"#;
    let chunk = &chunks(&ends(false), StreamId::ZERO, &entries)[0];
    assert_eq!(frames(&chunk.bytes)[1], end);
    assert_eq!(chunk.ended.map(|ended| (ended.behind, ended.end.failed)), Some((1, true)));
    let other = encode::with_other_previous(
        &chunk.bytes[..chunk.units[0].end],
        StreamId::ZERO,
        StreamId { ms: 3, seq: 3 },
    );
    let other = frames(&other.unwrap());
    assert!(other[0].contains(r#""prev_stream_id":"3-3""#) && other[1] == end, "{other:?}");
    let last = ends(true);
    assert_eq!(frames(&chunks(&last, StreamId::ZERO, &entries)[0].bytes).len(), 2);
    assert_eq!(frames(&chunks(&last, StreamId::ZERO, &entries[..1])[0].bytes)[1], end);
    assert_eq!(last.last_end(&entries), None);
    assert_eq!(ends(false).last_end(&entries), Some((0, End { failed: true })));
    let mut many = vec![entry(5, &[("end", "1")])];
    many.extend((6..55).map(|ms| entry(ms, &[])));
    assert_eq!(ends(false).last_end(&many), Some((0, End { failed: false })));
    many.push(entry(99, &[]));
    assert_eq!(ends(false).last_end(&many), None);
}

proptest! {
    #[test]
    fn whatever_an_entry_holds_a_frame_is_one_json_object(
        number in 0..6_usize,
        value in r#"[\[\]{}:, 1.e"\\unul\n:adtevns]{0,32}"#,
        raw in any::<Vec<u8>>(),
    ) {
        let form = Form::NAMES[number].1;
        let source = source(Definition {
            types: vec!["event".into(), "a.n".into()],
            skip: vec![is("u", &["1"])],
            end: vec![Rule::Has("e".into())],
            ..definition(form, "p")
        });
        for payload in [Bytes::from(value), Bytes::from(raw)] {
            let mut entry = entry(5, &[("n", "1")]);
            entry.fields.push((Bytes::from_static(b"p"), payload));
            let chunk = &chunks(&source, StreamId::ZERO, &[entry])[0];
            for frame in frames(&chunk.bytes) {
                let told: Value = serde_json::from_str(&frame).unwrap();
                prop_assert_eq!(&told["source"], "jobs");
                prop_assert_eq!(&told["stream_id"], "5-0");
            }
        }
    }
}
