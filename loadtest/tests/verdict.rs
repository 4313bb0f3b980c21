//! The harness must notice what a server does wrong: it is run against a small relay that does one
//! thing wrong on purpose.

#![allow(clippy::expect_used, reason = "a test ends with the first thing that fails")]

mod relay;

use redis::Commands;
use relay::{Fault, Redis, free_port, start_relay};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Runs `hot` with three viewers and twenty updates.
fn run(fault: Fault) -> (Option<i32>, String) {
    let redis = Redis::start();
    let url = format!("http://127.0.0.1:{}", start_relay(&redis, fault));
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["hot", "--url", &url, "--redis", &redis.url])
        .args(["--viewers", "3", "--rate", "40", "--seconds", "0.5"])
        .output()
        .expect("the harness runs");
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code(), said)
}

/// What is said of the viewers has the words, and what is said of the witness, its words.
fn expect_fault(fault: Fault, words: &[&str], of_witness: &str) {
    let (code, said) = run(fault);
    assert_eq!(code, Some(1), "{said}");
    let line = |who| said.lines().find(|line| line.starts_with(who)).expect("a verdict");
    let of_viewers = line("  server: WRONG");
    assert!(words.iter().all(|word| of_viewers.contains(word)), "{said}");
    assert!(line("  witness: ").contains(of_witness), "{said}");
}

/// The witness comes back for what it did not get, but knows that something was left out.
const MENDED: &str = "WRONG: 4 broken chains (20 deliveries expected); reconnects: 4, gaps: 0";
const FINE: &str = "every update once and in order (20 deliveries expected)";

#[test]
fn a_faultless_server_passes() {
    let (code, said) = run(Fault::None);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("every update once and in order (60 deliveries expected)"), "{said}");
    assert!(said.contains(&format!("witness: {FINE}; reconnects: 0, gaps: 0\n")), "{said}");
}

#[test]
fn a_missing_update_is_found() {
    expect_fault(Fault::Leaves, &["3 missing", "3 broken chains"], MENDED);
}

#[test]
fn a_repeated_update_is_found() {
    expect_fault(Fault::Repeats, &["3 repeated"], FINE);
}

#[test]
fn a_wrong_order_is_found() {
    expect_fault(Fault::SwapsWithNext, &["3 out of order"], MENDED);
}

#[test]
fn a_broken_chain_is_found() {
    expect_fault(Fault::Misnames, &["3 broken chains"], MENDED);
}

#[test]
fn a_lost_connection_is_found() {
    let mended = format!("{FINE}; reconnects: 4, gaps: 0");
    expect_fault(Fault::HangsUp, &["48 missing", "3 connections lost"], &mended);
}

#[test]
fn a_gap_is_found_by_the_witness_that_came_back() {
    let lost = "WRONG: 4 missing, 4 gaps (20 deliveries expected); reconnects: 4, gaps: 4";
    expect_fault(Fault::Forgets, &["48 missing", "3 connections lost"], lost);
}

#[test]
fn a_started_server_gets_the_environment_without_the_variables_that_it_may_refuse() {
    let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prints-environment");
    std::fs::write(&script, "#!/bin/sh\nenv | grep -E '^(TASKCAST_|KEPT)'\n").expect("written");
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("executable");
    let redis = Redis::start();
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["hot", "--redis", &redis.url, "--server-bin"])
        .arg(&script)
        .envs([("TASKCAST_SEED", "7"), ("KEPT", "yes")])
        .output()
        .expect("the harness runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("KEPT=yes") && !said.contains("TASKCAST_"), "{said}");
}

#[test]
fn ctrl_c_ends_a_run_with_what_it_has() {
    let redis = Redis::start();
    let url = format!("http://127.0.0.1:{}", start_relay(&redis, Fault::None));
    let process = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["churn", "--url", &url, "--redis", &redis.url, "--viewers", "10"])
        .args(["--connects", "20000", "--connect-rate", "50"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the harness runs");
    // Viewers come and go by now; where they do not yet, the end must come all the same.
    std::thread::sleep(Duration::from_secs(8));
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("a signal");
    let Output { status, stdout, stderr } = process.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&stdout);
    let progress = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(progress.contains(" s  churn "), "no progress where there is no terminal: {progress}");
    assert!(said.contains("note: stopped before the end, as asked"), "{said}");
    let came = said.lines().find(|line| line.contains("viewers who came and went"));
    let came = came.and_then(|line| line.split_whitespace().last());
    assert_ne!(came, Some("20,000"), "{said}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let redis = Redis::start();
    let url = format!("http://127.0.0.1:{}", free_port());
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["hot", "--url", &url, "--redis", &redis.url, "--viewers", "3"])
        .output()
        .expect("the harness runs");
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("cannot connect: Connection refused"), "{said}");
}

