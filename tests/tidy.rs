//! The house rules that a machine can hold us to (ARCHITECTURE.md has the reasons).

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test that is a failure")]

use std::fs;
use std::path::{Path, PathBuf};

/// A file about one thing fits in so many lines.
const LINES_MAX: usize = 400;

/// Files that are longer. It is a list to be made shorter.
const LONGER: [&str; 1] = ["src/http/tests.rs"];

/// Folders with what we write ourselves.
const FOLDERS: [&str; 8] =
    ["crates", "src", "tests", "benches", "examples", "loadtest", "fuzz", "deploy"];

/// What must not be named in `crates/core`: Redis, clocks, sockets, tasks.
const NOT_IN_CORE: [&str; 13] = [
    "redis::",
    "mio::",
    "tokio::",
    "socket2::",
    "hyper::",
    "rustix::",
    "Instant",
    "std::net",
    "std::os",
    "std::fs",
    "std::thread",
    "SystemTime",
    "tracing::",
];

struct Source {
    /// Relative to the repository, with `/`.
    path: String,
    text: String,
}

impl Source {
    /// The lines with code, without what is behind `//`, each with its number.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines.map(|(at, line)| (at + 1, line.split("//").next().unwrap_or_default()))
    }
}

/// The files below `folder` whose names end in one of `endings`.
fn sources(folder: &str, endings: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join(folder)];
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let made_by_tools =
                ["target", "corpus", "artifacts", "coverage"].contains(&name.as_str());
            if path.is_dir() && !made_by_tools && !name.starts_with('.') {
                folders.push(path);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    let read = |path: PathBuf| Source {
        path: path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/"),
        text: fs::read_to_string(path).unwrap(),
    };
    found.into_iter().map(read).collect()
}

fn all(endings: &[&str]) -> Vec<Source> {
    FOLDERS.iter().flat_map(|folder| sources(folder, endings)).collect()
}

fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn the_core_knows_no_redis_no_clock_and_no_socket() {
    let core = sources("crates/core/src", &[".rs"]);
    assert!(core.len() > 5);
    let mut found = Vec::new();
    for source in &core {
        for (line, code) in source.code() {
            for name in NOT_IN_CORE.iter().filter(|name| code.contains(*name)) {
                found.push(format!("{}:{line}: {name}", source.path));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn unsafe_code_is_in_one_module() {
    let mut found = Vec::new();
    for source in all(&[".rs"]).iter().filter(|source| !source.path.starts_with("src/sys/")) {
        for (line, code) in source.code() {
            let is_unsafe = ["unsafe {", "unsafe fn", "unsafe impl", "(unsafe_code"];
            // This file names them.
            if source.path != "tests/tidy.rs" && is_unsafe.iter().any(|word| code.contains(word)) {
                found.push(format!("{}:{line}: unsafe outside of src/sys", source.path));
            }
        }
    }
    assert_none(&found);
}

#[test]
fn each_file_says_first_what_it_owns() {
    let silent = all(&[".rs"]).into_iter().filter(|source| !source.text.starts_with("//! "));
    assert_none(&silent.map(|source| source.path).collect::<Vec<_>>());
}

#[test]
fn files_are_about_one_thing() {
    let mut sources = sources("src", &[".rs"]);
    for folder in ["crates/core/src", "crates/client/src"] {
        sources.extend(self::sources(folder, &[".rs"]));
    }
    let mut found = Vec::new();
    for source in &sources {
        let lines = source.text.lines().count();
        match LONGER.contains(&source.path.as_str()) {
            false if lines > LINES_MAX => found.push(format!("{}: {lines} lines", source.path)),
            true if lines <= LINES_MAX => {
                found.push(format!("{}: short enough now, strike it off the list", source.path));
            }
            _ => {}
        }
    }
    let gone = LONGER.iter().filter(|path| sources.iter().all(|source| source.path != **path));
    found.extend(gone.map(|path| format!("{path}: gone, strike it off the list")));
    assert_none(&found);
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut found = Vec::new();
    for source in all(&[".rs", ".py", ".lua", ".html", ".css", ".js", ".toml", ".md", ".sh"]) {
        for (at, line) in source.text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(*mark)) {
                found.push(format!("{}:{}: {mark}", source.path, at + 1));
            }
        }
    }
    assert_none(&found);
}
