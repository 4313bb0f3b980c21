//! Accept: connections are taken from the kernel until the server goes away, and then to the last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::{LAST_HEAD, Serving};
use super::gate::Room;

/// How long to wait after an error that waiting may cure, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the shutdown begins; then it takes those that have come, closes the listener, and
/// ends when all connections have been answered or handed over, or had their time.
pub(crate) async fn run(listener: TcpListener, serving: Serving, drain: Duration) {
    let mut draining = serving.draining.clone();
    // Each connection's task has a sender: when all are gone, so are the connections.
    let (alive, mut ended) = mpsc::channel::<Infallible>(1);
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            // Dropped: a connection stays in the kernel's queue until it is accepted.
            accepted = listener.accept() => accepted,
            // Dropped: the value stays.
            _ = draining.wait_for(|begun| *begun) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                admit(stream, peer, &serving, &alive).await;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(%error, "accept_failed");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let closing = async {
        take_the_last(listener, &serving, &alive).await;
        drop(alive);
        ended.recv().await
    };
    // Dropped: their time is over. The tasks of those that are left end with the runtime.
    _ = timeout(drain, closing).await;
}

/// Starts a connection's task. Where files run out, this waits: who comes next stays in the kernel.
async fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    serving: &Serving,
    alive: &mpsc::Sender<Infallible>,
) {
    let last = match serving.api.gate.room_for(&stream, LAST_HEAD).await {
        Room::Enough => None,
        Room::Last(permit) => Some(permit),
        Room::None => return,
    };
    let (serving, alive) = (serving.clone(), alive.clone());
    tokio::spawn(async move {
        serving.serve(stream, peer, last).await;
        drop(alive);
    });
}

/// Who has connected already is answered or told 1012 like the others, not reset.
async fn take_the_last(listener: TcpListener, serving: &Serving, alive: &mpsc::Sender<Infallible>) {
    let Ok(listener) = listener.into_std() else { return };
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    admit(stream, peer, serving, alive).await;
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Errors that say something of the connection, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