/// A long run of `hot` against the relay, with its reports in a directory of its own.
struct LongRun {
    redis: Redis,
    process: Child,
    reports: PathBuf,
}

impl LongRun {
    /// Waits until updates flow.
    fn start(name: &str, fault: Fault) -> Self {
        let redis = Redis::start();
        let url = format!("http://127.0.0.1:{}", start_relay(&redis, fault));
        let reports = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&reports);
        std::fs::create_dir_all(reports.join("tmp")).expect("a directory");
        let process = Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args(["hot", "--url", &url, "--redis", &redis.url, "--viewers", "3"])
            .args(["--rate", "40", "--seconds", "600", "--json"])
            .arg(reports.join("json"))
            .arg("--html")
            .arg(reports.join("html"))
            .env("TMPDIR", reports.join("tmp"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the harness runs");
        let run = Self { redis, process, reports };
        let deadline = Instant::now() + Duration::from_secs(60);
        while run.updates() < 20 {
            assert!(Instant::now() < deadline, "no updates flow");
            std::thread::sleep(Duration::from_millis(20));
        }
        run
    }

    fn updates(&self) -> u64 {
        let mut redis = self.redis.connect().expect("Redis");
        let keys: Vec<String> = redis.keys("sre:stream:task:*").expect("the streams");
        keys.iter().map(|key| redis.xlen::<_, u64>(key).expect("a length")).sum()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// The exit code, the table, the JSON and the page.
    fn end(self) -> (Option<i32>, [String; 3]) {
        let Output { status, stdout, .. } = self.process.wait_with_output().expect("an end");
        let read = |name| std::fs::read_to_string(self.reports.join(name)).expect("a report");
        let table = String::from_utf8_lossy(&stdout).into_owned();
        (status.code(), [table, read("json"), read("html")])
    }
}

#[test]
fn an_interrupted_run_does_not_say_that_every_update_came() {
    let run = LongRun::start("cut", Fault::None);
    run.signal(rustix::process::Signal::TERM);
    let (code, said) = run.end();
    assert_eq!(code, Some(0), "{said:?}");
    for text in &said {
        assert!(text.contains("interrupted") && !text.contains("every update once"), "{text}");
    }
    let [table, json, page] = said;
    for text in [&table, &page] {
        assert!(text.contains("server: interrupted: nothing wrong in the "), "{text}");
        assert!(text.contains("witness: interrupted: nothing wrong in the "), "{text}");
    }
    assert!(json.contains("\"end\": \"interrupted\""), "{json}");
}

#[test]
fn what_was_wrong_before_an_interruption_is_still_wrong() {
    let run = LongRun::start("cut-and-wrong", Fault::Repeats);
    run.signal(rustix::process::Signal::INT);
    let (code, [table, ..]) = run.end();
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("server: WRONG, and interrupted: 3 repeated"), "{table}");
}

#[test]
fn figures_of_a_run_that_breaks_off_are_kept() {
    let mut run = LongRun::start("failed", Fault::None);
    run.redis.process.kill().expect("Redis is ours");
    let (code, [table, json, page]) = run.end();
    assert_eq!(code, Some(2), "{table}");
    for text in [&table, &page] {
        assert!(text.contains("broke off") && !text.contains("every update once"), "{text}");
    }
    let deliveries = table.lines().find(|line| line.trim().starts_with("deliveries "));
    assert!(deliveries.is_some_and(|line| !line.ends_with(" 0")), "{table}");
    assert!(json.contains("\"broke_off\""), "{json}");
}

#[test]
fn nothing_stays_of_a_run_that_is_killed() {
    let mut run = LongRun::start("killed", Fault::None);
    run.process.kill().expect("a signal");
    run.process.wait().expect("an end");
    let left: Vec<_> = std::fs::read_dir(run.reports.join("tmp")).expect("readable").collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn mixed_says_whose_latency_it_shows() {
    let redis = Redis::start();
    let url = format!("http://127.0.0.1:{}", start_relay(&redis, Fault::None));
    let Output { stdout, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["mixed", "--url", &url, "--redis", &redis.url])
        .args(["--viewers", "20", "--seconds", "2"])
        .output()
        .expect("the harness runs");
    let said = String::from_utf8_lossy(&stdout);
    for whose in ["of the hot task", "of small tasks"] {
        assert!(
            said.contains(&format!("latency p99 {whose}, ms")),
            "{said}\n{}",
            String::from_utf8_lossy(&stderr)
        );
    }
    assert!(!said.contains("latency p99, ms"), "{said}");
}
