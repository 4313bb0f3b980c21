//! Redis, the server and the floors of a run: started here, or given by the user.

use crate::child::{Child, Program, own_binary};
use crate::cores::Cores;
use crate::failure::{Context, Failure, Result};
use crate::front::Front;
use crate::options::{Common, Over};
use crate::sample;
use crate::tls::{Certificate, Trust};
use crate::url::Url;
use redis::Connection;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const READY_WAIT: Duration = Duration::from_secs(15);
const POLL_WAIT: Duration = Duration::from_millis(20);

pub(crate) struct Redis {
    pub(crate) url: String,
    pub(crate) pids: Vec<u32>,
    pub(crate) ours: bool,
    child: Option<Child>,
}

/// Something that viewers connect to.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    /// None where it speaks no TLS.
    pub(crate) tls: Option<Trust>,
    /// What shows that the viewers may watch.
    pub(crate) token: Option<String>,
    /// With what stands before it; empty when it runs where we cannot look.
    pub(crate) pids: Vec<u32>,
    child: Option<Child>,
    front: Option<Front>,
}

impl Redis {
    pub(crate) fn start(common: &Common, cores: &Cores) -> Result<Self> {
        if let Some(url) = &common.redis {
            let mut given = Self { url: url.clone(), pids: Vec::new(), ours: false, child: None };
            let pid = given.info("server")?.remove("process_id").and_then(|pid| pid.parse().ok());
            given.pids = pid.into_iter().filter(|pid| sample::exists(*pid)).collect();
            return Ok(given);
        }
        let port = free_port()?.to_string();
        let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        // It saves nothing, and finds no file of that name either.
        let name = format!("loadtest-{}-{port}.rdb", std::process::id());
        let files =
            ["--dir".into(), std::env::temp_dir().into(), "--dbfilename".into(), name.into()];
        let mut child = Child::start(Program {
            name: "redis",
            program: Path::new("redis-server"),
            args: args.iter().map(Into::into).chain(files).collect(),
            cores: &cores.others,
            piped: false,
        })?;
        let url = format!("redis://127.0.0.1:{port}");
        let deadline = Instant::now() + READY_WAIT;
        loop {
            if connect(&url).is_ok() {
                let pids = vec![child.pid()];
                return Ok(Self { url, pids, ours: true, child: Some(child) });
            }
            still_starting(
                &mut child,
                deadline,
                "redis-server (is it installed? else give --redis)",
            )?;
        }
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        connect(&self.url)
    }

    /// An error when a Redis of ours has ended; its last words are in it.
    pub(crate) fn check(&mut self) -> Result<()> {
        still_there(self.child.as_mut(), "Redis")
    }

    /// A section of INFO.
    pub(crate) fn info(&self, section: &str) -> Result<BTreeMap<String, String>> {
        let text: String = redis::cmd("INFO")
            .arg(section)
            .query(&mut self.connect()?)
            .while_doing(|| "Redis did not answer INFO".into())?;
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        Ok(pairs.map(|(name, value)| (name.to_string(), value.trim().to_string())).collect())
    }

    /// How often each command was called since Redis started.
    pub(crate) fn calls(&self) -> Result<BTreeMap<String, u64>> {
        let calls = |value: &str| value.strip_prefix("calls=")?.split(',').next()?.parse().ok();
        let stats = self.info("commandstats")?.into_iter();
        Ok(stats
            .filter_map(|(name, value)| {
                Some((name.strip_prefix("cmdstat_")?.to_string(), calls(&value)?))
            })
            .collect())
    }
}

fn connect(url: &str) -> Result<Connection> {
    let open = redis::Client::open(url).and_then(|client| client.get_connection());
    open.while_doing(|| format!("cannot connect to Redis at {url}"))
}

