//! Which thing a path means, and which methods that thing has. The one table of paths.

use hyper::Method;

/// What a path means; thread ids are as the path has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// A WebSocket endpoint.
    Socket(Endpoint<'a>),
    /// `/`, `/assets/…`, `/favicon.ico`
    Page,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/api/v1/tasks`
    Tasks,
    /// `/api/v1/tasks/{thread_id}`, and `/api/v1/threads/{thread_id}`, where the agent has it
    Task(&'a str),
    /// `/api/v1/tasks/{thread_id}/stream-info`
    StreamInfo(&'a str),
    /// `/api/v1/{source}/{id}/stream-info`
    SourceInfo(&'a str, &'a str),
    /// `/api/v1/triage`
    Triage,
    /// `/api/v1/revocations`
    Revocations,
    /// `/api/v1/tasks/{thread_id}/` and what is to be published
    Publish(&'a str, Call),
}

/// A WebSocket endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint<'a> {
    /// `/api/v1/ws/tasks/{thread_id}`
    Task(&'a str),
    /// `/api/v1/ws/{source}/{id}`
    OfSource(&'a str, &'a str),
    /// `/api/v1/ws`
    Tasks,
    /// `/api/v1/ws/echo`, where diagnostics are on.
    Echo,
}

/// What is to be published to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Update,
    Status,
    Result,
    Error,
}

impl Call {
    /// The last part of its path.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Update => "updates",
            Self::Status => "status",
            Self::Result => "result",
            Self::Error => "error",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Update, Self::Status, Self::Result, Self::Error]
            .into_iter()
            .find(|call| call.name() == name)
    }
}

impl<'a> Route<'a> {
    /// What the path means; none where it means nothing.
    pub(super) fn of(path: &'a str, diagnostics: bool) -> Option<Self> {
        Some(match path {
            "/" | "/favicon.ico" => Self::Page,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/api/v1/tasks" => Self::Tasks,
            "/api/v1/triage" => Self::Triage,
            "/api/v1/revocations" => Self::Revocations,
            "/api/v1/ws" => Self::Socket(Endpoint::Tasks),
            "/api/v1/ws/echo" if diagnostics => Self::Socket(Endpoint::Echo),
            _ if path.starts_with("/assets/") => Self::Page,
            _ => return Self::of_task(path.strip_prefix("/api/v1/")?),
        })
    }

    fn of_task(path: &'a str) -> Option<Self> {
        if let Some(thread) = path.strip_prefix("ws/tasks/") {
            return (!thread.contains('/')).then_some(Self::Socket(Endpoint::Task(thread)));
        }
        if let Some(thread) = path.strip_prefix("threads/") {
            return (!thread.contains('/')).then_some(Self::Task(thread));
        }
        if let Some((source, id)) = path.strip_prefix("ws/").and_then(|path| path.split_once('/')) {
            let endpoint = Endpoint::OfSource(source, id);
            return (!id.contains('/')).then_some(Self::Socket(endpoint));
        }
        let Some(path) = path.strip_prefix("tasks/") else {
            let (source, path) = path.split_once('/')?;
            let (id, part) = path.split_once('/')?;
            return (part == "stream-info").then_some(Self::SourceInfo(source, id));
        };
        let Some((thread, part)) = path.split_once('/') else { return Some(Self::Task(path)) };
        Some(match part {
            "stream-info" => Self::StreamInfo(thread),
            _ => Self::Publish(thread, Call::named(part)?),
        })
    }

    /// Whether it is for those who look after the server.
    pub(super) fn is_of_admin(&self) -> bool {
        matches!(self, Self::Metrics | Self::Health | Self::Ready)
    }

    /// The methods beside OPTIONS, as the `Allow` header has them.
    pub(super) fn methods(self) -> &'static str {
        match self {
            Self::Triage | Self::Revocations | Self::Publish(..) => "POST",
            Self::Socket(_) => "GET",
            _ => "GET, HEAD",
        }
    }

    /// Whether it has the method.
    pub(super) fn allows(self, method: &Method) -> bool {
        self.methods().split(", ").any(|allowed| allowed == method.as_str())
    }

    /// Whether a request's body means something to it.
    pub(super) fn takes_body(self, method: &Method) -> bool {
        self.methods() == "POST" && method == Method::POST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_what_the_protocol_says() {
        for (path, route) in [
            ("/", Some(Route::Page)),
            ("/assets/app.js", Some(Route::Page)),
            ("/healthz", Some(Route::Health)),
            ("/api/v1/tasks", Some(Route::Tasks)),
            ("/api/v1/tasks/t1", Some(Route::Task("t1"))),
            ("/api/v1/tasks/", Some(Route::Task(""))),
            ("/api/v1/threads/t1", Some(Route::Task("t1"))),
            ("/api/v1/threads/", Some(Route::Task(""))),
            ("/api/v1/threads/t1/cancel", None),
            ("/api/v1/threads", None),
            ("/api/v1/tasks/t1/stream-info", Some(Route::StreamInfo("t1"))),
            ("/api/v1/tasks/t1/updates", Some(Route::Publish("t1", Call::Update))),
            ("/api/v1/tasks/t1/error", Some(Route::Publish("t1", Call::Error))),
            ("/api/v1/revocations", Some(Route::Revocations)),
            ("/api/v1/ws", Some(Route::Socket(Endpoint::Tasks))),
            ("/api/v1/ws/tasks/t1", Some(Route::Socket(Endpoint::Task("t1")))),
            ("/api/v1/ws/tasks/", Some(Route::Socket(Endpoint::Task("")))),
            ("/api/v1/ws/agno/r1", Some(Route::Socket(Endpoint::OfSource("agno", "r1")))),
            ("/api/v1/ws/agno/a%2Fb", Some(Route::Socket(Endpoint::OfSource("agno", "a%2Fb")))),
            ("/api/v1/agno/r1/stream-info", Some(Route::SourceInfo("agno", "r1"))),
            ("/api/v1/agno/r1", None),
            ("/api/v1/agno/r1/updates", None),
            ("/api/v1/agno/r/1/stream-info", None),
            ("/api/v1/ws/agno/a/b", None),
            ("/api/v1/ws/agno", None),
            ("/api/v1/ws/tasks/a/b", None),
            ("/api/v1/ws/tasks", None),
            ("/api/v1/ws/echo", None),
            ("/api/v1/ws/", None),
            ("/api/v1/tasks/t1/error/", None),
            ("/api/v1/tasks/t1/", None),
            ("/api/v1", None),
            ("/healthz/", None),
            ("//", None),
            ("", None),
            ("*", None),
        ] {
            assert_eq!(Route::of(path, false), route, "{path}");
        }
        assert_eq!(Route::of("/api/v1/ws/echo", true), Some(Route::Socket(Endpoint::Echo)));
    }
}
