//! Every request that is no WebSocket handshake: from the path to its answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use serde_json::json;
use tokio::sync::SemaphorePermit;
use tokio::time::timeout;

use super::allowed::{self, Right};
use super::caller::Caller;
use super::error::ApiError;
use super::gate::Gate;
use super::origin::Cors;
use super::query::Query;
use super::reads::Reads;
use super::receive::{Received, receive};
use super::response::{Content, Response, answer, closing, json_answer};
use super::route::Route;
use super::{page, tasks};
use crate::access::Access;
use crate::audit::Who;
use crate::config::Config;
use crate::core::account::{Account, Charge, Kind};
use crate::holders::Holders;
use crate::id::ThreadId;
use crate::log::Log;
use crate::publish::ThreadManager;
use crate::tls::Certificates;

/// A body is held about so many times on its way to the log: as members, as an event, as the
/// arguments of a command, as its bytes.
const COPIES: usize = 10;

/// What the API is made of. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) log: Log,
    pub(crate) threads: ThreadManager,
    pub(crate) config: Arc<Config>,
    pub(crate) live: Arc<dyn Live>,
    pub(crate) reads: Reads,
    pub(crate) account: Account,
    pub(crate) gate: Arc<Gate>,
    pub(crate) access: Arc<Access>,
    pub(crate) holders: Arc<Holders>,
    /// Where the listeners speak TLS.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

/// Who publishes.
#[derive(Clone, Copy)]
pub(super) struct By<'a> {
    pub(super) right: &'a Right,
    pub(super) from: IpAddr,
}

impl By<'_> {
    /// For the audit.
    pub(super) fn who(&self) -> Who {
        match &self.right.leave {
            None => Who::of(Some(&self.right.pass), self.from),
            Some(_) => Who::allowed_by_the_application(&self.right.pass, self.from),
        }
    }

    /// What tells him from others; none where nobody knows him.
    pub(super) fn subject(&self) -> Option<String> {
        let name = self.right.pass.name();
        let Some(leave) = &self.right.leave else { return name };
        // Of whom the application allows it is known what he has shown, and nothing else.
        let shown = leave.shown.hash().map(|byte| format!("{byte:02x}")).concat();
        Some(format!("{} of the application {shown}", name.unwrap_or_default()))
    }
}

/// What the API asks of the running server; the counts are of the whole process.
pub(crate) trait Live: Send + Sync {
    /// How many viewers a thread has.
    fn viewers_of(&self, thread: &ThreadId) -> usize;
    /// How many of them lag behind the head of the stream.
    fn lagging_of(&self, thread: &ThreadId) -> usize;
    /// Whether the thread's stream is followed.
    fn watched(&self, thread: &ThreadId) -> bool;
    /// How the tail learns of changes, in one word.
    fn mode(&self) -> &'static str;
    /// A part of the server that has panicked and does not run again yet.
    fn dead_part(&self) -> Option<&'static str>;
    /// Whether the server is going away.
    fn draining(&self) -> bool;
    /// Whether it is able to serve.
    fn ready(&self) -> bool;
    /// The metrics in the text format of Prometheus.
    fn metrics(&self) -> String;
}

/// Answers a request. Its body is read to the end, so that the connection can go on; where that
/// fails, the answer closes the connection.
pub(super) async fn respond(request: Request<Incoming>, caller: Caller<'_>, api: &Api) -> Response {
    let (parts, mut body) = request.into_parts();
    let route = Route::of(parts.uri.path(), api.config.diagnostics)
        .filter(|route| api.config.admin_listen.is_none() || !route.is_of_admin());
    let allowed = allowed::check(&parts, route, caller, api).await;
    let wanted = allowed.is_ok() && route.is_some_and(|route| route.takes_body(&parts.method));
    let limits = &api.config.limits;
    let queues = &api.gate.bodies;
    let body = receive(&mut body, &parts.headers, wanted, limits, &api.account, queues).await;
    let cors = Cors::of(&parts.headers, &api.config.cors_origins);
    let mut answer = match (allowed, body) {
        (Err(refusal), Ok(_)) => *refusal,
        (Err(refusal), Err(_)) => closing(*refusal),
        (Ok(right), Ok(body)) => {
            match allowed::check_anew(&right, &parts, route, caller, api).await {
                Ok(()) => {
                    let by = By { right: &right, from: caller.address };
                    dispatch(&parts, route, body, Some(by), api)
                        .await
                        .unwrap_or_else(Response::from)
                }
                Err(refusal) => *refusal,
            }
        }
        (Ok(_), Err(unread)) => closing(unread.into()),
    };
    cors.mark(&mut answer);
    if let Some(route) = route.filter(|_| parts.method == Method::OPTIONS) {
        cors.mark_preflight(&mut answer, route.methods());
    }
    answer
}

