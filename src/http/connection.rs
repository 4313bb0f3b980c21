//! One connection: the requests on it, and the hand-over where one of them makes it a socket.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::allowed;
use super::api::{self, Api};
use super::caller::{self, Caller};
use super::error::ApiError;
use super::gate::Place;
use super::handshake;
use super::host;
use super::paced::Paced;
use super::proxy_header;
use super::response::{Response, closing};
use super::route::Route;
use super::secured::secured;
use crate::access::Arrival;
use crate::audit::Who;
use crate::core::fanout::Purpose;
use crate::holders::{Holder, Seat, TooMuch};
use crate::newcomer::{Guest, Newcomer};
use crate::tls::{Bare, PeerCertificate, Stream};

/// Takes a connection that became a socket, with what came along with its handshake.
pub(crate) type HandOver = Arc<dyn Fn(Bare, Vec<u8>, Newcomer) -> io::Result<()> + Send + Sync>;

/// How long one of the last files has for its head.
pub(super) const LAST_HEAD: Duration = Duration::from_secs(1);
/// And until it is closed.
const LAST_TOTAL: Duration = Duration::from_secs(2);
/// After the shutdown has begun, a connection that was answered before is left open for so long:
/// what its client had sent by then is answered.
const DRAIN_GRACE: Duration = Duration::from_millis(50);

/// Who is refused so was not looked at before.
const NOT_LOOKED_AT: [(StatusCode, &str); 2] = [
    (StatusCode::MISDIRECTED_REQUEST, "another Host"),
    (StatusCode::TOO_MANY_REQUESTS, "too much"),
];

/// Where connections come in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    /// Only this machine reaches it.
    pub(crate) on_loopback: bool,
    /// It is for those who look after the server.
    pub(crate) is_admin: bool,
}

/// What all connections of a worker need.
#[derive(Clone)]
pub(crate) struct Serving {
    /// What answers.
    pub(crate) api: Arc<Api>,
    pub(crate) door: Door,
    /// Where sockets go.
    pub(crate) hand_over: HandOver,
    /// Becomes true when the server goes away.
    pub(crate) draining: watch::Receiver<bool>,
}

/// A connection, as its requests see it.
struct Connection<'a> {
    api: &'a Api,
    door: Door,
    /// The other side.
    peer: IpAddr,
    /// The certificate that it showed.
    certificate: Option<Arc<PeerCertificate>>,
    /// Its place among those of its address; a proxy has none, those who come through it have.
    seat: Mutex<Option<Seat>>,
    /// It is one more than its address may have.
    is_too_many: Option<TooMuch>,
    /// It has one of the last files.
    is_last: bool,
    /// A request has come.
    was_asked: AtomicBool,
    draining: watch::Receiver<bool>,
    /// Its place among those that are counted, from its first head on.
    place: Mutex<Option<Place>>,
    /// Set by the request that makes it a socket.
    becomes: Mutex<Option<(OnUpgrade, Newcomer)>>,
}

impl Serving {
    /// Serves a connection until it ends or is handed over.
    pub(super) async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        last: Option<OwnedSemaphorePermit>,
    ) {
        let served = self.of_its_peer(stream, peer.ip(), last.is_some());
        if last.is_some() {
            // Dropped: its time is over.
            _ = timeout(LAST_TOTAL, served).await;
        } else {
            served.await;
        }
    }

    async fn of_its_peer(self, mut stream: TcpStream, peer: IpAddr, is_last: bool) {
        let established = async {
            let peer = self.passed_on(&mut stream, peer).await?;
            let api = self.api.as_ref();
            let stream = if self.door.is_admin {
                Stream::Plain(stream)
            } else {
                secured(stream, api).await?
            };
            Ok::<_, io::Error>((peer, stream))
        };
        match established.await {
            Ok((peer, stream)) => self.requests(stream, peer, is_last).await,
            Err(error) => tracing::debug!(%peer, %error, "connection_failed"),
        }
    }

    /// Whose connection it is, where a proxy passes it on.
    async fn passed_on(&self, stream: &mut TcpStream, peer: IpAddr) -> io::Result<IpAddr> {
        let config = &self.api.config;
        if !config.proxy_protocol || self.door.is_admin {
            return Ok(peer);
        }
        let trusted = &config.trusted_proxies;
        if !trusted.is_empty() && !caller::is_trusted(peer, trusted) {
            return Err(io::Error::other("it is not from one of trusted_proxies"));
        }
        let header = proxy_header::read(stream);
        Ok(timeout(config.limits.handshake_timeout(), header).await??.unwrap_or(peer))
    }

    async fn requests(mut self, stream: Stream, peer: IpAddr, is_last: bool) {
        let api = self.api.clone();
        let limits = &api.config.limits;
        let is_none = self.door.is_admin || caller::is_trusted(peer, &api.config.trusted_proxies);
        let seat = if is_none { Ok(None) } else { api.holders.sit(Holder::at(peer)) };
        let is_in_short = is_last || seat.is_err();
        let certificate = stream.peer_certificate().and_then(PeerCertificate::of).map(Arc::new);
        let connection = Connection {
            api: &api,
            door: self.door,
            peer,
            certificate,
            is_too_many: seat.as_ref().err().copied(),
            seat: Mutex::new(seat.ok().flatten()),
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
            .header_read_timeout(if is_in_short { LAST_HEAD.min(head) } else { head })
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
            tracing::debug!(%peer, %error, "connection_failed");
            return;
        }
        let becomes = connection.becomes.lock().take();
        let Some((upgrade, newcomer)) = becomes else { return };
        if let Ok(upgraded) = upgrade.await
            && let Err(error) = self.hand_over(upgraded, newcomer).await
        {
            tracing::debug!(%peer, %error, "hand_over_failed");
        }
    }

    /// Gives the bare socket away; nothing of the HTTP connection stays behind.
    async fn hand_over(&self, upgraded: Upgraded, newcomer: Newcomer) -> io::Result<()> {
        let Ok(parts) = upgraded.downcast::<TokioIo<Paced>>() else {
            return Err(io::Error::other("the connection is of another type"));
        };
        // A client may send frames along with its handshake.
        let mut early = parts.read_buf.to_vec();
        let stream = parts.io.into_inner().into_inner();
        let limit = self.api.config.limits.handshake_timeout();
        let bare = timeout(limit, stream.into_bare(&mut early)).await??;
        (self.hand_over)(bare, early, newcomer)
    }
}

