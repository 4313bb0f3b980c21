//! Processes that the harness starts: pinned, with all the files they may have, and never
//! outliving it.
//!
//! A program is started through this binary itself (`loadtest __exec`), which sets itself up and
//! then becomes the program, because setting up between fork and exec would take unsafe code.

use crate::clock::now_ns;
use crate::failure::{Context, Failure, Result};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::CpuSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const STOP_WAIT: Duration = Duration::from_secs(5);
const LOG_LINES_SHOWN: usize = 12;
const LOG_BYTES_SHOWN: usize = 16 * 1024;

/// A running child. Dropping it ends it.
pub(crate) struct Child {
    process: std::process::Child,
    log: File,
}

/// What to start.
pub(crate) struct Program<'a> {
    pub(crate) name: &'a str,
    pub(crate) program: &'a Path,
    pub(crate) args: Vec<OsString>,
    /// The cores that it may use; empty for all.
    pub(crate) cores: &'a [usize],
    /// Whether the parent talks to it over its standard input and output.
    pub(crate) piped: bool,
}

impl Child {
    /// Starts a program. Call this on the main thread only: a child ends with the thread that
    /// started it.
    pub(crate) fn start(what: Program<'_>) -> Result<Self> {
        let log = unnamed_file().while_doing(|| format!("cannot make a log for {}", what.name))?;
        let output = || log.try_clone().while_doing(|| "cannot log".into());
        let mut command = Command::new(own_binary()?);
        command.arg("__exec");
        command.args(what.cores.iter().map(|core| format!("--core={core}")));
        command.arg("--").arg(what.program).args(what.args);
        // The settings of a server are in the command line, where the report shows them. Others,
        // such as those of a test that runs us, it would refuse.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"TASKCAST_") {
                command.env_remove(name);
            }
        }
        // Its own process group, so that Ctrl-C reaches only the harness, which ends it in order.
        command.process_group(0).stderr(output()?);
        if what.piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(output()?);
        }
        let process = command.spawn().while_doing(|| format!("cannot start {}", what.name))?;
        Ok(Self { process, log })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn pipes(&mut self) -> Result<(ChildStdin, ChildStdout)> {
        match (self.process.stdin.take(), self.process.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((stdin, stdout)),
            _ => Err(Failure::new("a child has no pipes")),
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// The end of what it wrote to its log.
    pub(crate) fn last_words(&self) -> String {
        let mut log = vec![0; LOG_BYTES_SHOWN];
        let end = self.log.metadata().map_or(0, |log| log.len());
        // The place where the child writes is its own: this reads beside it.
        let read = self.log.read_at(&mut log, end.saturating_sub(LOG_BYTES_SHOWN as u64));
        log.truncate(read.unwrap_or(0));
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<_> = text.lines().collect();
        match lines.len().saturating_sub(LOG_LINES_SHOWN) {
            _ if lines.is_empty() => "(it wrote nothing to its log)".into(),
            first => lines[first..].join("\n"),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        if self.ended().is_some() {
            return;
        }
        let pid = Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let deadline = Instant::now() + STOP_WAIT;
        while self.ended().is_none() {
            if Instant::now() > deadline {
                let _ = self.process.kill();
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A file without a name, and nobody else's: nothing of it stays, however the harness ends.
pub(crate) fn unnamed_file() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("loadtest-{}-{:x}", std::process::id(), now_ns()));
    let file = File::options().read(true).append(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The path of this binary.
pub(crate) fn own_binary() -> Result<PathBuf> {
    std::env::current_exe().while_doing(|| "cannot find the harness' own binary".into())
}

/// Becomes `command`. Returns only when that fails.
pub(crate) fn exec(cores: &[usize], command: &[OsString]) -> Failure {
    let parent = rustix::process::getppid();
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if tied.is_err() || parent != rustix::process::getppid() {
        return Failure::new("cannot be tied to the parent process");
    }
    if let Err(failure) = raise_file_limit().and_then(|()| pin(cores)) {
        return failure;
    }
    let Some((program, args)) = command.split_first() else {
        return Failure::new("no program to start");
    };
    let error = Command::new(program).args(args).exec();
    Failure::new(format!("cannot start {}: {error}", program.display()))
}

/// Keeps this process to some cores; none means all.
pub(crate) fn pin(cores: &[usize]) -> Result<()> {
    if cores.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    rustix::thread::sched_setaffinity(None, &set)
        .while_doing(|| format!("cannot use only the cores {cores:?}"))
}

/// As many open files as the system lets this process have.
fn raise_file_limit() -> Result<()> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(Resource::Nofile, raised)
        .while_doing(|| "cannot raise the number of open files".into())
}

/// How many files a process may have open, once it has raised its limit.
pub(crate) fn file_limit() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 20)
}
