//! What is said of keys and metrics elsewhere is what their tables say.
//!
//! With `WRITE_REFERENCE=1` in the environment, the files are written instead of compared.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::PathBuf;

use taskcast::config::{self, Config};
use taskcast::metrics;

const CONFIGURATION: &str = "# Configuration

Every key of `taskcast serve --config taskcast.toml`. Flags go over the environment, the environment
over the file. In the environment a key is `TASKCAST_<KEY>`, one of `[limits]` is
`TASKCAST_LIMITS_<KEY>`; `redis` is `REDIS_URL` and `log_level` is `RUST_LOG` too. `--set KEY=VALUE`
sets any key, one of `[limits]` as `limits.KEY`. `--print-config` shows what is in force, with `***`
for a password; that is not taken for a password when it is read.

An unknown key or a bad value is an error, and the exit code is 2. A key that was one in the version
before is warned about and ignored.

Streams of others than the agent are described by tables `[[source]]`, in the file only:
[sources.md](sources.md).

";

const EXAMPLE: &str = "\
# The configuration of `taskcast serve --config taskcast.toml`: every key with its default.
# Flags go over the environment, the environment over this file. In the environment a key is
# TASKCAST_<KEY>, one of [limits] TASKCAST_LIMITS_<KEY>, and `redis` is REDIS_URL.
# `taskcast serve --print-config` prints what is in force, in this form.
# Streams of others than the agent are described by tables [[source]]: docs/sources.md.

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