/// Answers those who look after the server: nobody is asked who he is.
pub(super) async fn respond_to_admin(request: Request<Incoming>, api: &Api) -> Response {
    let (parts, mut body) = request.into_parts();
    let route = Route::of(parts.uri.path(), false).filter(|route| route.is_of_admin());
    let limits = &api.config.limits;
    let queues = &api.gate.bodies;
    match receive(&mut body, &parts.headers, false, limits, &api.account, queues).await {
        Ok(body) => dispatch(&parts, route, body, None, api).await.unwrap_or_else(Response::from),
        Err(unread) => closing(unread.into()),
    }
}

async fn dispatch(
    parts: &Parts,
    route: Option<Route<'_>>,
    body: Received,
    by: Option<By<'_>>,
    api: &Api,
) -> Result<Response, ApiError> {
    let path = parts.uri.path();
    let nothing = || ApiError::new(StatusCode::NOT_FOUND, "there is nothing at this path");
    let route = route.ok_or_else(nothing)?;
    if !route.allows(&parts.method) {
        return Ok(other_method(parts, route));
    }
    match route {
        Route::Page => page::file(path, &parts.headers).ok_or_else(nothing),
        Route::Health => health(api),
        Route::Ready => ready(api).await,
        Route::Metrics => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            let text = Bytes::from(api.live.metrics());
            let charge = api.account.charge(Kind::Responses, text.len());
            Ok(answer(StatusCode::OK, content_type, Content::charged(text, charge, None)))
        }
        Route::Tasks => tasks::list(api, Query::of(parts.uri.query())).await,
        Route::Task(thread) => tasks::show(api, thread).await,
        Route::StreamInfo(thread) => tasks::stream_info(api, None, thread).await,
        Route::SourceInfo(source, id) => tasks::stream_info(api, Some(source), id).await,
        Route::Triage => {
            let _turn = turn(api, body.bytes.len()).await?;
            tasks::triage(api, by, &parts.headers, &body.bytes).await
        }
        Route::Revocations => tasks::revoke(api, by, &parts.headers, &body.bytes).await,
        Route::Publish(thread, call) => {
            let _turn = turn(api, body.bytes.len()).await?;
            tasks::publish(api, by, thread, call, &parts.headers, &body.bytes).await
        }
        // Handshakes are answered before a request comes here.
        Route::Socket(_) => Err(nothing()),
    }
}

/// Waits until a body may be worked on. What is given back in the end stands for the copies of it on
/// its way.
async fn turn(api: &Api, bytes: usize) -> Result<(Option<SemaphorePermit<'_>>, Charge), ApiError> {
    let waiting = timeout(api.config.limits.attach_timeout(), api.gate.turn(bytes));
    let busy = || ApiError::unavailable("too much is being published, try again later");
    let turn = waiting.await.map_err(|_| busy())?;
    Ok((turn, api.account.charge(Kind::Bodies, COPIES * bytes)))
}

/// OPTIONS, or a method that the path does not have.
fn other_method(parts: &Parts, route: Route<'_>) -> Response {
    let mut answer = if parts.method == Method::OPTIONS {
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::NO_CONTENT;
        answer
    } else {
        let detail = format!("{} is not a method of this path", parts.method);
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, detail).into()
    };
    let allowed = HeaderValue::from_str(&format!("{}, OPTIONS", route.methods()));
    answer.headers_mut().extend(allowed.map(|allowed| (header::ALLOW, allowed)));
    answer
}

fn health(api: &Api) -> Result<Response, ApiError> {
    if let Some(part) = api.live.dead_part() {
        let why = format!("a part of the server is dead: {part}");
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    Ok(json_answer(StatusCode::OK, &json!({ "status": "ok" })))
}

async fn ready(api: &Api) -> Result<Response, ApiError> {
    let unready = |why: String| ApiError::unavailable(why);
    if api.live.draining() {
        return Err(unready("the server is going away".to_owned()));
    }
    api.log.check().await.map_err(|error| unready(error.to_string()))?;
    if !api.live.ready() {
        return Err(unready("the server is not ready yet".to_owned()));
    }
    Ok(json_answer(StatusCode::OK, &json!({ "status": "ready" })))
}
