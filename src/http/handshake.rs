//! The WebSocket handshake: what a socket is for, and what is wrong with requests that ask for one
//! badly (RFC 6455 §4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, StatusCode, Version};
use sha1::{Digest, Sha1};

use super::error::ApiError;
use super::origin;
use super::query::{Query, decoded};
use super::response::Response;
use super::route::Endpoint;
use crate::config::Config;
use crate::core::fanout::{Malformed, Purpose};
use crate::core::source::{AGENT, NoThread, Sources};

/// What RFC 6455 §1.3 has appended to the key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is answered to a request at an endpoint; with it, where the connection becomes a socket,
/// what that one is for.
pub(super) fn answer<B>(
    request: &Request<B>,
    endpoint: Endpoint<'_>,
    config: &Config,
) -> (Response, Option<Purpose>) {
    let origins = &config.cors_origins;
    let accepted = purpose(request, endpoint, &config.sources.sources)
        .and_then(|purpose| accept(request, origins).map(|key| (key, purpose)));
    match accepted {
        Ok((accept, purpose)) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            (response, Some(purpose))
        }
        Err(refusal) => (*refusal, None),
    }
}

fn purpose<B>(
    request: &Request<B>,
    endpoint: Endpoint<'_>,
    sources: &Sources,
) -> Result<Purpose, Refusal> {
    let (source, given) = match endpoint {
        Endpoint::Tasks => return Ok(Purpose::Tasks),
        Endpoint::Echo => return Ok(Purpose::Echo),
        Endpoint::Task(given) => (None, decoded(given)),
        Endpoint::OfSource(source, given) => (Some(source), decoded(given)),
    };
    let thread = match sources.thread(source, &given) {
        Ok(thread) => Ok(thread),
        Err(NoThread::UnknownSource) => {
            return Err(refuse(StatusCode::NOT_FOUND, "there is no such source"));
        }
        Err(NoThread::InvalidId) => Err(Malformed {
            id: given.into_owned(),
            source: source.filter(|name| *name != AGENT).map(str::to_owned),
        }),
    };
    let since = Query::of(request.uri().query()).get("since");
    let since = since.map(|text| text.parse()).transpose();
    let since =
        since.map_err(|error| refuse(StatusCode::BAD_REQUEST, &format!("since: {error}")))?;
    Ok(Purpose::Task { thread, since })
}

