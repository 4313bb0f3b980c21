//! Accept: connections, the requests on them, and the hand-over of those that become sockets.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::core::fanout::Purpose;
use crate::http::api::{self, Api};
use crate::http::handshake;
use crate::worker::thread::SharedWorker;

/// How long to wait after an error that waiting may cure, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until the shutdown begins; then it takes those that have come and closes the listener.
pub(crate) async fn run(
    listener: TcpListener,
    worker: SharedWorker,
    api: Arc<Api>,
    mut shutdown: watch::Receiver<bool>,
) {
    let draining = shutdown.clone();
    let serve = |stream: TcpStream| {
        tokio::spawn(connection(stream, worker.clone(), api.clone(), draining.clone()));
    };
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            // Dropped: a connection stays in the kernel's queue until it is accepted.
            accepted = listener.accept() => accepted,
            // Dropped: the value stays.
            _ = shutdown.wait_for(|begun| *begun) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                serve(stream);
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
    // Who has connected already is told 1012 like the others, not reset.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, _)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                serve(stream);
            }
        }
    }
}

/// Errors that say something of the connection, not of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves a connection's requests, and hands it to the worker when one of them is a handshake.
async fn connection(
    stream: TcpStream,
    worker: SharedWorker,
    api: Arc<Api>,
    mut draining: watch::Receiver<bool>,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let becomes: Arc<Mutex<Option<(OnUpgrade, Purpose)>>> = Arc::default();
    let service = service_fn(|mut request| {
        let (api, becomes) = (api.clone(), becomes.clone());
        async move {
            Ok::<_, Infallible>(match handshake::answer(&request, &api.config) {
                Some((response, purpose)) => {
                    if let Some(purpose) = purpose {
                        let upgrade = hyper::upgrade::on(&mut request);
                        *becomes.lock() = Some((upgrade, purpose));
                    }
                    response
                }
                None => api::respond(request, &api).await,
            })
        }
    });
    let limits = &api.config.limits;
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout())
        .max_buf_size(limits.header_bytes_max)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = pin!(serving);
    let served = tokio::select! {
        // Not dropped before it is done.
        served = serving.as_mut() => served,
        // Dropped: the value stays.
        () = async { _ = draining.wait_for(|begun| *begun).await } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection_failed");
        return;
    }
    let Some((upgrade, purpose)) = becomes.lock().take() else { return };
    if let Ok(upgraded) = upgrade.await
        && let Err(error) = hand_over(upgraded, &worker, purpose)
    {
        tracing::debug!(%error, "hand_over_failed");
    }
}

/// Gives the bare socket to the worker; nothing of the HTTP connection stays behind.
fn hand_over(upgraded: Upgraded, worker: &SharedWorker, purpose: Purpose) -> io::Result<()> {
    let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() else {
        return Err(io::Error::other("the connection is of another type"));
    };
    let stream = parts.io.into_inner().into_std()?;
    // A client may send frames along with its handshake.
    worker.lock().adopt(stream, parts.read_buf.to_vec(), purpose)
}
