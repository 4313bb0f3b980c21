//! A configuration as a TOML file, for `--print-config`, and to be read back; and the keys as a page
//! of documentation.

use std::fmt::Write as _;

use super::Config;
use super::keys::{Key, keys};

impl Config {
    /// The configuration as a file for `--config`, each key with its comment. Passwords are
    /// replaced by `***`.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut limits = false;
        for key in keys().filter(|key| !self.is_moot(*key)) {
            let name = match key {
                Key::Top(row) => row.name,
                Key::Limit(row) => {
                    if !std::mem::replace(&mut limits, true) {
                        text.push_str("\n[limits]\n");
                    }
                    row.name
                }
            };
            for line in key.about().lines() {
                // Writing to a String does not fail, here and below.
                _ = writeln!(text, "# {}", line.trim());
            }
            _ = writeln!(text, "{name} = {}", key.show(self));
        }
        text.push_str(self.access.to_toml());
        text.push_str(self.sources.to_toml());
        text
    }

    /// Whether another key says that this one does not count: there is one log.
    fn is_moot(&self, key: Key) -> bool {
        match key.name().as_str() {
            "redis" | "redis_ca" => self.embedded,
            _ => false,
        }
    }
}

/// Every key as a page of documentation shows it, in Markdown.
pub fn reference() -> String {
    let mut page = String::new();
    let mut limits = false;
    page.push_str("| key | default | allowed | flag | what |\n|---|---|---|---|---|\n");
    for key in keys() {
        if matches!(key, Key::Limit(_)) && !std::mem::replace(&mut limits, true) {
            page.push_str(
                "\n## Limits\n\nThe keys of the table `[limits]`. Each has its unit in its name.\n\n\
                 | key | default | allowed | what |\n|---|---|---|---|\n",
            );
        }
        let (name, allowed) = (key.name(), key.allowed().replace('|', "\\|"));
        let name = name.strip_prefix("limits.").unwrap_or(&name);
        let flag = match (limits, key.flag()) {
            (true, _) => String::new(),
            (false, None) => " |".to_owned(),
            (false, Some(flag)) => {
                let flag = flag.name.map_or_else(|| name.replace('_', "-"), str::to_owned);
                format!(" `--{flag}` |")
            }
        };
        let (default, about) = (key.default(), key.about_line());
        _ = writeln!(page, "| `{name}` | `{default}` | {allowed} |{flag} {about} |");
    }
    page
}
