//! `taskcast health`: asks a server whether it lives, for what starts it again or sends it viewers.

mod unverified;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Outcome, fail, print, reachable};
use crate::config::{Config, ConfigError, Setting};

/// How long the server may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// As much is read of an answer, which is a line.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// What a proxy says that speaks for itself (PROXY protocol, version 2).
const LOCAL_HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// What is asked, and whom.
#[derive(Args)]
pub(super) struct HealthArgs {
    /// Ask whether it can serve (/readyz) rather than whether it lives (/healthz)
    #[arg(long)]
    ready: bool,
    /// The address that it listens on [env: TASKCAST_LISTEN] [default: 127.0.0.1:8000]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<String>,
    /// The file that it was started with; flag and environment go over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl HealthArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        let listen = self.listen.iter().map(|address| Setting::flag("listen", address)).collect();
        Config::load(self.config.as_deref(), std::env::vars_os(), listen)
    }
}

/// Asks once, and prints the answer.
pub(super) async fn run(args: HealthArgs) -> ExitCode {
    let config = match args.load() {
        Ok(config) => config,
        Err(error) => return fail(Outcome::Usage, &error.to_string()),
    };
    // A flag says where to ask, whatever the file has beside it.
    let named = args.listen.is_some().then(|| config.listen.first().copied()).flatten();
    let asked = named.unwrap_or_else(|| config.health_address());
    let is_admin = config.admin_listen == Some(asked);
    let door = Door {
        address: reachable(asked),
        is_proxied: config.proxy_protocol && !is_admin,
        is_tls: config.tls.is_set() && !is_admin,
    };
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let answer = timeout(ANSWER_TIMEOUT, door.get(path)).await;
    match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {
            print(body(&answer)).err().unwrap_or_else(|| Outcome::Done.into())
        }
        Ok(answer) => fail(Outcome::Failed, body(&answer)),
        Err(error) => fail(Outcome::Failed, &format!("{}: {error}", door.url(path))),
    }
}

/// Where a server is asked, and what it expects there.
struct Door {
    address: SocketAddr,
    is_proxied: bool,
    is_tls: bool,
}

impl Door {
    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.is_tls { "https" } else { "http" }, self.address)
    }

    /// The answer of the server, whole.
    async fn get(&self, path: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address).await?;
        if self.is_proxied {
            stream.write_all(LOCAL_HEADER).await?;
        }
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        let request = format!("{head}Connection: close\r\n\r\n");
        match self.is_tls {
            true => exchange(unverified::connect(stream).await?, &request).await,
            false => exchange(stream, &request).await,
        }
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    // TLS may keep what the socket did not take.
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => Err(error),
        // What breaks off behind an answer takes nothing from it.
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or(answer, |(_, body)| body)
}
