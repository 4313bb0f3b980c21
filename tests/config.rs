//! Configuration and exit codes as a user meets them: the binary, its files, its environment.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use taskcast::config::{Config, TailMode, reference};

/// The binary with an environment of its own.
fn taskcast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskcast"));
    command.env_clear().args(args);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the binary runs")
}

/// A configuration file; the name keeps tests that run at once apart.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the file is written");
    path
}

/// What `--print-config` says for these arguments and variables.
fn printed(args: &[&str], variables: &[(&str, &str)]) -> toml::Table {
    let output = run(taskcast(&["serve", "--print-config"]).args(args).envs(variables.to_vec()));
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8").parse().expect("TOML")
}

/// Asserts that the command ends with this exit code, and that its message has these parts.
fn assert_fails(output: &Output, code: i32, parts: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[test]
fn sources_are_read_shown_and_wrong_with_their_line() {
    let text = "workers = 1\n\n[[source]]\nname = \"jobs\"\nkey = \"jobs:{id}\"\n\
                end = [{ path = \"state\", in = [\"done\"] }]\n";
    let path = file("sources.toml", text);
    let path = path.to_str().expect("UTF-8");
    let shown = printed(&["--config", path], &[]);
    assert_eq!(shown["source"], text.parse::<toml::Table>().expect("TOML")["source"]);
    let wrong = file("wrong-sources.toml", &text.replace("{id}", "{id"));
    let wrong = wrong.to_str().expect("UTF-8");
    let output = run(&mut taskcast(&["serve", "--print-config", "--config", wrong]));
    let line = format!("{wrong}, line 5: source \"jobs\": key must have each");
    assert_fails(&output, 2, &[&line]);
    let output = run(&mut taskcast(&["serve", "--print-config", "--set", "source=jobs"]));
    assert_fails(&output, 2, &["unknown key source", "[[source]]"]);
}

#[test]
fn flags_go_over_environment_over_file_over_defaults() {
    let path = file(
        "precedence.toml",
        "workers = 2\ndrain_seconds = 2\nflush_interval_ms = 2\n\n[limits]\npage_entries_max = 2\n",
    );
    let path = path.to_str().expect("UTF-8");
    let config = printed(
        &["--config", path, "--flush-interval-ms", "4", "--set", "limits.close_timeout_ms=4"],
        &[
            ("TASKCAST_DRAIN_SECONDS", "3"),
            ("TASKCAST_FLUSH_INTERVAL_MS", "3"),
            ("TASKCAST_LIMITS_CLOSE_TIMEOUT_MS", "3"),
            ("REDIS_URL", "redis://other:1/2"),
        ],
    );
    assert_eq!(config["workers"].as_integer(), Some(2));
    assert_eq!(config["drain_seconds"].as_integer(), Some(3));
    assert_eq!(config["flush_interval_ms"].as_integer(), Some(4));
    assert_eq!(config["redis"].as_str(), Some("redis://other:1/2"));
    assert_eq!(config["listen"].as_str(), Some("127.0.0.1:8000"));
    assert_eq!(config["limits"]["page_entries_max"].as_integer(), Some(2));
    assert_eq!(config["limits"]["close_timeout_ms"].as_integer(), Some(4));
    assert_eq!(config["limits"]["ping_interval_ms"].as_integer(), Some(30_000));
}

#[test]
fn rust_log_gives_way_to_our_own_variable_and_to_the_flag() {
    fn level(args: &[&str], variables: &[(&str, &str)]) -> Option<String> {
        printed(args, variables)["log_level"].as_str().map(str::to_owned)
    }
    let ours = ("TASKCAST_LOG_LEVEL", "debug");
    assert_eq!(level(&[], &[("RUST_LOG", "warn")]).as_deref(), Some("warn"));
    assert_eq!(level(&[], &[("RUST_LOG", "warn"), ours]).as_deref(), Some("debug"));
    assert_eq!(level(&["--log-level", "error"], &[ours]).as_deref(), Some("error"));
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let path = file("unknown.toml", "\nworkers = 1\n[limits]\nping_interval = 5\n");
    let output = run(taskcast(&["serve", "--config"]).arg(&path));
    assert_fails(
        &output,
        2,
        &["unknown.toml, line 4", "limits.ping_interval;", "ping_interval_ms"],
    );

    let path = file("table.toml", "[limit]\nping_interval_ms = 5\n");
    let output = run(taskcast(&["serve", "--config"]).arg(&path));
    assert_fails(&output, 2, &["table.toml, line 2", "limit.ping_interval_ms", "[limits]"]);

    let output = run(taskcast(&["serve"]).env("TASKCAST_WORKER", "1"));
    assert_fails(&output, 2, &["TASKCAST_WORKER", "unknown key worker", "workers"]);

    let output = run(&mut taskcast(&["serve", "--set", "limits.x=1"]));
    assert_fails(&output, 2, &["--set", "unknown key limits.x"]);
}

#[test]
fn a_bad_value_is_named_with_its_key_and_what_is_allowed() {
    for (line, parts) in [
        ("workers = 0", ["workers = \"0\"", "whole number from 1 to 1024"]),
        ("workers = -1", ["workers = \"-1\"", "whole number"]),
        ("workers = [1]", ["workers", "one value, not a list"]),
        ("embedded = 1", ["embedded = \"1\"", "true or false"]),
        ("listen = \"localhost\"", ["listen = \"localhost\"", "127.0.0.1:8000"]),
        ("redis = \"http://h\"", ["redis = \"http://h\"", "redis+sentinel://"]),
        ("redis = \"redis+sentinel://a:1\"", ["redis = ", "name the master"]),
        ("tail = \"poll\"", ["tail = \"poll\"", "auto, tracking, block"]),
        ("log_level = \"verbose\"", ["log_level = \"verbose\"", "off, error, warn"]),
        ("key_prefix = \"a b\"", ["key_prefix = \"a b\"", "without spaces"]),
        ("stream_key_template = \"s\"", ["line 1", "{thread_id} exactly once"]),
        ("cors_origins = [\"a.example\"]", ["cors_origins", "https://tasks.example"]),
        ("limits.page_bytes_max = 0", ["limits.page_bytes_max = \"0\"", "from 1024"]),
        ("limits.sweep_interval_ms = 1e3", ["limits.sweep_interval_ms", "whole number"]),
        ("redis = \"redis://h\"\nembedded = true", ["line 1", "exclude each other"]),
        ("workers =", ["bad_", "is not TOML"]),
    ] {
        let name = format!("bad_{}.toml", line.len());
        let output = run(taskcast(&["serve", "--config"]).arg(file(&name, line)));
        assert_fails(&output, 2, &parts);
    }
    let output = run(taskcast(&["serve"]).env("TASKCAST_IO_URING", "yes"));
    assert_fails(&output, 2, &["environment variable TASKCAST_IO_URING", "auto, on, off"]);
    let output = run(&mut taskcast(&["serve", "--drain-seconds", "forever"]));
    assert_fails(&output, 2, &["--drain-seconds", "whole number from 0 to 3600"]);
}

#[test]
fn limits_that_contradict_each_other_are_named_with_both_places() {
    let path = file("relation.toml", "[limits]\nviewer_timeout_ms = 500\n");
    let output =
        run(taskcast(&["serve", "--set", "limits.ping_interval_ms=500", "--config"]).arg(&path));
    assert_fails(
        &output,
        2,
        &[
            "limits.ping_interval_ms = 500 (--set)",
            "must be less than",
            "limits.viewer_timeout_ms = 500",
            "relation.toml, line 2",
        ],
    );
}

#[test]
fn the_log_that_was_named_last_is_used() {
    let embedded = ["--set", "embedded=true"];
    let url = [("REDIS_URL", "redis://h")];
    assert_eq!(printed(&embedded, &url)["embedded"].as_bool(), Some(true));
    assert!(!printed(&embedded, &url).contains_key("redis"));

    let path = file("embedded.toml", "embedded = true\n");
    let path = path.to_str().expect("UTF-8");
    assert_eq!(printed(&["--config", path], &[])["embedded"].as_bool(), Some(true));
    assert_eq!(printed(&["--config", path], &url)["redis"].as_str(), Some("redis://h"));

    let output = run(&mut taskcast(&["serve", "--embedded", "--redis", "redis://h"]));
    assert_fails(&output, 2, &["--embedded", "cannot be used with", "--redis"]);
}

#[test]
fn a_printed_configuration_reads_back_as_the_same() {
    let args = [
        "--listen=[::]:9000",
        "--redis=redis://h:1/2",
        "--workers=3",
        "--log-format=json",
        "--log-level=info,taskcast=debug",
        "--diagnostics",
        "--io-uring=off",
        "--tail=block",
        "--key-prefix=acme",
        "--stream-key-template={thread_id}:{prefix}\"s",
        "--drain-seconds=0",
        "--flush-interval-ms=25",
        "--cors-origin=https://A.example:8443",
        "--cors-origin=*",
        "--set=limits.viewer_lag_max_entries=7",
    ];
    let first = run(taskcast(&["serve", "--print-config"]).args(args));
    let path = file("printed.toml", &String::from_utf8_lossy(&first.stdout));
    let second = run(taskcast(&["serve", "--print-config", "--config"]).arg(&path));
    assert!(second.status.success(), "{second:?}");
    assert_eq!(first.stdout, second.stdout);

    let config = Config::load(Some(&path), [], Vec::new()).expect("valid");
    assert_eq!((config.workers, config.tail, config.diagnostics), (3, TailMode::Block, true));
    assert_eq!(config.keys.stream(&"t".parse().expect("valid")), "t:acme\"s");
    assert_eq!(config.cors_origins, ["https://a.example:8443", "*"]);
    assert_eq!(config.limits.viewer_lag_max_entries, 7);
}

/// The URLs are wrong each in its own way; what is between them is where one may be written.
#[test]
fn a_password_is_never_printed() {
    for url in ["redis://user:secret@h/0", "unix:///s?user=user&pass=secret"] {
        let output = run(taskcast(&["serve", "--print-config"]).env("REDIS_URL", url));
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("***") && !text.contains("secret"), "{text}");
    }
    let output = run(taskcast(&["serve"]).env("REDIS_URL", "redis://user:secret@h/x"));
    assert_fails(&output, 2, &["REDIS_URL", "user:***@h"]);

    let urls = [
        "redis://user:secret@h/x",
        "redis://user:p/secret@h/x",
        "redis://user:p?secret#@h:port",
        "redis://user:secret",
        "redis://user%3Asecret@h/x",
        "unix:///s?db=x&pass=secret",
        "redis+sentinel://user:secret@h:1",
        "http://user:secret@h",
        "user:secret@h",
    ];
    for (n, url) in urls.iter().enumerate() {
        let files = [
            format!("redis = \"{url}\""),
            format!("redis = {url}"),
            format!("redis = \"{url}"),
            format!("workers = 1\nredis \"{url}\""),
            format!("\"{url}\" = 1"),
            format!("[\"{url}\"]\nworkers = 1"),
            format!("[limits]\n\"{url}\" = 1"),
            format!("listen = \"{url}\""),
            format!("redis = [\"{url}\"]"),
            format!("redis = {{ url = \"{url}\" }}"),
            format!("cors_origins = [\"{url}\"]"),
            format!("key_prefix = \"{url} \""),
            format!("redis = \"redis://h\"\nredis = \"{url}\""),
        ];
        let mut commands: Vec<Command> = Vec::new();
        for (m, text) in files.iter().enumerate() {
            let mut command = taskcast(&["serve", "--config"]);
            command.arg(file(&format!("password_{n}_{m}.toml"), text));
            commands.push(command);
        }
        for args in [
            &["serve", "--redis", url][..],
            &["serve", "--redis", url, "--redis", url],
            &["serve", &format!("--redis={url}"), "--no-such-flag"],
            &["serve", url],
            &["serve", "--set", url],
            &["serve", "--set", &format!("redis={url}")],
            &["serve", "--set", &format!("{url}=1")],
            &["serve", "--listen", url],
            &["serve", "--log-format", url],
            &["serve", &format!("--tail={url}")],
            &["serve", "--config", url],
            &["demo", "--redis", url],
            &["task", "show", "t", "--redis", url],
            &["task", "show", url],
            &["watch", "t", url],
            &["watch", "t", "--url", url],
        ] {
            commands.push(taskcast(args));
        }
        for name in ["REDIS_URL", "TASKCAST_REDIS", "TASKCAST_LISTEN", "TASKCAST_REDIS_PASSWORD"] {
            let mut command = taskcast(&["serve"]);
            command.env(name, url);
            commands.push(command);
        }
        for command in &mut commands {
            let output = run(command);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command:?}: {text}");
            assert!(!text.contains("secret"), "{command:?}: {text}");
        }
    }
}

