//! What the documents say of keys, metrics, log lines and errors is what the source says.
//!
//! With `WRITE_REFERENCE=1` in the environment, the files are written instead of compared.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use taskcast::config::{self, Config};
use taskcast::metrics;

const CONFIGURATION: &str = "# Configuration

Every key of `taskcast serve --config taskcast.toml`. Flags go over the environment, the environment
over the file. In the environment a key is `TASKCAST_<KEY>`, one of `[limits]` is
`TASKCAST_LIMITS_<KEY>`, and one of `[tls]` `TASKCAST_TLS_<KEY>`. `redis` is `REDIS_URL` and `log_level` is `RUST_LOG` too; over these go
`TASKCAST_REDIS` and `TASKCAST_LOG_LEVEL`. `--set KEY=VALUE` sets any key, one of `[limits]` as
`limits.KEY`. `--print-config` shows what is in force, with `***` for a password; that is not taken for a
password when it is read.

An unknown key or a bad value is an error, and the exit code is 2. A key that was one in the version
before is warned about and ignored.

Streams of others than the agent are described by tables `[[source]]`, in the file only:
[sources.md](sources.md).
Who may what is in the table `[access]`, in the file only: [security.md](security.md).

";

const EXAMPLE: &str = "\
# The configuration of `taskcast serve --config taskcast.toml`: every key with its default.
# Flags go over the environment, the environment over this file. In the environment a key is
# TASKCAST_<KEY>, one of [limits] TASKCAST_LIMITS_<KEY>, and `redis` is REDIS_URL too.
# `taskcast serve --print-config` prints what is in force, in this form.
# Streams of others than the agent are described by tables [[source]]: docs/sources.md.
# Who may what is in the table [access]: docs/security.md. Without it everybody may everything.

";

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Asserts that a file is what it should be, or makes it so.
fn assert_file(name: &str, is: &str, should_be: &str) {
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        std::fs::write(path(name), should_be).expect("the file is written");
    } else if is != should_be {
        let line = is.lines().zip(should_be.lines()).find(|(is, should_be)| is != should_be);
        panic!("{name} is out of date: WRITE_REFERENCE=1 cargo test --test reference\n{line:#?}");
    }
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_default()
}

#[test]
fn the_page_of_keys_is_what_the_table_says() {
    let page = format!("{CONFIGURATION}{}", config::reference());
    assert_file("docs/configuration.md", &read("docs/configuration.md"), &page);
}

#[test]
fn the_example_has_every_key_with_its_default() {
    let config = Config::default();
    // The one default that is not the same on each machine.
    let workers = format!("\nworkers = {}\n", config.workers);
    let keys = config.to_toml().replacen(&workers, "\n# workers = 4\n", 1);
    assert_file(
        "taskcast.example.toml",
        &read("taskcast.example.toml"),
        &format!("{EXAMPLE}{keys}"),
    );
}

#[test]
fn the_page_of_metrics_is_what_the_table_says() {
    let page = read("docs/operations.md");
    let (before, rest) = page.split_once("| metric |").expect("there is a table of metrics");
    let (_, behind) = rest.split_once("\n\n").expect("the table ends");
    let table = metrics::reference();
    assert_file("docs/operations.md", &page, &format!("{before}{table}\n{behind}"));
}

/// The Rust files below a folder.
fn sources(folder: &str) -> Vec<String> {
    let (mut folders, mut found) = (vec![path(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(std::fs::read_to_string(path).expect("UTF-8"));
            }
        }
    }
    found
}

/// The names in the first column of the tables in a part of a page: all that is in backticks there.
fn first_column(part: &str) -> Vec<&str> {
    let rows = part.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
}

/// What stands before the parenthesis that ends a call.
fn arguments(call: &str) -> &str {
    let (mut depth, mut in_text) = (1, false);
    let end = call.find(|c| {
        match c {
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    &call[..end.unwrap_or(call.len())]
}

/// The names of the lines that are logged in this file: what a text begins with, or is.
fn events(source: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for level in ["error", "warn", "info", "debug"] {
        for call in source.split(&format!("tracing::{level}!(")).skip(1) {
            let text = arguments(call).split('"').skip(1).step_by(2).last().unwrap_or_default();
            let name = text.split(':').next().unwrap_or_default();
            // What is logged under one of two names has them where they are chosen.
            if text != "{what}" {
                found.push(name);
            }
        }
    }
    found
}

#[test]
fn each_line_of_the_log_is_described_once() {
    let page = read("docs/operations.md");
    let part = page.split_once("\n## Logs\n").expect("there is a part on logs").1;
    let part = part.split_once("\n## ").expect("it ends").0;
    let mut described = first_column(part);
    described.sort_unstable();
    let (sources, mut logged) = (sources("src"), Vec::new());
    for source in &sources {
        logged.extend(events(source));
    }
    // Logged under a name that is chosen before.
    logged.extend(["redis_lost", "redis_unreachable"]);
    logged.sort_unstable();
    logged.dedup();
    assert_eq!(described, logged);
}

/// The statuses that src/http names, and those that the HTTP library answers with by itself.
const STATUSES: [(&str, &str); 15] = [
    ("BAD_REQUEST", "400"),
    ("UNAUTHORIZED", "401"),
    ("FORBIDDEN", "403"),
    ("NOT_FOUND", "404"),
    ("METHOD_NOT_ALLOWED", "405"),
    ("REQUEST_TIMEOUT", "408"),
    ("PAYLOAD_TOO_LARGE", "413"),
    ("MISDIRECTED_REQUEST", "421"),
    ("UNPROCESSABLE_ENTITY", "422"),
    ("UPGRADE_REQUIRED", "426"),
    ("TOO_MANY_REQUESTS", "429"),
    ("SERVICE_UNAVAILABLE", "503"),
    ("GATEWAY_TIMEOUT", "504"),
    ("b\"414\"", "414"),
    ("b\"431\"", "431"),
];

/// Those that are no error, or cannot come.
const NO_ERRORS: [&str; 6] = [
    "OK",
    "ACCEPTED",
    "NO_CONTENT",
    "NOT_MODIFIED",
    "SWITCHING_PROTOCOLS",
    "INTERNAL_SERVER_ERROR",
];

#[test]
fn the_readme_has_each_status_of_an_error() {
    let sources = sources("src/http").concat();
    for named in sources.split("StatusCode::").skip(1) {
        let name = named.split(|c: char| !c.is_ascii_uppercase() && c != '_').next();
        let name = name.unwrap_or_default();
        let known = STATUSES.iter().any(|(known, _)| *known == name) || NO_ERRORS.contains(&name);
        assert!(known || name.is_empty(), "{name} is not in this list");
    }
    let readme = read("README.md");
    let table = readme.split_once("| status | |\n").expect("there is a table of errors").1;
    let table = table.split_once("\n\n").expect("it ends").0;
    for (name, status) in STATUSES {
        assert!(sources.contains(name), "{name} is answered nowhere");
        let mut rows = table.lines().filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
        assert!(
            rows.any(|row| row.split(", ").any(|it| it == status)),
            "{status} is not described"
        );
    }
}