impl Connection<'_> {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        self.was_asked.store(true, Relaxed);
        let config = &self.api.config;
        let certificate = self.certificate.as_deref();
        let trusted = &config.trusted_proxies;
        let caller = Caller::of(request.headers(), self.peer, certificate, trusted);
        let audited = config.audit.then(|| request.uri().path().to_owned());
        let answer = self.answer_as_ever(request, caller).await;
        if let Some(path) = audited
            && let Some((_, why)) = NOT_LOOKED_AT.iter().find(|(it, _)| *it == answer.status())
        {
            Who::of(None, caller.address).refused(&path, why);
        }
        let goes_on =
            answer.status() == StatusCode::SWITCHING_PROTOCOLS || !*self.draining.borrow();
        if goes_on { answer } else { closing(answer) }
    }

    async fn answer_as_ever(&self, mut request: Request<Incoming>, caller: Caller<'_>) -> Response {
        if let Some(too_much) = self.is_too_many {
            return closing(too_many(too_much));
        }
        let hosts = &self.api.config.hosts;
        if let Err(refusal) = host::check(&request, self.door.on_loopback, hosts) {
            return closing(refusal.into());
        }
        let route = Route::of(request.uri().path(), self.api.config.diagnostics);
        if self.door.is_admin {
            return api::respond_to_admin(request, self.api).await;
        }
        if self.is_last {
            return closing(match route {
                Some(Route::Health) => api::respond(request, caller, self.api).await,
                _ => full("the server has no files left"),
            });
        }
        if let Some(Route::Socket(endpoint)) = route {
            let config = &self.api.config;
            let (mut answer, purpose) = handshake::answer(&request, endpoint, config);
            if let Some(purpose) = purpose {
                match self.comes(&request, caller, purpose).await {
                    Ok((newcomer, protocol)) => {
                        let protocol = protocol.map(|name| (SEC_WEBSOCKET_PROTOCOL, name));
                        answer.headers_mut().extend(protocol);
                        let upgrade = hyper::upgrade::on(&mut request);
                        *self.becomes.lock() = Some((upgrade, newcomer));
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
        // Of those who come through a proxy, each has a place for as long as he asks.
        let _seat = match self.sit(caller) {
            Ok(seat) => seat,
            Err(too_much) => return too_many(too_much),
        };
        api::respond(request, caller, self.api).await
    }

    /// A place for who comes through a proxy: others have it for their connection, and the proxy itself
    /// needs none.
    fn sit(&self, caller: Caller<'_>) -> Result<Option<Seat>, TooMuch> {
        let is_passed_on = caller::is_trusted(self.peer, &self.api.config.trusted_proxies);
        match caller.holder() {
            Some(holder) if is_passed_on => self.api.holders.sit(holder),
            _ => Ok(None),
        }
    }

    /// Who opens a socket, and the subprotocol that he is answered.
    ///
    /// # Errors
    /// The answer, where he may not.
    async fn comes(
        &self,
        request: &Request<Incoming>,
        caller: Caller<'_>,
        purpose: Purpose,
    ) -> Result<(Newcomer, Option<HeaderValue>), Box<Response>> {
        let holders = &self.api.holders;
        let busy = |too_much| Box::new(too_many(too_much));
        if let Some(holder) = caller.holder() {
            holders.attach(&holder).map_err(busy)?;
        }
        let mut seats = Vec::from_iter(self.sit(caller).map_err(busy)?);
        let mut subjects = Vec::new();
        let (arrival, shown, protocol) =
            allowed::arrival(request, &purpose, caller, self.api).await?;
        if let Arrival::Granted(pass, _) = &arrival {
            for subject in pass.subjects().cloned().map(Holder::Subject) {
                holders.attach(&subject).map_err(busy)?;
                seats.extend(holders.sit(subject.clone()).map_err(busy)?);
                subjects.push(subject);
            }
        }
        seats.extend(self.seat.lock().take());
        let certificate = self.certificate.clone().filter(|_| caller.certificate.is_some());
        let guest = Guest { from: caller.address, seats, subjects, certificate, shown };
        Ok((Newcomer { purpose, arrival, guest }, protocol))
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

/// This is more than its address or its subject may.
pub(super) fn too_many(too_much: TooMuch) -> Response {
    let mut answer: Response = ApiError::too_much().into();
    let seconds =
        too_much.retry_after.as_secs() + u64::from(too_much.retry_after.subsec_nanos() > 0);
    answer.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
    answer
}

/// There is no room for this connection.
fn full(why: &str) -> Response {
    let mut answer: Response = ApiError::unavailable(format!("{why}, try again later")).into();
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    closing(answer)
}