#[test]
fn a_printed_configuration_does_not_pass_its_mask_off_as_a_password() {
    for url in ["redis://user:secret@h/0", "unix:///s?user=user&pass=secret"] {
        let printed = run(taskcast(&["serve", "--print-config"]).env("REDIS_URL", url));
        let path = file("masked.toml", &String::from_utf8_lossy(&printed.stdout));
        let output = run(taskcast(&["serve", "--config"]).arg(&path));
        assert_fails(&output, 2, &["masked.toml, line ", "redis = ", "--print-config"]);
    }
}

#[test]
fn a_key_that_is_gone_is_warned_about_and_ignored() {
    let path = file("gone.toml", "[limits]\noutbox_bytes_max = 7\n");
    let path = path.to_str().expect("UTF-8");
    let args = ["--config", path, "--set", "limits.topics_bytes_max=no number"];
    let variables = [("TASKCAST_LIMITS_TOPICS_BYTES_MAX", "1"), ("RUST_LOG", "info")];
    let output = run(taskcast(&["serve", "--print-config"]).args(args).envs(variables.to_vec()));
    let warnings = [
        "gone.toml, line 2: limits.outbox_bytes_max",
        "limits.unsent_bytes_max",
        "environment variable TASKCAST_LIMITS_TOPICS_BYTES_MAX: limits.topics_bytes_max",
        "--set: limits.topics_bytes_max",
        "limits.memory_bytes_max",
    ];
    assert_fails(&output, 0, &warnings);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(!printed.contains("outbox_bytes_max") && !printed.contains("topics_bytes_max"));

    let (mut child, lines) = serving(&args);
    assert!(lines.iter().any(|line| line.contains("limits.outbox_bytes_max")), "{lines:?}");
    signal(&child, "TERM");
    assert_eq!(child.wait().expect("ended").code(), Some(0));
}

