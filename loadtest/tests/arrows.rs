//! The harness' modules use each other in one direction: whoever reads one has to know only what
//! lies below it.

#![allow(clippy::expect_used, reason = "a test ends with the first thing that fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules, `a::b` for `src/a/b.rs`, and the code of each without tests and comments.
fn modules() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![src.clone()];
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default().lines();
            let code = code.map(|line| line.split("//").next().unwrap_or_default()).collect();
            found.insert(name(path.strip_prefix(&src).expect("below src")), code);
        }
    }
    found
}

fn name(path: &Path) -> String {
    let mut path: PathBuf = path.with_extension("");
    if path.ends_with("mod") {
        path.pop();
    }
    path.to_string_lossy().replace('/', "::")
}

/// The modules that `own` names by a path from the root or from its parent.
fn used(own: &str, code: &str, modules: &BTreeMap<String, String>) -> BTreeSet<String> {
    let parent = own.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut used = BTreeSet::new();
    for (word, base) in [("crate::", ""), ("super::", parent)] {
        for rest in code.split(word).skip(1) {
            let end = |c: char| c != ':' && c != '_' && !c.is_ascii_alphanumeric();
            let path = rest.split(end).next().unwrap_or_default();
            let mut full = [base, path].join("::").trim_matches(':').to_string();
            while !modules.contains_key(&full) && !full.is_empty() {
                full = full.rsplit_once("::").map_or("", |(before, _)| before).to_string();
            }
            if !full.is_empty() && full != own {
                used.insert(full);
            }
        }
    }
    used
}

#[test]
fn modules_use_each_other_in_one_direction() {
    let modules = modules();
    let mut left: BTreeMap<&str, BTreeSet<String>> =
        modules.iter().map(|(name, code)| (name.as_str(), used(name, code, &modules))).collect();
    assert!(left["lab"].contains("fleet") && left["client::group"].contains("client::socket"));
    // Takes away whatever uses nothing that is left, until only circles are.
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, used)| used.iter().all(|name| !left.contains_key(name.as_str())))
            .map(|(name, _)| *name)
            .collect();
        if free.is_empty() {
            break;
        }
        free.iter().for_each(|name| _ = left.remove(name));
    }
    assert!(left.is_empty(), "in circles, or above one: {left:#?}");
}
