//! A script, and the commands that run it.

use redis::Cmd;

/// A script of ours.
pub(super) struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    pub(super) fn new(source: &'static str) -> Self {
        Self { source, hash: redis::Script::new(source).get_hash().to_owned() }
    }

    /// The command that runs it where Redis knows it.
    pub(super) fn by_hash(&self, keys: &[String], args: &[String]) -> Cmd {
        command("EVALSHA", &self.hash, keys, args)
    }

    /// The command that runs it in any case; Redis knows it afterwards.
    pub(super) fn whole(&self, keys: &[String], args: &[String]) -> Cmd {
        command("EVAL", self.source, keys, args)
    }
}

fn command(name: &str, script: &str, keys: &[String], args: &[String]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(args);
    command
}
