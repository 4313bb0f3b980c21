//! What the API does with tasks: makes, changes, shows and lists them.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde_json::json;

use super::api::{Api, By};
use super::body::Members;
use super::error::{ApiError, IDEMPOTENCY_KEY};
use super::query::{Query, decoded};
use super::reads::Subject;
use super::response::{JSON, Response, answer, json_answer};
use super::route::Call;
use crate::audit::Publishing;
use crate::core::access::{Revocation, Revoked};
use crate::core::source::NoThread;
use crate::id::{StreamId, ThreadId};
use crate::log::{LogError, REVOKED_BYTES_MAX};
use crate::publish::{NewTask, Status, TaskStreamManager, ThreadManager, Update};

/// How many tasks a list holds where the request does not say.
const LIST_DEFAULT: u64 = 50;
/// The most tasks that a list holds.
const LIST_MAX: u64 = 200;
/// How long whoever made a task may have others watch it with the token that comes with it.
const WATCH_TOKEN_LASTS: Duration = Duration::from_secs(86_400);

/// `GET /api/v1/tasks?limit=`
pub(super) async fn list(api: &Api, query: Query<'_>) -> Result<Response, ApiError> {
    read(api, Subject::Newest(limit(query)?)).await
}

/// `GET /api/v1/tasks/{thread_id}` and `GET /api/v1/threads/{thread_id}`
pub(super) async fn show(api: &Api, thread: &str) -> Result<Response, ApiError> {
    read(api, Subject::Task(thread_id(thread)?)).await
}

async fn read(api: &Api, subject: Subject) -> Result<Response, ApiError> {
    Ok(answer(StatusCode::OK, JSON, api.reads.read(subject).await?))
}

/// `GET /api/v1/tasks/{thread_id}/stream-info`, `GET /api/v1/{source}/{id}/stream-info`; an unknown
/// thread has an empty stream, as in the interface that this one contains.
pub(super) async fn stream_info(
    api: &Api,
    source: Option<&str>,
    id: &str,
) -> Result<Response, ApiError> {
    let thread = match api.config.sources.sources.thread(source, &decoded(id)) {
        Ok(thread) => thread,
        Err(NoThread::InvalidId) if source.is_none() => thread_id(id)?,
        Err(NoThread::InvalidId) => return Err(ApiError::malformed("the source has no such id")),
        Err(NoThread::UnknownSource) => {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "there is no such source"));
        }
    };
    let facts = TaskStreamManager::new(api.log.clone()).info(&thread).await?;
    let mut info = json!({
        "thread_id": thread.as_str(),
        "stream_key": api.config.keys.stream(&thread),
        "stream_length": facts.length,
        "active_connections": api.live.viewers_of(&thread),
        "consumer_active": api.live.watched(&thread),
        "last_stream_id": facts.last_generated.to_string(),
        "mode": api.live.mode(),
        "lagging": api.live.lagging_of(&thread),
    });
    if let Some(source) = thread.source_name() {
        info["source"] = source.into();
    }
    Ok(json_answer(StatusCode::OK, &info))
}

/// `POST /api/v1/triage`
pub(super) async fn triage(
    api: &Api,
    by: Option<By<'_>>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let publisher = publisher(api, by, headers)?;
    let members = Members::of(headers, body)?;
    let task = NewTask {
        query: members.string("query")?,
        user_id: members.optional_string("user_id")?,
        session_id: members.optional_string("session_id")?,
        priority: members.optional_integer("priority")?.unwrap_or_default(),
        tags: members.optional_strings("tags")?.unwrap_or_default(),
        context: members.optional_fields("context")?.unwrap_or_default(),
    };
    let publishing = publishing(api, by, "triage", None);
    let thread = told(publisher.create(task).await, publishing, |thread| (thread.clone(), None))?;
    let mut made = json!({
        "thread_id": thread.as_str(),
        "status": Status::Queued.as_str(),
        "message": "Triage task queued",
    });
    if let Some(link) = api.access.link(&thread, WATCH_TOKEN_LASTS) {
        made["watch_token"] = link.token.into();
    }
    Ok(json_answer(StatusCode::ACCEPTED, &made))
}

/// `POST /api/v1/tasks/{thread_id}/…`
pub(super) async fn publish(
    api: &Api,
    by: Option<By<'_>>,
    thread: &str,
    call: Call,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let thread = thread_id(thread)?;
    let threads = publisher(api, by, headers)?;
    let members = Members::of(headers, body)?;
    let begun = || publishing(api, by, call.name(), Some(&thread));
    let (done, publishing) = match call {
        Call::Update => {
            let update = update(&members)?;
            let publishing = begun();
            (threads.add_update(&thread, update).await, publishing)
        }
        Call::Status => {
            let status = members.string("status")?.parse::<Status>();
            let status = status.map_err(|unknown| ApiError::wrong("status", unknown))?;
            let publishing = begun();
            (threads.set_status(&thread, status).await, publishing)
        }
        Call::Result => {
            let result = members.any("result")?;
            let publishing = begun();
            (threads.set_result(&thread, result).await, publishing)
        }
        Call::Error => {
            let message = members.string("error_message")?;
            let publishing = begun();
            (threads.set_error(&thread, &message).await, publishing)
        }
    };
    let stream_id = told(done, publishing, |stream_id| (thread.clone(), Some(*stream_id)))?;
    Ok(json_answer(StatusCode::ACCEPTED, &json!({ "stream_id": stream_id.to_string() })))
}