impl Server {
    pub(crate) fn start(
        common: &Common,
        redis: &Redis,
        cores: &Cores,
        certificate: Option<&Certificate>,
        viewers: u64,
    ) -> Result<Self> {
        if let Some(url) = &common.url {
            return Self::given(common, url);
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let host = address.to_string();
        let workers = common.workers.to_string();
        let mut args =
            vec!["serve", "--listen", &host, "--redis", &redis.url, "--workers", &workers];
        let files = certificate.map(Certificate::paths);
        if let (Over::Tls, Some([certificate, key])) = (common.over(), &files) {
            args.extend(["--tls-certificate", certificate, "--tls-key", key]);
        }
        let child = Child::start(Program {
            name: "server",
            program: &server_binary(common)?,
            args: args.iter().map(Into::into).chain(common.server_args.iter().cloned()).collect(),
            cores: &cores.server,
            piped: false,
        })?;
        let tls = files.as_ref().map(|_| Trust::in_ours(common.resume));
        let mut server = Self::of(child, address, tls);
        if let (Over::Nginx, Some(files)) = (common.over(), files) {
            server.put_behind(Front::start(free_port()?, address, files, viewers, &cores.server)?);
        }
        server.wait_until_ready()?;
        Ok(server)
    }

    /// One that runs already.
    fn given(common: &Common, url: &Url) -> Result<Self> {
        let pids = common.pid.clone();
        if let Some(pid) = pids.iter().find(|pid| !sample::exists(**pid)) {
            return Err(Failure::new(format!("--pid {pid}: there is no such process here")));
        }
        let read = |path: &Path| {
            std::fs::read_to_string(path).while_doing(|| format!("cannot read {}", path.display()))
        };
        let tls = match (url.tls, &common.ca) {
            (false, _) => None,
            (true, Some(ca)) => Some(Trust::in_authorities(url.name(), read(ca)?, common.resume)),
            (true, None) => return Err(Failure::new("an https --url needs --ca")),
        };
        let token = match &common.token_file {
            Some(path) => Some(read(path)?),
            None => std::env::var("TASKCAST_TOKEN").ok(),
        };
        let token = token.map(|token| token.trim().to_string());
        let (host, address) = (url.host.clone(), url.address);
        Ok(Self { address, host, tls, token, pids, child: None, front: None })
    }

    fn of(child: Child, address: SocketAddr, tls: Option<Trust>) -> Self {
        let (host, pids) = (address.to_string(), vec![child.pid()]);
        Self { address, host, tls, token: None, pids, child: Some(child), front: None }
    }

    /// Viewers come to what stands before it, and what both cost counts.
    fn put_behind(&mut self, front: Front) {
        self.address = front.address;
        self.host = front.address.to_string();
        self.pids.push(front.child.pid());
        self.front = Some(front);
    }

    /// Starts a floor; what is written to the returned feed goes to its viewers.
    pub(crate) fn start_floor(
        coalesced: bool,
        common: &Common,
        cores: &Cores,
        certificate: Option<&Certificate>,
    ) -> Result<(Self, TcpStream)> {
        let files = certificate.map(Certificate::paths);
        let tls = files.as_ref().map(|_| Trust::in_ours(common.resume));
        let mut args = vec!["__floor".to_string()];
        args.extend(coalesced.then(|| "--coalesced".to_string()));
        args.extend(files.iter().flatten().map(|path| format!("--tls={path}")));
        let mut child = Child::start(Program {
            name: if coalesced { "floor-coalesced" } else { "floor" },
            program: &own_binary()?,
            args: args.into_iter().map(Into::into).collect(),
            cores: &cores.server[..cores.server.len().min(1)],
            piped: true,
        })?;
        let (_, stdout) = child.pipes()?;
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        read.while_doing(|| "the floor said nothing".into())?;
        let ports: Vec<u16> =
            line.split_whitespace().filter_map(|port| port.parse().ok()).collect();
        let [port, feed_port] = ports[..] else {
            return Err(Failure::new(format!("the floor did not start\n{}", child.last_words())));
        };
        let feed = TcpStream::connect((Ipv4Addr::LOCALHOST, feed_port));
        let feed = feed.while_doing(|| "cannot reach the floor".into())?;
        feed.set_nodelay(true).while_doing(|| "cannot set up the floor's feed".into())?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok((Self::of(child, address, tls), feed))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WAIT;
        while !is_ready(self.address, self.tls.as_ref()) {
            if let Some(front) = &mut self.front {
                still_starting(&mut front.child, deadline, "nginx (is it installed?)")?;
            }
            if let Some(child) = &mut self.child {
                still_starting(child, deadline, "the server")?;
            }
        }
        Ok(())
    }

    /// An error when a server of ours has ended; its last words are in it.
    pub(crate) fn check(&mut self) -> Result<()> {
        still_there(self.front.as_mut().map(|front| &mut front.child), "nginx")?;
        still_there(self.child.as_mut(), "the server")
    }
}

fn still_there(child: Option<&mut Child>, name: &str) -> Result<()> {
    let Some(child) = child else { return Ok(()) };
    let Some(status) = child.ended() else { return Ok(()) };
    let words = child.last_words();
    Err(Failure::new(format!("{name} ended in the middle of the run ({status}):\n{words}")))
}

/// Waits a moment for a child that is not ready yet.
fn still_starting(child: &mut Child, deadline: Instant, name: &str) -> Result<()> {
    if let Some(status) = child.ended() {
        let words = child.last_words();
        return Err(Failure::new(format!("{name} did not start ({status}):\n{words}")));
    }
    if Instant::now() > deadline {
        let words = child.last_words();
        let wait = READY_WAIT.as_secs();
        return Err(Failure::new(format!("{name} was not ready within {wait} s:\n{words}")));
    }
    std::thread::sleep(POLL_WAIT);
    Ok(())
}

/// Whether `GET /readyz` is answered with 200.
fn is_ready(address: SocketAddr, tls: Option<&Trust>) -> bool {
    let ask = || -> std::io::Result<bool> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        match tls {
            None => answers(stream, address),
            Some(trust) => answers(trust.over(stream).map_err(std::io::Error::other)?, address),
        }
    };
    ask().unwrap_or(false)
}

fn answers(mut stream: impl Read + Write, address: SocketAddr) -> std::io::Result<bool> {
    write!(stream, "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    Ok(answer.ends_with(b" 200"))
}

fn server_binary(common: &Common) -> Result<PathBuf> {
    if let Some(path) = &common.server_bin {
        return Ok(path.clone());
    }
    let path = own_binary()?.with_file_name("taskcast");
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "there is no server at {}: build it with `cargo build --release`, or name one with \
         --server-bin, or a running one with --url, --redis and --pid",
        path.display()
    )))
}

/// A port that nobody listens on now.
fn free_port() -> Result<u16> {
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    Ok(any.while_doing(|| "there is no free port".into())?.port())
}
