//! The ready mappings of docs/sources.md, each with entries of the form that its project writes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use serde_json::{Value, json};
use taskcast::config::Config;
use taskcast::core::account::Account;
use taskcast::core::encode;
use taskcast::core::form::ws;
use taskcast::core::source::Sources;
use taskcast::id::{StreamId, ThreadId};
use taskcast::log::Entry;

/// All tables of the page, as one configuration.
fn page() -> Sources {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md");
    let text = std::fs::read_to_string(path).expect("the page is there");
    let blocks = text.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let config = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sources.toml");
    std::fs::write(&config, blocks.collect::<Vec<_>>().join("\n")).expect("it is written");
    let config = Config::load(Some(&config), [], Vec::new()).expect("the page's tables hold");
    config.sources.sources
}

type Fields = &'static [(&'static str, &'static str)];

/// A stream of a source, and what comes of it: of each frame its type and some members, of an end
/// whether it is a failure.
struct Case {
    source: &'static str,
    key: &'static str,
    id: &'static str,
    entries: &'static [Fields],
    expected: Value,
}

fn cases() -> Vec<Case> {
    vec![
        Case {
            source: "autogpt",
            key: "chat:stream:0b7a",
            id: "0b7a",
            entries: &[
                &[("data", r#"{"type":"StreamTextDelta","delta":"Hi"}"#)],
                &[("data", r#"{"type":"StreamError","errorText":"no"}"#)],
            ],
            expected: json!([
                {"update_type": "StreamTextDelta", "delta": "Hi"},
                {"update_type": "StreamError", "errorText": "no"},
                {"update_type": "end", "failed": true},
            ]),
        },
        Case {
            source: "superset",
            key: "async-events-c0ffee",
            id: "c0ffee",
            entries: &[&[(
                "data",
                r#"{"channel_id":"c0ffee","job_id":"j1","status":"done","errors":[],"result_url":"/r"}"#,
            )]],
            expected: json!([{"update_type": "done", "job_id": "j1", "errors": [], "result_url": "/r"}]),
        },
        Case {
            source: "superset-all",
            key: "async-events-full",
            id: "superset-all",
            entries: &[&[("data", r#"{"channel_id":"c0ffee","job_id":"j1","status":"running"}"#)]],
            expected: json!([{"update_type": "running", "channel_id": "c0ffee"}]),
        },
        Case {
            source: "agentex",
            key: "task:t-1",
            id: "t-1",
            entries: &[
                &[("data", r#"{"type":"delta","content":"x"}"#)],
                &[("data", r#"{"type":"task_updated","task":{"id":"t-1","status":"RUNNING"}}"#)],
                &[("data", r#"{"type":"task_updated","task":{"id":"t-1","status":"COMPLETED"}}"#)],
            ],
            expected: json!([
                {"update_type": "delta", "content": "x"},
                {"update_type": "task_updated", "task": {"id": "t-1", "status": "RUNNING"}},
                {"update_type": "task_updated"},
                {"update_type": "end", "failed": false},
            ]),
        },
        Case {
            source: "lobechat",
            key: "agent_runtime_stream:op1",
            id: "op1",
            entries: &[
                &[
                    ("type", "stream_chunk"),
                    ("stepIndex", "2"),
                    ("operationId", "op1"),
                    ("data", r#"{"text":"x"}"#),
                    ("timestamp", "1718000000000"),
                ],
                &[
                    ("type", "agent_runtime_end"),
                    ("stepIndex", "3"),
                    ("operationId", "op1"),
                    ("data", "{}"),
                    ("timestamp", "1718000000001"),
                ],
            ],
            expected: json!([
                {"update_type": "stream_chunk", "stepIndex": 2, "data": {"text": "x"}, "timestamp": "1718000000000"},
                {"update_type": "agent_runtime_end"},
                {"update_type": "end", "failed": false},
            ]),
        },
        Case {
            source: "dust",
            key: "stream:message-m1",
            id: "message-m1",
            entries: &[&[("payload", r#"{"type":"generation_tokens","text":"x"}"#)]],
            expected: json!([{"update_type": "generation_tokens", "text": "x"}]),
        },
        Case {
            source: "dify",
            key: "stream:workflow:run-1",
            id: "workflow:run-1",
            entries: &[
                &[("data", r#"{"event":"node_started","data":{"id":"n"}}"#)],
                &[("data", "SIG_CLOSE")],
            ],
            expected: json!([{"update_type": "node_started", "data": {"id": "n"}}]),
        },
        Case {
            source: "letta",
            key: "sse:run:run-1",
            id: "run-1",
            entries: &[
                &[
                    ("seq_id", "1"),
                    (
                        "data",
                        "data: {\"message_type\":\"assistant_message\",\"content\":\"x\"}\n\n",
                    ),
                    ("timestamp", "1718000000"),
                ],
                &[
                    ("seq_id", "2"),
                    ("data", "data: [DONE]\n\n"),
                    ("timestamp", "1718000001"),
                    ("complete", "true"),
                ],
            ],
            expected: json!([
                {"update_type": "assistant_message", "seq_id": 1, "events": [{"data": {"message_type": "assistant_message", "content": "x"}}]},
                {"update_type": "entry", "seq_id": 2, "events": [{"data": "[DONE]"}], "complete": true},
                {"update_type": "end", "failed": false},
            ]),
        },
        Case {
            source: "tracecat",
            key: "agent-stream:w1:s1",
            id: "w1:s1",
            entries: &[&[("d", r#"{"type":"text","text":"x"}"#)], &[("d", r#"{"[TURN_END]":1}"#)]],
            expected: json!([{"update_type": "text", "text": "x"}, {"[TURN_END]": 1}, {"update_type": "end", "failed": false}]),
        },
        Case {
            source: "tracecat-sub",
            key: "agent-stream:w1:s1:x",
            id: "w1:s1:x",
            entries: &[
                &[("d", r#"{"[TURN_END]":1,"terminal":false}"#)],
                &[("d", r#"{"type":"text"}"#)],
            ],
            expected: json!([{"[TURN_END]": 1, "terminal": false}, {"update_type": "text"}]),
        },
        Case {
            source: "librechat",
            key: "stream:{c1}:chunks",
            id: "c1",
            entries: &[&[("event", r#"{"event":"on_message_delta","data":{}}"#)]],
            expected: json!([{"update_type": "on_message_delta", "event": "on_message_delta", "data": {}}]),
        },
        Case {
            source: "trigger",
            key: "stream:run_1:out",
            id: "run_1:out",
            entries: &[
                &[("clientId", "c"), ("chunkIndex", "0"), ("data", "{\"a\":1}\n{\"b\":")],
                &[("data", "<<CLOSE_STREAM>>")],
            ],
            expected: json!([
                {"events": [{"a": 1}, "{\"b\":"], "clientId": "c", "chunkIndex": 0},
                {"events": ["<<CLOSE_STREAM>>"]},
                {"update_type": "end", "failed": false},
            ]),
        },
        Case {
            source: "agno",
            key: "agno:os:events:r1:1:events",
            id: "r1",
            entries: &[
                &[
                    ("idx", "0"),
                    (
                        "sse",
                        "event: RunStarted\ndata: {\"event\":\"RunStarted\",\"run_id\":\"r1\"}\n\n",
                    ),
                ],
                &[("terminal", "completed")],
                &[("reopen", "1")],
                &[("idx", "1"), ("sse", "event: RunContent\ndata: {\"content\":\"x\"}\n\n")],
                &[("terminal", "error")],
            ],
            expected: json!([
                {"update_type": "RunStarted", "idx": 0, "events": [{"event": "RunStarted", "data": {"event": "RunStarted", "run_id": "r1"}}]},
                {"update_type": "entry", "terminal": "completed"},
                {"update_type": "RunContent", "idx": 1},
                {"update_type": "entry", "terminal": "error"},
                {"update_type": "end", "failed": true},
            ]),
        },
        Case {
            source: "upstash",
            key: "chat-1",
            id: "chat-1",
            entries: &[&[
                ("data", r#"{"text":"x"}"#),
                ("event", "chat.message"),
                ("channel", "chat-1"),
            ]],
            expected: json!([{"update_type": "chat.message", "text": "x", "channel": "chat-1"}]),
        },
        Case {
            source: "trinity",
            key: "trinity:events",
            id: "trinity",
            entries: &[&[
                ("payload", r#"{"type":"agent_started","id":5}"#),
                ("scope", "agent"),
                ("agent_name", "a"),
            ]],
            expected: json!([{"update_type": "agent_started", "id": 5, "scope": "agent", "agent_name": "a"}]),
        },
        Case {
            source: "daiv",
            key: "daiv:chat:run-events:t1:r1",
            id: "t1:r1",
            entries: &[
                &[("data", r#"{"type":"TEXT_MESSAGE_CONTENT","delta":"x"}"#)],
                &[("data", r#"{"type":"RUN_FINISHED"}"#)],
                &[("end", "1")],
            ],
            expected: json!([
                {"update_type": "TEXT_MESSAGE_CONTENT", "delta": "x"},
                {"update_type": "RUN_FINISHED"},
                {"update_type": "end", "failed": false},
                {"update_type": "entry", "end": 1},
            ]),
        },
    ]
}

fn frames(sources: &Sources, case: &Case) -> Vec<Value> {
    let thread = sources.thread(Some(case.source), case.id).expect("a task");
    let entry = |(number, fields): (usize, &Fields)| Entry {
        id: StreamId { ms: 1_718_000_000_000 + number as u64, seq: 0 },
        fields: fields
            .iter()
            .map(|(name, value)| (Bytes::from(*name), Bytes::from(*value)))
            .collect(),
    };
    let entries: Vec<Entry> = case.entries.iter().enumerate().map(entry).collect();
    let account = Account::new(1 << 30);
    let mut frames = Vec::new();
    for chunk in encode::entries(&account, &thread, StreamId::ZERO, &entries) {
        let mut rest = &chunk.bytes[..];
        while let Some((frame, behind)) = ws::first_payload(rest) {
            frames.push(serde_json::from_slice(frame).expect("JSON"));
            rest = behind;
        }
    }
    frames
}

#[test]
fn each_mapping_of_the_page_reads_what_its_project_writes() {
    let sources = page();
    for case in cases() {
        let source = sources.find(case.source).expect(case.source);
        assert_eq!(source.stream_key(case.id), case.key);
        assert_eq!(source.id_of(case.key).as_deref(), Some(case.id));
        assert!(ThreadId::of(source, case.id).is_ok());
        let frames = frames(&sources, &case);
        let expected = case.expected.as_array().expect("a list");
        assert_eq!(frames.len(), expected.len(), "{}: {frames:#?}", case.source);
        let mut previous = json!("0-0");
        for (frame, expected) in frames.iter().zip(expected) {
            for (name, value) in expected.as_object().expect("an object") {
                assert_eq!(&frame[name], value, "{}, {name}: {frame:#}", case.source);
            }
            assert_eq!(
                (&frame["source"], &frame["thread_id"]),
                (&json!(case.source), &json!(case.id))
            );
            if frame.get("derived").is_none() {
                assert_eq!(frame["prev_stream_id"], previous, "{}", case.source);
                previous = frame["stream_id"].clone();
            }
        }
    }
}

#[test]
fn each_mapping_of_the_page_has_a_case() {
    let sources = page();
    let named: BTreeSet<_> = sources.iter().map(|source| source.name().to_owned()).collect();
    let tested: BTreeSet<_> = cases().iter().map(|case| case.source.to_owned()).collect();
    assert_eq!(named, tested);
}
