//! One connection: the requests on it, and the hand-over where one of them makes it a socket.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::http::uri::Authority;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{HeaderMap, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::allowed;
use super::api::{self, Api};
use super::error::ApiError;
use super::gate::Place;
use super::handshake;
use super::paced::Paced;
use super::response::{Response, closing};
use super::route::Route;
use crate::access::Arrival;
use crate::core::fanout::Purpose;

/// Takes a connection that became a socket, with what came along with its handshake.
pub(crate) type HandOver =
    Arc<dyn Fn(std::net::TcpStream, Vec<u8>, Purpose, Arrival) -> io::Result<()> + Send + Sync>;

/// How long one of the last files has for its head.
pub(super) const LAST_HEAD: Duration = Duration::from_secs(1);
/// And until it is closed.
const LAST_TOTAL: Duration = Duration::from_secs(2);
/// After the shutdown has begun, a connection that was answered before is left open for so long:
/// what its client had sent by then is answered.
const DRAIN_GRACE: Duration = Duration::from_millis(50);

/// What all connections of a worker need.
#[derive(Clone)]
pub(crate) struct Serving {
    /// What answers.
    pub(crate) api: Arc<Api>,
    /// Where sockets go.
    pub(crate) hand_over: HandOver,
    /// Becomes true when the server goes away.
    pub(crate) draining: watch::Receiver<bool>,
}

/// A connection, as its requests see it.
struct Connection<'a> {
    api: &'a Api,
    /// It has one of the last files.
    is_last: bool,
    /// A request has come.
    was_asked: AtomicBool,
    draining: watch::Receiver<bool>,
    /// Its place among those that are counted, from its first head on.
    place: Mutex<Option<Place>>,
    /// Set by the request that makes it a socket.
    becomes: Mutex<Option<(OnUpgrade, Purpose, Arrival)>>,
}

impl Serving {
    /// Serves a connection until it ends or is handed over.
    pub(super) async fn serve(self, stream: TcpStream, last: Option<OwnedSemaphorePermit>) {
        if last.is_some() {
            // Dropped: its time is over.
            _ = timeout(LAST_TOTAL, self.requests(stream, true)).await;
        } else {
            self.requests(stream, false).await;
        }
    }

    async fn requests(mut self, stream: TcpStream, is_last: bool) {
        let api = self.api.clone();
        let limits = &api.config.limits;
        let connection = Connection {
            api: &api,
            is_last,
            was_asked: AtomicBool::new(false),
            draining: self.draining.clone(),
            place: Mutex::default(),
            becomes: Mutex::default(),
        };
        let service =
            service_fn(|request| async { Ok::<_, Infallible>(connection.answer(request).await) });
        let head = limits.handshake_timeout();
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(if is_last { LAST_HEAD.min(head) } else { head })
            .max_buf_size(limits.header_bytes_max)
            .serve_connection(TokioIo::new(Paced::new(stream, limits.stall_timeout())), service)
            .with_upgrades();
        let mut serving = pin!(serving);
        let served = tokio::select! {
            // Not dropped before it is done.
            served = serving.as_mut() => Some(served),
            // Dropped: the value stays.
            _ = self.draining.wait_for(|begun| *begun) => None,
        };
        let served = match served {
            Some(served) => served,
            None => match timeout(DRAIN_GRACE, serving.as_mut()).await {
                Ok(served) => served,
                Err(_) => {
                    // This would close one that has not been asked anything yet. That one ends
                    // with its first answer, or when its head has not come in time.
                    if connection.was_asked.load(Relaxed) {
                        serving.as_mut().graceful_shutdown();
                    }
                    serving.await
                }
            },
        };
        if let Err(error) = served {
            tracing::debug!(%error, "connection_failed");
            return;
        }
        let becomes = connection.becomes.lock().take();
        let Some((upgrade, purpose, arrival)) = becomes else { return };
        if let Ok(upgraded) = upgrade.await
            && let Err(error) = self.hand_over(upgraded, purpose, arrival)
        {
            tracing::debug!(%error, "hand_over_failed");
        }
    }

