//! Two servers that take turns: the harness is run with two small ones, of which one is known to
//! cost more, or to do something wrong.

#![allow(clippy::expect_used, reason = "a test ends with the first thing that fails")]

mod relay;

use relay::{Fault, serve};
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

/// Far more than a small server needs for an update by itself.
const BUSY_MS: u64 = 5;

#[test]
#[ignore = "it is the server that the other tests start"]
fn the_server_that_the_others_start() {
    let from_script = |name| std::env::var(name).expect("the script says it");
    let fault = if from_script("FAULT") == "repeats" { Fault::Repeats } else { Fault::None };
    let busy = Duration::from_millis(from_script("BUSY").parse().expect("a number"));
    let listener = TcpListener::bind(from_script("LISTEN")).expect("a free port");
    serve(&listener, &from_script("REDIS"), fault, busy);
}

/// A script that starts this file's server as the harness starts `taskcast serve`. It refuses an
/// argument that it does not know, as an older server does.
fn server(name: &str, knows: &str, fault: &str, busy_ms: u64) -> PathBuf {
    let own = std::env::current_exe().expect("this binary");
    let script = format!(
        "#!/bin/sh\n[ \"$8\" = \"{knows}\" ] || exit 9\n\
         export LISTEN=\"$3\" REDIS=\"$5\" FAULT={fault} BUSY={busy_ms}\n\
         exec '{}' --exact the_server_that_the_others_start --ignored --nocapture\n",
        own.display()
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("executable");
    path
}

/// One pair of `hot`: the exit code, the table and the JSON.
fn run(old: &Path, new: &Path) -> (Option<i32>, String, String) {
    let json = new.with_extension("json");
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(["hot", "--pairs", "1", "--viewers", "4", "--rate", "20", "--seconds", "2"])
        .args(["--server-arg=--newer", "--against-arg=--older", "--server-bin"])
        .arg(new)
        .arg("--against")
        .arg(old)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the harness runs");
    let progress = String::from_utf8_lossy(&stderr);
    let table = String::from_utf8_lossy(&stdout).into_owned();
    assert!(progress.starts_with("3 runs, about "), "{progress}");
    assert!(progress.contains("3 of 3, about 0 s left: hot ("), "{progress}{table}");
    (status.code(), table, std::fs::read_to_string(json).expect("a report"))
}

fn row(table: &str, measure: &str) -> String {
    table.lines().find(|line| line.trim().starts_with(measure)).expect("a row").to_string()
}

#[test]
fn a_server_that_costs_more_than_the_other_is_over() {
    let old = server("cheap-old", "--older", "none", 0);
    let new = server("dear-new", "--newer", "none", BUSY_MS);
    let (code, table, json) = run(&old, &new);
    assert_eq!(code, Some(1), "{table}");
    assert!(row(&table, "CPU per delivery, us").ends_with("OVER"), "{table}");
    assert!(table.contains("OVER what is allowed"), "{table}");
    for measure in ["deliveries per second", "latency p50, ms", "latency p99, ms", "CPU of Redis"] {
        assert!(row(&table, measure).ends_with(" -"), "{table}");
    }
    assert!(json.contains("\"within\": false"), "{json}");
}

#[test]
fn a_server_that_costs_less_than_the_other_is_within() {
    let old = server("dear-old", "--older", "none", BUSY_MS);
    let new = server("cheap-new", "--newer", "none", 0);
    let (_, table, json) = run(&old, &new);
    assert!(row(&table, "CPU per delivery, us").ends_with("within"), "{table}");
    assert!(json.contains("\"within\": true"), "{json}");
}

#[test]
fn a_server_that_repeats_an_update_is_wrong_whatever_it_costs() {
    let old = server("right-old", "--older", "none", 0);
    let new = server("wrong-new", "--newer", "repeats", 0);
    let (code, table, json) = run(&old, &new);
    assert_eq!(code, Some(1), "{table}");
    assert!(table.contains("run 2, new: viewers: WRONG: 4 repeated"), "{table}");
    assert!(json.contains("run 2, new: viewers: WRONG: 4 repeated"), "{json}");
}
