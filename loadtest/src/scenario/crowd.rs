//! Viewers who arrive together, and what their arrival cost.

use crate::client::control::{Command, Connect, GroupId};
use crate::client::counters::Counters;
use crate::clock::{SECOND_NS, now_ns, seconds, sleep_until};
use crate::failure::{Failure, Result};
use crate::fleet::GROUPS_PER_SIDE;
use crate::lab::Lab;
use crate::report::Side;
use crate::report::measures::{
    ARRIVALS_PER_SECOND, CPU_PER_NEW_VIEWER, MEMORY_OF_ALL, MEMORY_PER_VIEWER,
};
use std::ops::Range;

/// Viewers who come and go before anything is measured: a process' first ones cost it pages of
/// code and tables that no later one costs again.
const WARM_UP_VIEWERS: u32 = 64;
const WARM_UP_GROUP: GroupId = GROUPS_PER_SIDE - 1;
/// A process puts things away after viewers have come or gone. Its memory is read when it has not
/// changed for this long,
const SETTLED_NS: u64 = SECOND_NS;
/// or after this long.
const SETTLING_NS_MAX: u64 = 6 * SECOND_NS;
const SETTLING_STEP_NS: u64 = SECOND_NS / 5;

/// Viewers, evenly over some tasks.
#[derive(Debug, Clone)]
pub(crate) struct Crowd {
    /// The number of the group within its side.
    pub(crate) group: GroupId,
    pub(crate) tasks: Range<u32>,
    pub(crate) viewers: u32,
    pub(crate) viewers_per_socket: u32,
}

/// What an arrival cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) cpu_us_each: f64,
    /// Resident memory before and after, in KiB.
    pub(crate) resident_kib: [u64; 2],
    pub(crate) viewers: u32,
    pub(crate) seconds: f64,
    pub(crate) clients_ns: u64,
    pub(crate) resumed: u64,
}

impl Crowd {
    pub(crate) fn id(&self, side: usize) -> GroupId {
        side as GroupId * GROUPS_PER_SIDE + self.group
    }

    fn viewers_per_task(&self) -> u32 {
        self.viewers.div_ceil(self.tasks.len().max(1) as u32).max(1)
    }

    fn connect(&self, lab: &mut Lab, side: usize) -> Result<()> {
        let server = &lab.sides[side].server;
        let connect = Connect {
            group: self.id(side),
            server: server.address,
            host: server.host.clone(),
            tls: server.tls.clone(),
            token: server.token.clone(),
            prefix: lab.prefix.clone(),
            first_task: self.tasks.start,
            first_viewer: 0,
            viewers: self.viewers,
            viewers_per_task: self.viewers_per_task(),
            viewers_per_socket: self.viewers_per_socket,
            in_flight: lab.common.in_flight,
            next_seq: 1,
        };
        lab.fleet.connect(&connect)
    }

    /// Brings the viewers in and waits until each has its `initial_state`.
    fn come(&self, lab: &mut Lab, side: usize) -> Result<()> {
        self.connect(lab, side)?;
        let viewers = u64::from(self.viewers);
        match lab.wait(self.id(side), |totals| totals.attached >= viewers)? {
            true => Ok(()),
            false if lab.is_stopped() => {
                Err(Failure::new("stopped, as asked, before all viewers had arrived"))
            }
            false => Err(self.not_all_arrived(lab, side)),
        }
    }

    /// The same, and what it cost.
    pub(crate) fn arrive(&self, lab: &mut Lab, side: usize) -> Result<Arrival> {
        lab.progress.phase(format!("{} arrives", lab.sides[side].name));
        let resident_before = settled_kib(lab, side);
        let before = lab.cpu(side);
        self.come(lab, side)?;
        let cpu = lab.cpu(side).since(before);
        let totals = lab.fleet.totals(self.id(side));
        Ok(Arrival {
            cpu_us_each: cpu.server as f64 / 1000.0 / f64::from(self.viewers),
            resident_kib: [resident_before, settled_kib(lab, side)],
            viewers: self.viewers,
            seconds: seconds(totals.last_attach_ns.saturating_sub(before.at_ns)),
            clients_ns: cpu.clients,
            resumed: totals.resumed,
        })
    }

    fn not_all_arrived(&self, lab: &mut Lab, side: usize) -> Failure {
        let id = self.id(side);
        let Counters { attached, open, .. } = lab.fleet.totals(id);
        let name = lab.sides[side].name;
        let why = match lab.sides[side].server.check() {
            Err(failure) => failure.to_string(),
            Ok(()) => lab.fleet.trouble(id).unwrap_or_else(|| "no error was reported".into()),
        };
        let hint = match why.contains("Thread not found") {
            true => " (does the server use this Redis, and this database of it?)",
            false => "",
        };
        Failure::new(format!(
            "only {attached} of {} viewers got their initial_state from the {name} ({open} are \
             connected): {why}{hint}",
            self.viewers
        ))
    }

    /// Closes the viewers' connections.
    pub(crate) fn leave(&self, lab: &mut Lab, side: usize) -> Result<()> {
        lab.fleet.tell(&Command::Drop { group: self.id(side) })?;
        lab.wait(self.id(side), |totals| totals.open == 0).map(|_| ())
    }
}

/// Lets a few viewers of the first task come and go.
pub(crate) fn warm_up(lab: &mut Lab, side: usize) -> Result<()> {
    // Each one leaves two tickets, and all who come next shall have one.
    let tickets = if lab.common.resume { lab.common.in_flight.div_ceil(2) } else { 0 };
    let few = Crowd {
        group: WARM_UP_GROUP,
        tasks: 0..1,
        viewers: WARM_UP_VIEWERS.max(tickets),
        viewers_per_socket: 1,
    };
    few.come(lab, side)?;
    few.leave(lab, side)
}

/// Resident memory once it changes no more.
fn settled_kib(lab: &Lab, side: usize) -> u64 {
    let end_ns = now_ns() + SETTLING_NS_MAX;
    let (mut kib, mut since_ns) = (lab.resident_kib(side), now_ns());
    while now_ns() < end_ns.min(since_ns + SETTLED_NS) && !lab.is_stopped() {
        sleep_until(now_ns() + SETTLING_STEP_NS);
        let now_kib = lab.resident_kib(side);
        if now_kib != kib {
            (kib, since_ns) = (now_kib, now_ns());
        }
    }
    kib
}

impl Arrival {
    /// Adds the figures, as far as they could be measured.
    pub(crate) fn report(&self, side: &mut Side) {
        if self.cpu_us_each > 0.0 {
            side.measure(CPU_PER_NEW_VIEWER, "us", self.cpu_us_each);
            let [before, after] = self.resident_kib.map(|kib| kib as f64);
            // A few viewers weigh less than what a process takes and gives back by itself.
            if after > before {
                let each = (after - before) / f64::from(self.viewers);
                side.measure(MEMORY_PER_VIEWER, "KiB", each);
            }
            side.measure("memory before they came", "MiB", before / 1024.0);
            side.measure(MEMORY_OF_ALL, "MiB", after / 1024.0);
        }
        side.measure("arrival of all", "s", self.seconds);
        let seconds = self.seconds.max(1e-9);
        side.measure(ARRIVALS_PER_SECOND, "", f64::from(self.viewers) / seconds);
        if self.resumed > 0 {
            side.measure("handshakes that resumed", "", self.resumed as f64);
        }
        let clients = self.clients_ns as f64 / 1e9 / seconds;
        side.measure("CPU of the clients at arrival", "% of a core", 100.0 * clients);
    }
}