#[test]
fn the_demo_listens_where_the_environment_says() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(taskcast(&["demo"]).env("TASKCAST_LISTEN", &address));
    assert_fails(&output, 4, &[&address]);
}

#[test]
fn the_help_names_every_flag_and_exit_code() {
    let help = run(&mut taskcast(&["serve", "--help"])).stdout;
    let help = String::from_utf8(help).expect("UTF-8");
    let flags = reference()
        .lines()
        .filter_map(|row| row.split_once("`--")?.1.split_once('`'))
        .map(|(flag, _)| format!("--{flag} "))
        .collect::<Vec<_>>();
    assert!(flags.len() > 10, "{flags:?}");
    for part in flags.iter().map(String::as_str).chain(["70 a part", "SIGHUP"]) {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    assert_eq!(run(&mut taskcast(&["--help"])).status.code(), Some(0));
    assert_eq!(run(&mut taskcast(&["serve", "--port", "1"])).status.code(), Some(2));
    assert_eq!(run(&mut taskcast(&["task", "show", "no such id"])).status.code(), Some(2));
    assert_eq!(run(&mut taskcast(&["task", "status", "t", "paused"])).status.code(), Some(2));

    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let url = format!("redis://{nobody}");
    let output = run(taskcast(&["task", "show", "t"]).env("REDIS_URL", &url));
    assert_fails(&output, 3, &["cannot be used", &url, "--redis"]);

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&mut taskcast(&["serve", "--embedded", "--listen", &address]));
    assert_fails(&output, 4, &[&address, "--listen"]);
}

/// A server that is up, and its log up to then: the rest goes on being read.
fn serving(args: &[&str]) -> (Child, Vec<String>) {
    let mut child = taskcast(&["serve", "--embedded", "--listen", "127.0.0.1:0"])
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut told = Vec::new();
    for line in lines.by_ref().map_while(Result::ok) {
        told.push(line);
        if told.last().is_some_and(|line| line.contains("listening")) {
            break;
        }
    }
    assert!(told.iter().any(|line| line.contains("listening")), "{told:?}");
    std::thread::spawn(move || lines.for_each(drop));
    (child, told)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn a_signal_ends_the_server_well() {
    for name in ["TERM", "INT", "HUP", "QUIT"] {
        let (mut child, _) = serving(&["--drain-seconds", "1", "--log-format", "json"]);
        signal(&child, name);
        assert_eq!(child.wait().expect("ended").code(), Some(0), "SIG{name}");
    }
}
