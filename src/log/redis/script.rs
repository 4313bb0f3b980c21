//! A script, and the commands that run it.

use redis::Cmd;

/// A script of ours.
pub(super) struct Script {
    source: String,
    hash: String,
}

impl Script {
    pub(super) fn new(source: &str) -> Self {
        let hash = redis::Script::new(source).get_hash().to_owned();
        Self { source: source.to_owned(), hash }
    }

    /// One that reads a task: `numbers.lua`, `turn.lua` and `read.lua` come before it.
    pub(super) fn reading(source: &str) -> Self {
        let before = concat!(
            include_str!("numbers.lua"),
            include_str!("turn.lua"),
            include_str!("read.lua")
        );
        Self::new(&[before, source].concat())
    }

    /// The command that runs it where Redis knows it.
    pub(super) fn by_hash(&self, keys: &[String], args: &[String]) -> Cmd {
        command("EVALSHA", &self.hash, keys, args)
    }

    /// The command that runs it in any case; Redis knows it afterwards.
    pub(super) fn whole(&self, keys: &[String], args: &[String]) -> Cmd {
        command("EVAL", &self.source, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &[String], args: &[String]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(args);
    command
}
