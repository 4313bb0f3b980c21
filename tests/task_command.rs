//! `taskcast task …` against a real Redis: what it prints, and what it leaves there.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::process::Command;

use common::RedisServer;
use serde_json::{Value, json};
use taskcast::id::{StreamId, ThreadId};

struct Shell {
    redis: RedisServer,
}

impl Shell {
    fn new() -> Self {
        Self { redis: RedisServer::start() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskcast"));
        command.env_clear().env("REDIS_URL", self.redis.url()).args(args);
        command
    }

    /// Exit code, stdout without its newline, stderr.
    fn task(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = self.command(&[&["task"], args].concat()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// What a command prints that has to succeed.
    fn printed(&self, args: &[&str]) -> String {
        let (code, out, err) = self.task(args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        out
    }

    fn state(&self, thread: &str) -> Value {
        serde_json::from_str(&self.printed(&["show", thread])).unwrap()
    }
}

#[test]
fn a_task_is_made_and_led_to_its_end() {
    let shell = Shell::new();
    let thread = shell.printed(&[
        "new",
        "Why is the cache slow?",
        "--user-id=ada",
        "--session-id=s1",
        "--priority=-2",
        "--tag=cache",
        "--tag=slow",
        r#"--context={"host":"r1"}"#,
    ]);
    assert!(thread.parse::<ThreadId>().is_ok(), "{thread:?}");
    let state = shell.state(&thread);
    assert_eq!(state["status"], "queued");
    assert_eq!(state["metadata"]["user_id"], "ada");
    assert_eq!(state["metadata"]["priority"], -2);
    assert_eq!(state["metadata"]["tags"], json!(["cache", "slow"]));
    assert_eq!(state["context"]["host"], "r1");

    let mut last: StreamId = state["stream_id"].as_str().unwrap().parse().unwrap();
    let steps: [&[&str]; 4] = [
        &["status", &thread, "in_progress"],
        &["update", &thread, "Reading", "--type", "tool_call", "--metadata", r#"{"progress":40}"#],
        &["result", &thread, r#"{"answer":42}"#],
        &["error", &thread, "but it broke"],
    ];
    for step in steps {
        let id: StreamId = shell.printed(step).parse().unwrap();
        assert!(id > last, "{step:?}");
        last = id;
    }
    let state = shell.state(&thread);
    assert_eq!(state["stream_id"], last.to_string());
    assert_eq!(state["status"], "failed");
    assert_eq!(state["updates"][0]["message"], "Reading");
    assert_eq!(state["updates"][0]["update_type"], "tool_call");
    assert_eq!(state["updates"][0]["metadata"], json!({"progress": 40}));
    assert_eq!(state["result"], json!({"answer": 42}));
    assert_eq!(state["error_message"], "but it broke");
}

#[test]
fn what_has_a_key_is_done_once() {
    let shell = Shell::new();
    let new = || shell.printed(&["new", "q", "--idempotency-key=k"]);
    let thread = new();
    assert_eq!(new(), thread);
    let steps: [&[&str]; 4] = [
        &["status", &thread, "in_progress"],
        &["update", &thread, "Reading", "--metadata", r#"{"progress":40}"#],
        &["result", &thread, r#"{"answer":42}"#],
        &["error", &thread, "but it broke"],
    ];
    for step in steps {
        let keyed = [step, &["--idempotency-key", "k"]].concat();
        let id = shell.printed(&keyed);
        assert_eq!(shell.printed(&keyed), id, "{step:?}");
        assert!(shell.printed(step).parse::<StreamId>().unwrap() > id.parse().unwrap());
    }
    assert_eq!(shell.state(&thread)["updates"].as_array().unwrap().len(), 2);

    let other = ["update", &thread, "Writing", "--idempotency-key=k"];
    let (code, _, err) = shell.task(&other);
    assert!(code == Some(1) && err.contains("idempotency key"), "{err}");
    for key in ["", "a b", "é", &"x".repeat(256)] {
        let (code, _, err) = shell.task(&["update", &thread, "m", "--idempotency-key", key]);
        assert!(code == Some(2) && err.contains("visible ASCII"), "{err}");
    }
}

#[test]
fn what_cannot_be_done_says_why() {
    let shell = Shell::new();
    let (code, out, err) = shell.task(&["update", "nobody", "hello"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("Thread not found") && err.contains("task new"), "{err}");

    for args in [
        ["update", "t", "m", "--metadata", "[1]"],
        ["update", "t", "m", "--metadata", "{"],
        ["new", "q", "--context", "1", "--tag=x"],
    ] {
        let (code, _, err) = shell.task(&args);
        assert_eq!(code, Some(2), "{args:?}: {err}");
    }
    let (code, _, err) = shell.task(&["result", "t", "not json"]);
    assert!(code == Some(2) && err.contains("JSON"), "{err}");
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let shell = Shell::new();
    for args in [&["--help"][..], &["serve", "--print-config"], &["task", "new", "q"]] {
        let output = shell.command(args).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("cannot write the output"), "{args:?}: {stderr}");

        // A reader who has gone.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = shell.command(args).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]), "{args:?}");
    }
}

#[test]
fn the_keys_follow_prefix_and_template() {
    let shell = Shell::new();
    let keys = ["--key-prefix=acme", "--stream-key-template={prefix}:s:{thread_id}"];
    let thread = shell.printed(&["new", "q", keys[0], keys[1]]);
    assert_eq!(shell.task(&["show", &thread]).0, Some(1));
    let shown = shell.printed(&["show", &thread, keys[0], keys[1]]);
    assert!(shown.contains("queued"), "{shown}");
}

#[test]
fn what_redis_holds_controls_no_terminal() {
    let shell = Shell::new();
    let thread = shell.printed(&["new", "q"]);
    // C0 and C1, the marks that turn the reading direction; raw in JSON, in a text, and between
    // the values of what is passed on byte for byte.
    let hostile: String = (0..0x20)
        .chain(0x7f..0xa0)
        .chain([0x61c, 0x200e, 0x200f])
        .chain(0x202a..=0x202e)
        .chain(0x2066..=0x2069)
        .filter_map(char::from_u32)
        .collect();
    let in_json: String = hostile.chars().filter(|c| *c >= ' ').collect();
    let set = |key: &str, value: &str| {
        let key = format!("sre:thread:{thread}:{key}");
        let port = shell.redis.port.to_string();
        let done = Command::new("redis-cli").args(["-p", &port, "SET", &key, value]).output();
        assert!(done.unwrap().status.success());
    };
    // An argument of a command cannot hold NUL.
    let text: String = hostile.chars().skip(1).collect();
    set("status", &text);
    set("error", &text);
    set("result", &format!("{{\"a\":\r\t\n[\"{in_json}\"]}}"));
    let shown = shell.printed(&["show", &thread]);
    let bad = |c: &char| *c != '\n' && (c.is_control() || in_json.contains(*c));
    assert_eq!(shown.chars().find(bad), None, "{shown:?}");
    let state: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(state["status"], text);
    assert_eq!(state["error_message"], text);
    assert_eq!(state["result"]["a"][0], in_json);
}
