//! Whether a request may do what it asks for. What each path needs is said once, here: a path that is added
//! has to say it (protocol §5).

use std::sync::Arc;
use std::time::Instant;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Uri};

use super::api::Api;
use super::caller::Caller;
use super::connection::too_many;
use super::error::ApiError;
use super::origin;
use super::query::{Query, decoded};
use super::response::Response;
use super::route::Route;
use crate::access::{Arrival, Carried, REVOKED, Refused, Shown, Transport, Wish};
use crate::audit::Who;
use crate::clock;
use crate::config::Publishing;
use crate::core::access::{Grants, Pass, Verb};
use crate::core::fanout::Purpose;
use crate::holders::Holder;

/// What a path needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need<'a> {
    /// Nothing: it tells nothing of tasks.
    Nothing,
    /// A verb on a task of a source; none is the agent's.
    Of(Verb, Option<&'a str>, &'a str),
    /// To publish to any task: to one that is not there yet, and to take tokens back.
    Create,
    /// A verb that is on no task.
    All(Verb),
    /// Whoever opens a socket is looked at on it.
    Socket,
}

/// With what right a request does what it asks for.
pub(super) struct Right {
    /// What its credentials grant.
    pub(super) pass: Arc<Pass>,
    /// What the application said, where that does not suffice.
    pub(super) leave: Option<Leave>,
}

/// What the application allows.
pub(super) struct Leave {
    /// To whom: what it was shown.
    pub(super) shown: Arc<Shown>,
    ends: Instant,
}

impl Right {
    /// With which nothing is asked for that needs any other.
    fn of(pass: Arc<Pass>) -> Self {
        Self { pass, leave: None }
    }
}

impl Route<'_> {
    fn needs(&self) -> Need<'_> {
        match self {
            Self::Page | Self::Health | Self::Ready => Need::Nothing,
            Self::Metrics => Need::All(Verb::Metrics),
            Self::Tasks => Need::All(Verb::List),
            Self::Task(id) | Self::StreamInfo(id) => Need::Of(Verb::Watch, None, id),
            Self::SourceInfo(source, id) => Need::Of(Verb::Watch, Some(source), id),
            Self::Triage | Self::Revocations => Need::Create,
            Self::Publish(id, _) => Need::Of(Verb::Publish, None, id),
            Self::Socket(_) => Need::Socket,
        }
    }
}

/// With what right a request may do what it asks for; else what it is answered. Asked before anything is
/// looked up, so that nobody learns what there is.
pub(super) async fn check(
    parts: &Parts,
    route: Option<Route<'_>>,
    caller: Caller<'_>,
    api: &Api,
) -> Result<Right, Box<Response>> {
    let refused = |error: ApiError| Err(Box::new(error.into()));
    let anonymous = api.access.anonymous();
    // What has no such path, or not that method, is told so.
    let Some(route) = route.filter(|route| route.allows(&parts.method)) else {
        return Ok(Right::of(anonymous));
    };
    let need = route.needs();
    let publishes = matches!(need, Need::Create | Need::Of(Verb::Publish, ..));
    if publishes && api.config.publish == Publishing::Off {
        if api.config.audit {
            Who::of(None, caller.address).refused(parts.uri.path(), "publishing is off");
        }
        return refused(ApiError::new(
            StatusCode::FORBIDDEN,
            "publishing is off (publish = \"off\")",
        ));
    }
    let too_much = |too_much| Box::new(too_many(too_much));
    if let Some(holder) = caller.holder().filter(|_| publishes) {
        api.holders.publish(&holder).map_err(too_much)?;
    }
    if need == Need::Nothing || need == Need::Socket || api.access.is_open() {
        return Ok(Right::of(anonymous));
    }
    let carried = carried_by(parts, caller, api);
    let admitted = api.access.admit(&carried).await;
    let right = match &admitted {
        Ok(pass) if grants(&pass.grants, need, api) => Ok(Right::of(pass.clone())),
        Ok(pass) => {
            let leave = leave(need, parts, &carried, api).await;
            leave.map(|leave| Right { pass: pass.clone(), leave: Some(leave) })
        }
        Err(why) => Err(*why),
    };
    let why = match right {
        Ok(right) => {
            for subject in right.pass.subjects().filter(|_| publishes) {
                api.holders.publish(&Holder::Subject(subject.clone())).map_err(too_much)?;
            }
            return Ok(right);
        }
        Err(why) => why,
    };
    if api.config.audit {
        let pass = admitted.as_deref().ok();
        Who::of(pass, caller.address).refused(parts.uri.path(), why.text());
    }
    Err(Box::new(told(why)))
}

/// Asks the application for what credentials do not grant.
///
/// # Errors
/// Why it is not to be had.
async fn leave(
    need: Need<'_>,
    parts: &Parts,
    carried: &Carried<'_>,
    api: &Api,
) -> Result<Leave, Refused> {
    if api.access.is_foreign(&parts.headers, carried) {
        return Err(Refused::Forbidden(FOREIGN_COOKIE));
    }
    let without = match carried.has_token() {
        true => Refused::Forbidden("the token does not grant this"),
        false => Refused::Missing,
    };
    let shown = api.access.show(&parts.headers, carried)?.ok_or(without)?;
    let sources = &api.config.sources.sources;
    let asked = match need {
        Need::Nothing | Need::Socket => return Err(without),
        Need::All(verb) => api.access.ask(Wish { verb, task: None, source: None }, &shown).await,
        Need::Create => {
            let every = Wish { verb: Verb::Publish, task: Some("*"), source: None };
            api.access.ask(every, &shown).await
        }
        Need::Of(verb, source, id) => {
            // There is no such task that it could be asked about.
            let thread = sources.thread(source, &decoded(id)).map_err(|_| without)?;
            api.access.ask(Wish::of(verb, &thread), &shown).await
        }
    };
    match asked {
        Ok(ends) => Ok(Leave { shown, ends }),
        // Who has shown nothing may come again with something.
        Err(Refused::Forbidden(_)) if shown.is_empty() => Err(without),
        Err(why) => Err(why),
    }
}

