//! The client processes as the parent sees them: one fleet of viewers in groups.

use crate::child::{Child, Program, file_limit, own_binary};
use crate::client::control::{Command, Connect, GroupId, Report};
use crate::client::counters::Counters;
use crate::failure::{Context, Failure, Result};
use crate::latency::Latencies;
use crate::stop::Stop;
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Files that a process has open besides its sockets.
pub(crate) const OTHER_FILES: u64 = 100;
/// So many processes would not run, but only fill the machine.
const PROCESSES_MAX: usize = 256;
/// Groups of viewers that each side of a run may have.
pub(crate) const GROUPS_PER_SIDE: GroupId = 8;

pub(crate) struct Fleet {
    processes: Vec<Process>,
    board: Arc<Board>,
    stop: Stop,
}

struct Process {
    child: Child,
    stdin: ChildStdin,
}

/// What the client processes have reported.
#[derive(Default)]
pub(crate) struct Board {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    counters: BTreeMap<(GroupId, usize), Counters>,
    /// Since a scenario took them last.
    latencies: BTreeMap<GroupId, Latencies>,
    /// Since the progress line took them last.
    recent: BTreeMap<GroupId, Latencies>,
    trouble: BTreeMap<GroupId, String>,
}

impl Fleet {
    /// Starts as many processes as the sockets need, or as many as the user wants.
    pub(crate) fn start(
        sockets: u64,
        wanted: Option<usize>,
        cores: &[usize],
        stop: Stop,
    ) -> Result<Self> {
        let most = file_limit().saturating_sub(OTHER_FILES).max(1);
        let needed = sockets.div_ceil(most).max(1) as usize;
        if needed > PROCESSES_MAX {
            return Err(Failure::new(format!(
                "{sockets} connections need {needed} client processes, and {PROCESSES_MAX} is the \
                 most: take fewer viewers, or let a process open more files (`ulimit -Hn`)"
            )));
        }
        let board = Arc::new(Board::default());
        let processes = (0..wanted.unwrap_or(needed).max(needed))
            .map(|number| Process::start(number, cores, board.clone()))
            .collect::<Result<_>>()?;
        Ok(Self { processes, board, stop })
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.child.pid()).collect()
    }

    pub(crate) fn board(&self) -> Arc<Board> {
        self.board.clone()
    }

    /// Brings a group's viewers in, spread over the processes.
    pub(crate) fn connect(&mut self, whole: &Connect) -> Result<()> {
        let sockets = whole.viewers.div_ceil(whole.viewers_per_socket);
        let processes = self.processes.len() as u32;
        for (number, process) in (0..).zip(&mut self.processes) {
            let share = |part: u32| {
                let before = (u64::from(sockets) * u64::from(part) / u64::from(processes)) as u32;
                (before * whole.viewers_per_socket).min(whole.viewers)
            };
            let (first, end) = (share(number), share(number + 1));
            if first < end {
                let in_flight = whole.in_flight.div_ceil(processes);
                let part = Connect {
                    first_viewer: whole.first_viewer + first,
                    viewers: end - first,
                    in_flight,
                    ..whole.clone()
                };
                process.tell(&Command::Connect(part))?;
            }
        }
        Ok(())
    }

    /// Tells every process.
    pub(crate) fn tell(&mut self, command: &Command) -> Result<()> {
        self.processes.iter_mut().try_for_each(|process| process.tell(command))
    }

    /// Replaces viewers of a group, each process its share.
    pub(crate) fn churn(
        &mut self,
        group: GroupId,
        per_second: f64,
        replacements: u64,
    ) -> Result<()> {
        let processes = self.processes.len() as u64;
        for (number, process) in (0..).zip(&mut self.processes) {
            let share = (replacements + processes - 1 - number) / processes;
            let per_second = per_second / processes as f64;
            process.tell(&Command::Churn { group, per_second, replacements: share })?;
        }
        Ok(())
    }

    pub(crate) fn totals(&self, group: GroupId) -> Counters {
        self.board.totals(group)
    }

    /// The latencies of a group since the last call.
    pub(crate) fn take_latencies(&self, group: GroupId) -> Latencies {
        let mut state = self.board.state.lock();
        state.latencies.get_mut(&group).map_or_else(Latencies::new, Latencies::take)
    }

    pub(crate) fn trouble(&self, group: GroupId) -> Option<String> {
        self.board.state.lock().trouble.get(&group).cloned()
    }

    /// Waits until the group's counts are as wanted: whether they came to be. Gives up when nothing
    /// has come for long, or something of the run has ended.
    pub(crate) fn wait(
        &mut self,
        group: GroupId,
        done: impl Fn(&Counters) -> bool,
        mut check: impl FnMut() -> Result<()>,
    ) -> Result<bool> {
        let mut last = Counters::default();
        let mut changed_at = Instant::now();
        loop {
            let totals = self.board.totals(group);
            if done(&totals) {
                return Ok(true);
            }
            if totals.progress() != last {
                (last, changed_at) = (totals.progress(), Instant::now());
            }
            if changed_at.elapsed() > self.stop.patience() {
                return Ok(false);
            }
            self.check()?;
            check()?;
            self.board.wait(Duration::from_millis(100));
        }
    }

    /// An error when a client process has ended.
    fn check(&mut self) -> Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.child.ended() {
                return Err(Failure::new(format!(
                    "a client process ended ({status}):\n{}",
                    process.child.last_words()
                )));
            }
        }
        Ok(())
    }
}

