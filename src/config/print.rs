//! A configuration as a TOML file: for `--print-config`, and to be read back.

use std::fmt::Write as _;

use super::{Config, redis_url};

impl Config {
    /// The configuration as a file for `--config`, each key with its comment. Passwords are
    /// replaced by `***`.
    pub fn to_toml(&self) -> String {
        let mut page = Page::default();
        page.key("The address that the server listens on.", "listen", &self.listen.to_string());
        if self.embedded {
            page.value(
                "The log lies in this process and is gone with it; no Redis.",
                "embedded",
                true,
            );
        } else {
            let about = "redis://, rediss://, unix://, redis+unix:// or redis+sentinel://.";
            page.key(about, "redis", &redis_url::masked(&self.redis));
        }
        page.value("Threads that serve viewers.", "workers", self.workers);
        page.key("text or json.", "log_format", &self.log_format.to_string());
        page.key("A level, or directives: info,taskcast=debug.", "log_level", &self.log_level);
        page.value("Whether /api/v1/ws/echo is there.", "diagnostics", self.diagnostics);
        page.key("auto, on or off.", "io_uring", &self.io_uring.to_string());
        page.key("auto, tracking or block.", "tail", &self.tail.to_string());
        page.key("The prefix of every key in Redis.", "key_prefix", self.keys.prefix());
        let about = "The key of a task's stream; {prefix} stands for key_prefix.";
        page.key(about, "stream_key_template", &self.stream_key_template());
        let about = "Origins that browsers may use the server from; [\"*\"]: all. Where it is empty,\n\
                     there are no CORS headers, and any page may open a WebSocket.";
        page.value(about, "cors_origins", toml::Value::from(self.cors_origins.clone()));
        let about = "How long a shutdown may take; viewers are closed spread over it.";
        page.value(about, "drain_seconds", self.drain_seconds);
        let about = "Updates of a task that come within it share one send per viewer; 0: at once.";
        page.value(about, "flush_interval_ms", self.flush_interval_ms);
        page.text.push_str("\n[limits]\n");
        for row in self.limits.rows() {
            page.value(row.about, row.name, row.value);
        }
        page.text
    }

    /// The template that makes the stream keys that are in force.
    fn stream_key_template(&self) -> String {
        let template = self.keys.stream_template();
        let prefix = self.keys.prefix();
        match template.strip_prefix(prefix) {
            Some(rest) if rest.starts_with(':') => format!("{{prefix}}{rest}"),
            _ => template,
        }
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// A key whose value is text.
    fn key(&mut self, about: &str, key: &str, text: &str) {
        self.value(about, key, toml::Value::from(text));
    }

    fn value(&mut self, about: &str, key: &str, value: impl std::fmt::Display) {
        for line in about.lines() {
            let _ = writeln!(self.text, "# {}", line.trim());
        }
        let _ = writeln!(self.text, "{key} = {value}");
    }
}