/// A body may take its time, in which a pass ends or is taken back, and so does what the application said.
pub(super) async fn check_anew(
    right: &Right,
    parts: &Parts,
    route: Option<Route<'_>>,
    caller: Caller<'_>,
    api: &Api,
) -> Result<(), Box<Response>> {
    let pass = &right.pass;
    if api.access.has_revoked(pass) {
        return Err(Box::new(told(Refused::Forbidden(REVOKED))));
    }
    let has_ended = pass.ends_ms.is_some_and(|ends_ms| ends_ms <= clock::now_ms());
    if has_ended {
        return Err(Box::new(told(Refused::Expired)));
    }
    if let (Some(before), Some(route)) = (&right.leave, route)
        && before.ends <= Instant::now()
    {
        let again = leave(route.needs(), parts, &carried_by(parts, caller, api), api).await;
        again.map_err(|why| Box::new(told(why)))?;
    }
    Ok(())
}

/// With what somebody comes to a socket, what the application is shown of him, and the subprotocol that he is
/// answered.
///
/// # Errors
/// The answer, where he may open none.
pub(super) async fn arrival<B>(
    request: &Request<B>,
    purpose: &Purpose,
    caller: Caller<'_>,
    api: &Api,
) -> Result<(Arrival, Option<Arc<Shown>>, Option<HeaderValue>), Box<Response>> {
    let (headers, uri) = (request.headers(), request.uri());
    let carried = carried(headers, uri, caller, Transport::Socket, api);
    let protocol = carried.protocol();
    if api.access.is_open() {
        return Ok((Arrival::Open, None, protocol));
    }
    let admitted = match carried.has_foreign_cookie() {
        true => Err(Refused::Forbidden(FOREIGN_COOKIE)),
        false => api.access.admit(&carried).await,
    };
    let is_foreign = api.access.is_foreign(headers, &carried);
    let needs_more = admitted.as_ref().is_ok_and(|pass| !lets_in(pass, purpose));
    if carried.has_foreign_cookie() || is_foreign && needs_more {
        if api.config.audit {
            Who::of(None, caller.address).refused(uri.path(), FOREIGN_COOKIE);
        }
        return Err(Box::new(told(Refused::Forbidden(FOREIGN_COOKIE))));
    }
    Ok(match admitted.and_then(|pass| Ok((pass, api.access.show(headers, &carried)?))) {
        Ok((pass, shown)) => {
            let has_shown = shown.as_ref().is_some_and(|shown| !shown.is_empty());
            (Arrival::Granted(pass, carried.has_token() || has_shown), shown, protocol)
        }
        Err(why) => (Arrival::Refused(why), None, protocol),
    })
}

/// Whether a pass suffices for what a socket is for, or for some of it.
fn lets_in(pass: &Pass, purpose: &Purpose) -> bool {
    match purpose {
        Purpose::Task { thread: Ok(thread), .. } => pass.may(Verb::Watch, thread),
        Purpose::Task { thread: Err(_), .. } | Purpose::Tasks => pass.grants.may_some(Verb::Watch),
        Purpose::Echo => true,
    }
}

/// What is told of a cookie that came along with what another site's page asks for.
const FOREIGN_COOKIE: &str = "a page of another site may not use this site's cookie";

/// What a request carries that reads or writes something.
fn carried_by<'a>(parts: &'a Parts, caller: Caller<'a>, api: &Api) -> Carried<'a> {
    let transport = if parts.method == Method::POST { Transport::Write } else { Transport::Read };
    carried(&parts.headers, &parts.uri, caller, transport, api)
}

fn carried<'a>(
    headers: &'a HeaderMap,
    uri: &'a Uri,
    caller: Caller<'a>,
    transport: Transport,
    api: &Api,
) -> Carried<'a> {
    let query = Query::of(uri.query()).get("token");
    let own_page = origin::is_own_page(headers, &api.config.cors_origins);
    let carried = Carried::of(headers, query, own_page, transport, api.access.rules());
    carried.certified(caller.certificate, headers, own_page)
}

fn grants(grants: &Grants, need: Need<'_>, api: &Api) -> bool {
    let (sources, asks) = (&api.config.sources.sources, api.access.asks());
    match need {
        Need::Nothing | Need::Socket => true,
        Need::All(verb) => grants.may_all(verb),
        Need::Create => grants.may_every(Verb::Publish),
        Need::Of(verb, source, id) => {
            match sources.thread(source, &decoded(id)) {
                Ok(thread) => grants.may(verb, &thread),
                // There is no such task: whoever may some is told what is wrong, and who may some that only the
                // application knows.
                Err(_) => grants.may_some(verb) || verb == Verb::Watch && asks,
            }
        }
    }
}

/// What a request is answered that may not.
fn told(refused: Refused) -> Response {
    let status = match refused {
        Refused::Missing | Refused::Unknown(_) | Refused::Invalid(_) | Refused::Expired => {
            StatusCode::UNAUTHORIZED
        }
        Refused::Forbidden(_) => StatusCode::FORBIDDEN,
        Refused::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer: Response = ApiError::new(status, refused.text()).into();
    if status == StatusCode::UNAUTHORIZED {
        let scheme = match refused {
            Refused::Missing => "Bearer",
            _ => "Bearer error=\"invalid_token\"",
        };
        let scheme = HeaderValue::from_static(scheme);
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    answer
}