    /// Gives the bare socket away; nothing of the HTTP connection stays behind.
    fn hand_over(&self, upgraded: Upgraded, purpose: Purpose, arrival: Arrival) -> io::Result<()> {
        let Ok(parts) = upgraded.downcast::<TokioIo<Paced>>() else {
            return Err(io::Error::other("the connection is of another type"));
        };
        let stream = parts.io.into_inner().into_inner().into_std()?;
        // A client may send frames along with its handshake.
        (self.hand_over)(stream, parts.read_buf.to_vec(), purpose, arrival)
    }
}

impl Connection<'_> {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        self.was_asked.store(true, Relaxed);
        let answer = self.answer_as_ever(request).await;
        let goes_on =
            answer.status() == StatusCode::SWITCHING_PROTOCOLS || !*self.draining.borrow();
        if goes_on { answer } else { closing(answer) }
    }

    async fn answer_as_ever(&self, mut request: Request<Incoming>) -> Response {
        if let Err(detail) = check_host(request.version(), request.headers()) {
            return closing(ApiError::malformed(detail).into());
        }
        let route = Route::of(request.uri().path(), self.api.config.diagnostics);
        if self.is_last {
            return closing(match route {
                Some(Route::Health) => api::respond(request, self.api).await,
                _ => full("the server has no files left"),
            });
        }
        if let Some(Route::Socket(endpoint)) = route {
            let config = &self.api.config;
            let (mut answer, purpose) = handshake::answer(&request, endpoint, config);
            if let Some(purpose) = purpose {
                match allowed::arrival(request.headers(), request.uri(), self.api).await {
                    Ok((arrival, protocol)) => {
                        let protocol = protocol.map(|name| (SEC_WEBSOCKET_PROTOCOL, name));
                        answer.headers_mut().extend(protocol);
                        let upgrade = hyper::upgrade::on(&mut request);
                        *self.becomes.lock() = Some((upgrade, purpose, arrival));
                        return answer;
                    }
                    Err(refusal) => answer = *refusal,
                }
            }
            return if self.has_place() { answer } else { closing(answer) };
        }
        if !self.has_place() {
            return full("the server has too many connections");
        }
        api::respond(request, self.api).await
    }

    /// Whether the connection is among those that are counted, or now becomes one of them. One that
    /// becomes a socket is none: it leaves at once.
    fn has_place(&self) -> bool {
        let mut place = self.place.lock();
        if place.is_none() {
            *place = self.api.gate.enter();
        }
        place.is_some()
    }
}

/// There is no room for this connection.
fn full(why: &str) -> Response {
    let mut answer: Response = ApiError::unavailable(format!("{why}, try again later")).into();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    closing(answer)
}

/// What is wrong with a request's `Host` (RFC 9112 §3.2).
fn check_host(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Err("a request of HTTP/1.1 has to have a Host"),
        (None, _) => Ok(()),
        (Some(host), None) if host.is_empty() || Authority::try_from(host.as_bytes()).is_ok() => {
            Ok(())
        }
        (Some(_), None) => Err("the Host is malformed"),
        (Some(_), Some(_)) => Err("a request has one Host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_one_host_but_for_http_1_0() {
        for (version, hosts, holds) in [
            (Version::HTTP_11, &[][..], false),
            (Version::HTTP_11, &["a"][..], true),
            (Version::HTTP_11, &["[::1]:80"][..], true),
            (Version::HTTP_11, &[""][..], true),
            (Version::HTTP_11, &["a", "a"][..], false),
            (Version::HTTP_11, &["a/b"][..], false),
            (Version::HTTP_11, &["a b"][..], false),
            (Version::HTTP_10, &[][..], true),
            (Version::HTTP_10, &["a", "b"][..], false),
        ] {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(header::HOST, HeaderValue::from_static(host));
            }
            assert_eq!(check_host(version, &headers).is_ok(), holds, "{version:?} {hosts:?}");
        }
    }
}