impl Process {
    fn start(number: usize, cores: &[usize], board: Arc<Board>) -> Result<Self> {
        let mut child = Child::start(Program {
            name: &format!("client-{number}"),
            program: &own_binary()?,
            args: vec!["__client".into()],
            cores,
            piped: true,
        })?;
        let (stdin, stdout) = child.pipes()?;
        std::thread::spawn(move || board.listen(number, stdout));
        Ok(Self { child, stdin })
    }

    fn tell(&mut self, command: &Command) -> Result<()> {
        let mut line = serde_json::to_vec(command).while_doing(|| "cannot tell a client".into())?;
        line.push(b'\n');
        self.stdin.write_all(&line).while_doing(|| "a client process does not listen".into())
    }
}

impl Board {
    fn listen(&self, process: usize, stdout: ChildStdout) {
        for line in BufReader::new(stdout).lines() {
            let report = line.ok().and_then(|line| serde_json::from_str::<Report>(&line).ok());
            let Some(report) = report else { break };
            let mut state = self.state.lock();
            for group in report.groups {
                state.counters.insert((group.group, process), group.counters);
                for histograms in [true, false] {
                    let all = if histograms { &mut state.latencies } else { &mut state.recent };
                    let latencies = all.entry(group.group).or_insert_with(Latencies::new);
                    latencies.add_pairs(&group.latencies_us);
                }
                if let Some(trouble) = group.trouble {
                    state.trouble.entry(group.group).or_insert(trouble);
                }
            }
            self.changed.notify_all();
        }
    }

    pub(crate) fn totals(&self, group: GroupId) -> Counters {
        let state = self.state.lock();
        let mut totals = Counters::default();
        for (_, counters) in state.counters.range((group, 0)..=(group, usize::MAX)) {
            totals += *counters;
        }
        totals
    }

    /// All groups that have reported.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        let mut groups: Vec<_> =
            self.state.lock().counters.keys().map(|(group, _)| *group).collect();
        groups.dedup();
        groups
    }

    /// The latencies of a group since the last call, for the progress line.
    pub(crate) fn take_recent(&self, group: GroupId) -> Latencies {
        let mut state = self.state.lock();
        state.recent.get_mut(&group).map_or_else(Latencies::new, Latencies::take)
    }

    fn wait(&self, time: Duration) {
        self.changed.wait_for(&mut self.state.lock(), time);
    }
}
