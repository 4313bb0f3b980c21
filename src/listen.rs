//! Listeners: where connections come in, and how many files the process may open.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::Config;

/// Connections that wait to be accepted, per listener: a herd of viewers comes back at once.
const BACKLOG: i32 = 8192;

/// What is listened on: an address, and a listener of it for each worker.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    pub(crate) listeners: Vec<TcpListener>,
}

/// An address that cannot be listened on, and what the operating system says.
pub(crate) type NotListening = (SocketAddr, io::Error);

/// Listens on all addresses of the configuration.
///
/// # Errors
/// The first that cannot be listened on.
pub(crate) fn listen(config: &Config) -> Result<Vec<Listening>, NotListening> {
    let listen = |&address| listen_on(address, config).map_err(|error| (address, error));
    config.listen.iter().map(listen).collect()
}

/// Listens for those who look after the server.
///
/// # Errors
/// It cannot be listened on.
pub(crate) fn listen_for_admin(
    address: SocketAddr,
    config: &Config,
) -> Result<TcpListener, NotListening> {
    let unsent = config.limits.unsent_bytes_max;
    listen_once(address, unsent, !config.embedded).map_err(|error| (address, error))
}

/// A listener for each worker, all on one address.
///
/// The kernel spreads connections over them, and a new process may listen there while this one
/// drains. Not so on the embedded log, which no other process can go on with: there the workers
/// share one listener that has its address for itself.
fn listen_on(address: SocketAddr, config: &Config) -> io::Result<Listening> {
    let unsent = config.limits.unsent_bytes_max;
    if config.embedded {
        let listener = listen_once(address, unsent, false)?;
        let address = listener.local_addr()?;
        let all = (1..config.workers).map(|_| listener.try_clone());
        let mut listeners = all.collect::<io::Result<Vec<_>>>()?;
        listeners.push(listener);
        return Ok(Listening { address, listeners });
    }
    if is_in_use(address) {
        // Meant for the moment in which a new process takes over from one that drains.
        tracing::warn!(%address, "address_shared: another process listens here too");
    }
    let mut bound = address;
    let mut listeners = Vec::with_capacity(config.workers);
    for _ in 0..config.workers {
        let listener = listen_once(bound, unsent, true)?;
        bound = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(Listening { address: bound, listeners })
}

/// Whether some process listens on the address already.
fn is_in_use(address: SocketAddr) -> bool {
    let probe = || -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(1)
    };
    address.port() != 0 && probe().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn listen_once(address: SocketAddr, unsent: usize, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Each accepted socket inherits both.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(u32::try_from(unsent).unwrap_or(u32::MAX))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Each viewer is an open file: takes as many as the operating system allows, and says how many.
pub(crate) fn raise_open_files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let raised = setrlimit(Resource::Nofile, limit);
    if let Err(error) = raised {
        tracing::warn!(%error, "open_files_not_raised");
        limit.current = before;
    }
    limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn config(listen: SocketAddr, embedded: bool) -> Config {
        Config { listen: vec![listen], embedded, workers: 2, ..Config::default() }
    }

    /// The listeners of the one address, and that address.
    fn listening(config: &Config) -> Option<(Vec<TcpListener>, SocketAddr)> {
        let Listening { address, listeners } = listen(config).ok()?.pop()?;
        Some((listeners, address))
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn an_address_is_shared_but_not_that_of_an_embedded_log() {
        let (_first, address) = listening(&config(any(), false)).unwrap();
        let (second, same) = listening(&config(address, false)).unwrap();
        assert_eq!((address, second.len()), (same, 2));
        assert!(listening(&config(address, true)).is_none());
        let (held, address) = listening(&config(any(), true)).unwrap();
        assert_eq!(held.len(), 2);
        assert!(listening(&config(address, true)).is_none());
        assert!(listening(&config(address, false)).is_none());
    }

    #[test]
    fn accepted_sockets_inherit_what_the_listener_has() {
        let (listeners, address) = listening(&config(any(), true)).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        listeners[0].set_nonblocking(false).unwrap();
        let (accepted, _) = listeners[0].accept().unwrap();
        assert!(accepted.nodelay().unwrap());
        assert_eq!(socket2::SockRef::from(&accepted).tcp_notsent_lowat().unwrap(), 131_072);
    }
}
