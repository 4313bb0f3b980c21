//! nginx before a server: it speaks TLS with the viewers, and asks the server over TCP for each.

use crate::child::{Child, Program};
use crate::clock::now_ns;
use crate::failure::{Context, Result};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Of those who come before anything is measured, and of those who probe.
const CONNECTIONS_MORE: u64 = 2048;

/// Dropping it ends it.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
    _directory: Directory,
}

/// nginx wants one for its files.
struct Directory(PathBuf);

impl Front {
    /// Starts it on the cores of the server.
    pub(crate) fn start(
        port: u16,
        server: SocketAddr,
        files: [String; 2],
        viewers: u64,
        cores: &[usize],
    ) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let name = format!("loadtest-nginx-{}-{:x}", std::process::id(), now_ns());
        let directory = Directory(std::env::temp_dir().join(name));
        let file = directory.0.join("nginx.conf");
        fs::create_dir(&directory.0)
            .and_then(|()| {
                let text = configuration(&directory.0, [address, server], files, viewers);
                fs::write(&file, text)
            })
            .while_doing(|| format!("cannot write {}", file.display()))?;
        let args = ["-c".into(), file.into(), "-p".into(), directory.0.clone().into()];
        let child = Child::start(Program {
            name: "nginx",
            program: Path::new("nginx"),
            args: args.into(),
            cores,
            piped: false,
        })?;
        Ok(Self { address, child, _directory: directory })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// As one would set it up for very many sockets. One process is master and worker at once, so that
/// nothing of it is counted twice and none outlives the harness.
fn configuration(
    directory: &Path,
    [address, server]: [SocketAddr; 2],
    [certificate, key]: [String; 2],
    viewers: u64,
) -> String {
    // It has memory for all of them from the start: two for each viewer, and some to spare.
    let connections = 2 * viewers + CONNECTIONS_MORE;
    // What it does not own it would give away when it is started by root.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let directory = directory.display();
    format!(
        r#"
daemon off; master_process off; worker_processes 1; {user}
pid {directory}/pid; error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {directory}/client; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream taskcast {{ server {server}; keepalive 64; }}
    server {{
        listen {address} ssl backlog=4096;
        ssl_certificate {certificate}; ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        location / {{
            proxy_pass http://taskcast;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_buffering off;
            proxy_read_timeout 1h; proxy_send_timeout 1h;
        }}
    }}
}}
"#
    )
}
