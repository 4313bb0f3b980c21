//! All that one scenario runs on: Redis, the server and its floors, the client processes, and the
//! sampler that watches them.

use crate::backend::{Redis, Server};
use crate::child::{self, file_limit};
use crate::client::control::GroupId;
use crate::client::counters::Counters;
use crate::clock::{SECOND_NS, now_ns, sleep_until};
use crate::cores::{self, Cores};
use crate::failure::{Context, Failure, Result};
use crate::fleet::{Fleet, OTHER_FILES};
use crate::options::{Common, FloorKind, Over};
use crate::progress::{Progress, Watched};
use crate::publish::{self, Feed, Publisher};
use crate::sample;
use crate::stop::Stop;
use crate::tls::Certificate;
use crate::wire::Shape;
use std::net::TcpStream;
use std::ops::Range;

/// Pauses are cut into these, so that Ctrl-C is heard.
const NAP_NS: u64 = SECOND_NS / 10;

/// Dropped in this order: viewers first, Redis last.
pub(crate) struct Lab {
    pub(crate) progress: Progress,
    pub(crate) fleet: Fleet,
    /// The server first, then the floors.
    pub(crate) sides: Vec<Side>,
    pub(crate) redis: Redis,
    pub(crate) common: Common,
    pub(crate) stop: Stop,
    /// The ids of this run's tasks begin with it.
    pub(crate) prefix: String,
    shape: Shape,
    tasks: u32,
    /// What the server and the floors show, where they speak TLS.
    _certificate: Option<Certificate>,
}

/// One of those that do the same work in turns.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) server: Server,
    /// The feed of a floor; the server is fed by Redis.
    feed: Option<TcpStream>,
}

/// CPU used so far, in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) server: u64,
    pub(crate) redis: u64,
    pub(crate) clients: u64,
    /// What no part of the run has used: other programs, and what the host took.
    pub(crate) strangers: u64,
    /// When it was read.
    pub(crate) at_ns: u64,
}

/// What a scenario needs of its lab.
pub(crate) struct Needs {
    pub(crate) scenario: &'static str,
    pub(crate) tasks: u32,
    /// Connections to each side.
    pub(crate) sockets: u64,
    pub(crate) floors: bool,
}

impl Lab {
    pub(crate) fn start(common: &Common, stop: &Stop, needs: &Needs) -> Result<Self> {
        check_file_limit(common, needs.sockets)?;
        let is_secure =
            common.over() != Over::Plain || common.url.as_ref().is_some_and(|url| url.tls);
        let certificate = is_secure.then(Certificate::new).transpose()?;
        let prefix = format!("lt-{:x}-", now_ns() >> 16);
        let shape = Shape::of_size(common.size as usize, &prefix)?;
        let cores = match common.pin {
            true => Cores::pinned(common.workers, cores::given())?,
            false => Cores::default(),
        };
        child::pin(&cores.others)?;
        let redis = Redis::start(common, &cores)?;
        let server = Server::start(common, &redis, &cores, certificate.as_ref(), needs.sockets)?;
        let mut sides = vec![Side { name: "server", server, feed: None }];
        for kind in common.floor.iter().filter(|_| needs.floors) {
            let coalesced = *kind == FloorKind::Coalesced;
            let (server, feed) =
                Server::start_floor(coalesced, common, &cores, certificate.as_ref())?;
            let name = if coalesced { "coalesced floor" } else { "floor" };
            sides.push(Side { name, server, feed: Some(feed) });
        }
        let sockets = needs.sockets * sides.len() as u64;
        let fleet =
            Fleet::start(sockets, common.clients.map(usize::from), &cores.others, stop.clone())?;
        publish::create_tasks(&mut redis.connect()?, &prefix, needs.tasks)?;
        let watched = Watched {
            scenario: needs.scenario,
            sides: sides.iter().map(|side| (side.name, side.server.pids.clone())).collect(),
            redis: redis.pids.clone(),
            clients: fleet.pids(),
        };
        Ok(Self {
            progress: Progress::start(watched, fleet.board(), common.quiet),
            fleet,
            sides,
            redis,
            common: common.clone(),
            stop: stop.clone(),
            prefix,
            shape,
            tasks: needs.tasks,
            _certificate: certificate,
        })
    }

