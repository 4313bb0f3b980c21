//! Whether the user of Redis may do what every task needs. What is refused for single keys is found
//! out where those are read.

use std::sync::Arc;

use parking_lot::Mutex;

use super::error::{Class, Failure};
use super::link::Link;
use super::reply;
use super::script::Script;
use crate::id::{Keys, ThreadId};

/// No task has this id: workers' ids and ours are longer or of other letters.
const NO_TASK: &str = "-";

/// Asks for the rights, and says in the log what is missing.
pub(super) struct Rights {
    script: Script,
    keys: [String; 2],
    /// What was said to be missing.
    said: Mutex<Option<String>>,
}

impl Rights {
    pub(super) fn of(keys: &Keys) -> Self {
        let stream = match NO_TASK.parse::<ThreadId>() {
            Ok(thread) => keys.stream(&thread),
            Err(_) => keys.index(),
        };
        Self {
            script: Script::new(include_str!("probe.lua")),
            keys: [stream, format!("{}:thread:{NO_TASK}:status", keys.prefix())],
            said: Mutex::new(None),
        }
    }

    /// Whether nothing is missing, and Redis answers.
    ///
    /// # Errors
    /// Names what is missing.
    pub(super) async fn check(&self, link: &Arc<Link>) -> Result<(), Failure> {
        let found = self.missing(link).await;
        let missing = found.as_ref().err().filter(|failure| failure.class == Class::NoRight);
        let text = missing.map(ToString::to_string);
        let mut said = self.said.lock();
        if *said != text {
            if let Some(error) = &text {
                tracing::error!(error, "rights_missing");
            }
            *said = text;
        }
        found
    }

    async fn missing(&self, link: &Arc<Link>) -> Result<(), Failure> {
        let lacks = |failure: Failure| match failure.class {
            Class::NoRight => {
                let text = format!("the user of Redis lacks a right: {}", failure.text);
                Failure { text, ..failure }
            }
            _ => failure,
        };
        // The tail asks whether Redis is still there.
        link.ask(&redis::cmd("PING")).await.map_err(lacks)?;
        let answer = link.run(&self.script, &[], &self.keys).await?;
        for error in reply::array(answer).into_iter().filter_map(reply::bytes) {
            let failure = Failure::answered(&String::from_utf8_lossy(&error));
            match failure.class {
                // Rights may be given for the keys of some tasks only.
                Class::NoRightToKey => {}
                _ => return Err(lacks(failure)),
            }
        }
        Ok(())
    }
}
