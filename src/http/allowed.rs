//! Whether a request may do what it asks for. What each path needs is said once, here: a path that is added
//! has to say it (protocol §5).

use std::sync::Arc;

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Uri};

use super::api::Api;
use super::caller::Caller;
use super::connection::too_many;
use super::error::ApiError;
use super::origin;
use super::query::{Query, decoded};
use super::response::Response;
use super::route::Route;
use crate::access::{Arrival, Carried, REVOKED, Refused, Transport};
use crate::audit::Who;
use crate::clock;
use crate::config::{Config, Publishing};
use crate::core::access::{Grants, Pass, Verb};
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

/// With what pass a request may do what it asks for; else what it is answered. Asked before anything is
/// looked up, so that nobody learns what there is.
pub(super) async fn check(
    parts: &Parts,
    route: Option<Route<'_>>,
    caller: Caller<'_>,
    api: &Api,
) -> Result<Arc<Pass>, Box<Response>> {
    let refused = |error: ApiError| Err(Box::new(error.into()));
    let anonymous = api.access.anonymous();
    // What has no such path, or not that method, is told so.
    let Some(route) = route.filter(|route| route.allows(&parts.method)) else {
        return Ok(anonymous);
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
        return Ok(anonymous);
    }
    let transport = if parts.method == Method::POST { Transport::Write } else { Transport::Read };
    let carried = carried(&parts.headers, &parts.uri, caller, transport, api);
    let admitted = api.access.admit(&carried).await;
    let why = match &admitted {
        Ok(pass) if grants(&pass.grants, need, &api.config) => {
            for subject in pass.subjects().filter(|_| publishes) {
                api.holders.publish(&Holder::Subject(subject.clone())).map_err(too_much)?;
            }
            return Ok(pass.clone());
        }
        Ok(_) if carried.has_foreign_cookie() => Refused::Forbidden(FOREIGN_COOKIE),
        Ok(_) if carried.has_token() => Refused::Forbidden("the token does not grant this"),
        Ok(_) => Refused::Missing,
        Err(why) => *why,
    };
    if api.config.audit {
        let pass = admitted.as_deref().ok();
        Who::of(pass, caller.address).refused(parts.uri.path(), why.text());
    }
    Err(Box::new(told(why)))
}

/// A body may take its time, in which a pass ends or is taken back.
pub(super) fn check_anew(pass: &Pass, api: &Api) -> Result<(), Box<Response>> {
    if api.access.has_revoked(pass) {
        return Err(Box::new(told(Refused::Forbidden(REVOKED))));
    }
    let has_ended = pass.ends_ms.is_some_and(|ends_ms| ends_ms <= clock::now_ms());
    if has_ended { Err(Box::new(told(Refused::Expired))) } else { Ok(()) }
}

/// With what somebody comes to a socket, and the subprotocol that he is answered.
///
/// # Errors
/// The answer, where he may open none.
pub(super) async fn arrival(
    headers: &HeaderMap,
    uri: &Uri,
    caller: Caller<'_>,
    api: &Api,
) -> Result<(Arrival, Option<HeaderValue>), Box<Response>> {
    let carried = carried(headers, uri, caller, Transport::Socket, api);
    if api.access.is_open() {
        return Ok((Arrival::Open, carried.protocol()));
    }
    if carried.has_foreign_cookie() {
        if api.config.audit {
            Who::of(None, caller.address).refused(uri.path(), FOREIGN_COOKIE);
        }
        return Err(Box::new(told(Refused::Forbidden(FOREIGN_COOKIE))));
    }
    let arrival = match api.access.admit(&carried).await {
        Ok(pass) => Arrival::Granted(pass, carried.has_token()),
        Err(why) => Arrival::Refused(why),
    };
    Ok((arrival, carried.protocol()))
}

/// What is told of a cookie that came along with what another site's page asks for.
const FOREIGN_COOKIE: &str = "a page of another site may not use this site's cookie";

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

fn grants(grants: &Grants, need: Need<'_>, config: &Config) -> bool {
    match need {
        Need::Nothing | Need::Socket => true,
        Need::All(verb) => grants.may_all(verb),
        Need::Create => grants.may_every(Verb::Publish),
        Need::Of(verb, source, id) => {
            match config.sources.sources.thread(source, &decoded(id)) {
                Ok(thread) => grants.may(verb, &thread),
                // There is no such task: whoever may some is told what is wrong.
                Err(_) => grants.may_some(verb),
            }
        }
    }
}

/// What a request is answered that may not.
fn told(refused: Refused) -> Response {
    let status = match refused {
        Refused::Missing | Refused::Invalid(_) | Refused::Expired => StatusCode::UNAUTHORIZED,
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