    /// A publisher for some of the tasks of a side.
    pub(crate) fn publisher(
        &mut self,
        side: usize,
        tasks: Range<u32>,
        updates: u64,
    ) -> Result<Publisher> {
        let feed = match &self.sides[side].feed {
            None => Feed::Redis(Box::new(self.redis.connect()?)),
            Some(feed) => {
                Feed::Floor(feed.try_clone().while_doing(|| "cannot share a floor's feed".into())?)
            }
        };
        let length_max = stream_length_max(updates);
        Ok(Publisher::new(feed, &self.prefix, tasks, self.shape.clone(), length_max))
    }

    pub(crate) fn cpu(&self, side: usize) -> Cpu {
        let sides = self.sides.iter().map(|side| sample::cpu_ns(&side.server.pids));
        let sides: Vec<u64> = sides.collect();
        let redis = sample::cpu_ns(&self.redis.pids);
        let clients = sample::cpu_ns(&self.fleet.pids());
        let own = sample::cpu_ns(&[std::process::id()]);
        let ours = sides.iter().sum::<u64>() + redis + clients + own;
        let strangers = sample::machine_ns().saturating_sub(ours);
        Cpu { server: sides[side], redis, clients, strangers, at_ns: now_ns() }
    }

    /// Resident KiB of a side; 0 when we cannot look.
    pub(crate) fn resident_kib(&self, side: usize) -> u64 {
        sample::resident_kib(&self.sides[side].server.pids)
    }

    /// The server's connections to Redis: all but the publisher's and the one that asks.
    pub(crate) fn server_connections(&self) -> Result<u64> {
        let clients = self.redis.info("clients")?.remove("connected_clients");
        let clients: u64 = clients.and_then(|text| text.parse().ok()).unwrap_or_default();
        Ok(clients.saturating_sub(2))
    }

    /// Waits until a group's counts are as wanted: whether they came to be.
    pub(crate) fn wait(
        &mut self,
        group: GroupId,
        done: impl Fn(&Counters) -> bool,
    ) -> Result<bool> {
        let Self { fleet, sides, redis, .. } = self;
        fleet.wait(group, done, || check(sides, redis))
    }

    /// Lets time pass, unless the user wants to stop or something has ended.
    pub(crate) fn rest(&mut self, seconds: f64) -> Result<()> {
        let end_ns = now_ns() + (seconds * SECOND_NS as f64) as u64;
        while now_ns() < end_ns && !self.is_stopped() {
            check(&mut self.sides, &mut self.redis)?;
            sleep_until(end_ns.min(now_ns() + NAP_NS));
        }
        Ok(())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }
}

/// An error when a server, or the Redis, that was started here has ended.
fn check(sides: &mut [Side], redis: &mut Redis) -> Result<()> {
    redis.check()?;
    sides.iter_mut().try_for_each(|side| side.server.check())
}

/// How many files the server will have open, if it is ours.
fn check_file_limit(common: &Common, sockets: u64) -> Result<()> {
    // Who stands before the server has two for each viewer.
    let each = if common.over() == Over::Nginx { 2 } else { 1 };
    let (needed, limit) = (each * sockets + OTHER_FILES, file_limit());
    if common.url.is_some() || needed <= limit {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the server, or what stands before it, would have {needed} files open, and a process may open {limit} here: take fewer \
         viewers, or raise the limit (`ulimit -Hn`)"
    )))
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.redis.ours
            && let Ok(mut redis) = self.redis.connect()
        {
            // They expire by themselves if this fails.
            let _ = publish::remove_tasks(&mut redis, &self.prefix, self.tasks);
        }
    }
}

impl Side {
    pub(crate) fn is_floor(&self) -> bool {
        self.feed.is_some()
    }
}

impl Cpu {
    /// What was used since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            redis: self.redis.saturating_sub(before.redis),
            clients: self.clients.saturating_sub(before.clients),
            strangers: self.strangers.saturating_sub(before.strangers),
            at_ns: self.at_ns.saturating_sub(before.at_ns),
        }
    }
}

impl std::ops::AddAssign for Cpu {
    fn add_assign(&mut self, other: Self) {
        self.server += other.server;
        self.redis += other.redis;
        self.clients += other.clients;
        self.strangers += other.strangers;
        self.at_ns += other.at_ns;
    }
}

/// Streams are bounded as publishers bound them, but keep all that a run may still need.
fn stream_length_max(updates: u64) -> u64 {
    const USUAL: u64 = 10_000;
    USUAL.max(2 * updates)
}