/// `POST /api/v1/revocations`
pub(super) async fn revoke(
    api: &Api,
    by: Option<By<'_>>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, ApiError> {
    let members = Members::of(headers, body)?;
    let subject = members.optional_string("subject")?.map(|it| Revoked::Subject(it.into()));
    let token = members.optional_string("token_id")?.map(|it| Revoked::Token(it.into()));
    let of = match (subject, token) {
        (Some(of), None) | (None, Some(of)) => of,
        _ => return Err(ApiError::wrong("body", "has to have either subject or token_id")),
    };
    let (name, text) = match &of {
        Revoked::Subject(text) => ("subject", text),
        Revoked::Token(text) => ("token_id", text),
    };
    if !(1..=REVOKED_BYTES_MAX).contains(&text.len()) {
        let why = format!("has to have 1 to {REVOKED_BYTES_MAX} bytes");
        return Err(ApiError::wrong(name, why));
    }
    let seconds = members.optional_integer("issued_before")?.map(u64::try_from).transpose();
    let seconds = seconds.map_err(|_| ApiError::wrong("issued_before", "has to be a time"))?;
    let issued_before_ms = seconds.map(|seconds| seconds.saturating_mul(1000));
    let days = api.config.access.revocation_days;
    if let Some(by) = by.filter(|_| api.config.audit) {
        by.who().revoked(name, text);
    }
    api.log.revoke(Revocation { of, issued_before_ms }, days).await?;
    Ok(json_answer(StatusCode::ACCEPTED, &json!({ "message": "Revoked" })))
}

/// A publication that begins, where the audit is to tell of it.
fn publishing(
    api: &Api,
    by: Option<By<'_>>,
    what: &'static str,
    thread: Option<&ThreadId>,
) -> Option<Publishing> {
    let by = by.filter(|_| api.config.audit)?;
    Some(by.who().publishing(what, thread))
}

/// What came of it is told.
fn told<T>(
    done: Result<T, LogError>,
    publishing: Option<Publishing>,
    what: impl FnOnce(&T) -> (ThreadId, Option<StreamId>),
) -> Result<T, LogError> {
    match (publishing, &done) {
        (Some(publishing), Ok(done)) => {
            let (thread, stream_id) = what(done);
            publishing.done(&thread, stream_id);
        }
        // Nobody knows: it tells that itself.
        (None, _) | (_, Err(LogError::Unknown { .. })) => {}
        (Some(publishing), Err(_)) => publishing.failed(),
    }
    done
}

/// What publishes for a request: once for all that come with the same key and of the same subject.
fn publisher(
    api: &Api,
    by: Option<By<'_>>,
    headers: &HeaderMap,
) -> Result<ThreadManager, ApiError> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let threads = match by.and_then(|by| by.subject()) {
        Some(name) => api.threads.of_subject(&name),
        None => api.threads.clone(),
    };
    let Some(key) = keys.next() else { return Ok(threads) };
    if keys.next().is_some() {
        return Err(ApiError::malformed(format!("a request has one {IDEMPOTENCY_KEY}")));
    }
    let key = key.to_str().unwrap_or_default().parse();
    let key = key.map_err(|why| ApiError::malformed(format!("{IDEMPOTENCY_KEY}: {why}")))?;
    Ok(threads.with_idempotency_key(key))
}

fn update(members: &Members) -> Result<Update, ApiError> {
    let mut update = Update::new(members.string("message")?);
    if let Some(update_type) = members.optional_string("update_type")? {
        update.update_type = update_type;
    }
    if let Some(metadata) = members.optional_object("metadata")? {
        update.metadata = metadata;
    }
    Ok(update)
}

fn thread_id(text: &str) -> Result<ThreadId, ApiError> {
    decoded(text).parse().map_err(ApiError::malformed)
}

fn limit(query: Query<'_>) -> Result<u64, ApiError> {
    let Some(text) = query.get("limit") else { return Ok(LIST_DEFAULT) };
    let limit: u64 =
        text.parse().map_err(|_| ApiError::malformed("limit: has to be a whole number"))?;
    if (1..=LIST_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::wrong("limit", format!("has to be 1 to {LIST_MAX}")))
    }
}