/// The value of `Sec-WebSocket-Accept`, or what is wrong with the handshake.
fn accept<B>(request: &Request<B>, origins: &[String]) -> Result<HeaderValue, Refusal> {
    let headers = request.headers();
    if request.method() != Method::GET {
        let mut refusal = refuse(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket opens with GET");
        refusal.headers_mut().insert(hyper::header::ALLOW, HeaderValue::from_static("GET"));
        return Err(refusal);
    }
    if !has_token(headers, &UPGRADE, "websocket") || !has_token(headers, &CONNECTION, "upgrade") {
        let mut refusal = refuse(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint: connect with a WebSocket client",
        );
        refusal.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        return Err(refusal);
    }
    if request.version() != Version::HTTP_11 {
        return Err(refuse(StatusCode::BAD_REQUEST, "a WebSocket opens with HTTP/1.1"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refusal =
            refuse(StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version has to be 13");
        refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(refusal);
    }
    if !origin::may_open_socket(headers, origins) {
        return Err(refuse(StatusCode::FORBIDDEN, "this Origin is not in cors_origins"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Key has to be 16 bytes in base64",
        ));
    }
    let digest = Sha1::new().chain_update(key).chain_update(ACCEPT_GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(digest))
        .map_err(|_| refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key"))
}

/// Whether a header that is a list has this token, in any of its lines.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

/// Boxed: it is large and rare.
type Refusal = Box<Response>;

fn refuse(status: StatusCode, detail: &str) -> Refusal {
    Box::new(ApiError::new(status, detail).into())
}

#[cfg(test)]
mod tests {
    use super::super::route::Route;
    use super::*;

    fn request(path: &str, change: impl FnOnce(&mut HeaderMap)) -> Request<()> {
        let mut request = Request::builder()
            .uri(path)
            .header("host", "localhost:8000")
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap();
        change(request.headers_mut());
        request
    }

    fn answered(request: &Request<()>, origins: &[String]) -> (Response, Option<Purpose>) {
        match Route::of(request.uri().path(), true) {
            Some(Route::Socket(endpoint)) => {
                let cors_origins = origins.to_vec();
                answer(request, endpoint, &Config { cors_origins, ..Config::default() })
            }
            other => panic!("{other:?}"),
        }
    }

    fn status(path: &str, origins: &[String], change: impl FnOnce(&mut HeaderMap)) -> u16 {
        answered(&request(path, change), origins).0.status().as_u16()
    }

    #[test]
    fn the_sample_of_the_rfc_is_answered_as_there() {
        let (response, purpose) = answered(&request("/api/v1/ws/tasks/t1?since=5-0", |_| {}), &[]);
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let Some(Purpose::Task { thread: Ok(thread), since: Some(since) }) = purpose else {
            panic!("another purpose");
        };
        assert_eq!((thread.as_str(), since.position().to_string().as_str()), ("t1", "5-0"));
    }

    #[test]
    fn a_bad_handshake_is_told_what_is_wrong() {
        let none: &[String] = &[];
        let path = "/api/v1/ws/tasks/t1";
        let replace = |name: &'static str, value: &'static str| {
            move |headers: &mut HeaderMap| {
                headers.insert(name, HeaderValue::from_static(value));
            }
        };
        assert_eq!(status(path, none, replace("connection", "keep-alive")), 426);
        assert_eq!(status(path, none, replace("upgrade", "h2c")), 426);
        assert_eq!(status(path, none, replace("sec-websocket-version", "8")), 426);
        assert_eq!(status(path, none, replace("sec-websocket-key", "short")), 400);
        assert_eq!(status(path, none, |headers| _ = headers.remove("sec-websocket-key")), 400);
        assert_eq!(status("/api/v1/ws/tasks/t1?since=x", none, |_| {}), 400);
        assert_eq!(status("/api/v1/ws/tasks/t1?since=", none, |_| {}), 400);
        assert_eq!(status("/api/v1/ws/tasks/t1?since=1%2D5&x", none, |_| {}), 101);
        assert_eq!(status("/api/v1/ws", none, |_| {}), 101);
    }

    #[test]
    fn a_malformed_id_is_a_purpose_too() {
        for (path, given) in [("/api/v1/ws/tasks/a%20b", "a b"), ("/api/v1/ws/tasks/%zz", "%zz")] {
            let (_, purpose) = answered(&request(path, |_| {}), &[]);
            let Some(Purpose::Task { thread: Err(malformed), .. }) = purpose else {
                panic!("{path}")
            };
            assert_eq!(malformed.id, given);
        }
    }

    #[test]
    fn only_configured_origins_open_a_socket_where_there_are_any() {
        let path = "/api/v1/ws/tasks/t1";
        let origin = |value: &'static str| {
            move |headers: &mut HeaderMap| {
                headers.insert("origin", HeaderValue::from_static(value));
            }
        };
        assert_eq!(status(path, &[], origin("https://other.example")), 101);
        let listed = &["https://app.example".to_owned()];
        assert_eq!(status(path, listed, origin("https://other.example")), 403);
        assert_eq!(status(path, listed, origin("https://app.example")), 101);
        assert_eq!(status(path, listed, origin("https://APP.example")), 101);
        assert_eq!(status(path, listed, origin("http://localhost:8000")), 101);
        assert_eq!(status(path, listed, |_| {}), 101);
        assert_eq!(status(path, &["*".to_owned()], origin("https://other.example")), 101);
    }
}
