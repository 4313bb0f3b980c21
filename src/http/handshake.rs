//! The WebSocket handshake: which requests ask for one, and what is wrong with those that do it
//! badly (RFC 6455 §4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use sha1::{Digest, Sha1};

use crate::config::Config;
use crate::core::fanout::Purpose;
use crate::http::error::{Answer, ApiError};
use crate::http::percent::percent_decoded;

const TASK_PATH: &str = "/api/v1/ws/tasks/";
const TASKS_PATH: &str = "/api/v1/ws";
const ECHO_PATH: &str = "/api/v1/ws/echo";

/// What RFC 6455 §1.3 has appended to the key.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether the path is one of the WebSocket endpoints, and what is answered to the handshake. The
/// purpose stands beside the answer where the connection becomes a socket.
pub(crate) fn answer<B>(
    request: &Request<B>,
    config: &Config,
) -> Option<(Answer, Option<Purpose>)> {
    let purpose = purpose(request, config)?;
    Some(match purpose.and_then(|purpose| accept(request, config).map(|key| (key, purpose))) {
        Ok((accept, purpose)) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            (response, Some(purpose))
        }
        Err(refusal) => (*refusal, None),
    })
}

fn purpose<B>(request: &Request<B>, config: &Config) -> Option<Result<Purpose, Refusal>> {
    let path = request.uri().path();
    if path == TASKS_PATH {
        return Some(Ok(Purpose::Tasks));
    }
    if path == ECHO_PATH && config.diagnostics {
        return Some(Ok(Purpose::Echo));
    }
    let given = path.strip_prefix(TASK_PATH).filter(|given| !given.contains('/'))?;
    let given = percent_decoded(given);
    let since = request.uri().query().unwrap_or_default().split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == "since").then(|| percent_decoded(value))
    });
    let since = match since.map(|text| text.parse()).transpose() {
        Ok(since) => since,
        Err(error) => {
            return Some(Err(refuse(StatusCode::BAD_REQUEST, &format!("since: {error}"))));
        }
    };
    let thread = given.parse().map_err(|_| given);
    Some(Ok(Purpose::Task { thread, since }))
}

/// The value of `Sec-WebSocket-Accept`, or what is wrong with the handshake.
fn accept<B>(request: &Request<B>, config: &Config) -> Result<HeaderValue, Refusal> {
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
    let allowed = |origin: &HeaderValue| {
        config.cors_origins.iter().any(|allowed| allowed == "*" || origin == allowed.as_str())
    };
    if !config.cors_origins.is_empty()
        && headers.get(ORIGIN).is_some_and(|origin| !allowed(origin) && !is_own(headers, origin))
    {
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

/// The page that this server serves may always open a WebSocket to it.
fn is_own(headers: &HeaderMap, origin: &HeaderValue) -> bool {
    let host = headers.get(hyper::header::HOST).map(HeaderValue::as_bytes);
    let origin = origin.as_bytes();
    let origin_host = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"))
        .unwrap_or(origin);
    host == Some(origin_host)
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
type Refusal = Box<Answer>;

fn refuse(status: StatusCode, detail: &str) -> Refusal {
    Box::new(ApiError::new(status, detail).into())
}

#[cfg(test)]
mod tests {
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

    fn status(path: &str, config: &Config, change: impl FnOnce(&mut HeaderMap)) -> u16 {
        answer(&request(path, change), config).unwrap().0.status().as_u16()
    }

    #[test]
    fn the_sample_of_the_rfc_is_answered_as_there() {
        let (response, purpose) =
            answer(&request("/api/v1/ws/tasks/t1?since=5-0", |_| {}), &Config::default()).unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let Some(Purpose::Task { thread: Ok(thread), since: Some(since) }) = purpose else {
            panic!("another purpose");
        };
        assert_eq!((thread.as_str(), since.to_string().as_str()), ("t1", "5-0"));
    }

    #[test]
    fn a_bad_handshake_is_told_what_is_wrong() {
        let config = Config::default();
        let path = "/api/v1/ws/tasks/t1";
        let replace = |name: &'static str, value: &'static str| {
            move |headers: &mut HeaderMap| {
                headers.insert(name, HeaderValue::from_static(value));
            }
        };
        assert_eq!(status(path, &config, replace("connection", "keep-alive")), 426);
        assert_eq!(status(path, &config, replace("upgrade", "h2c")), 426);
        assert_eq!(status(path, &config, replace("sec-websocket-version", "8")), 426);
        assert_eq!(status(path, &config, replace("sec-websocket-key", "short")), 400);
        assert_eq!(status(path, &config, |headers| _ = headers.remove("sec-websocket-key")), 400);
        assert_eq!(status("/api/v1/ws/tasks/t1?since=x", &config, |_| {}), 400);
        assert_eq!(status("/api/v1/ws/tasks/t1?since=", &config, |_| {}), 400);
        assert_eq!(status("/api/v1/ws/tasks/t1?since=1%2D5&x", &config, |_| {}), 101);
        assert_eq!(status("/api/v1/ws", &config, |_| {}), 101);
    }

    #[test]
    fn other_paths_are_not_for_websockets() {
        for path in
            ["/", "/api/v1/ws/", "/api/v1/ws/echo", "/api/v1/ws/tasks", "/api/v1/ws/tasks/a/b"]
        {
            assert!(answer(&request(path, |_| {}), &Config::default()).is_none(), "{path}");
        }
        let config = Config { diagnostics: true, ..Config::default() };
        assert_eq!(status("/api/v1/ws/echo", &config, |_| {}), 101);
    }

    #[test]
    fn a_malformed_id_is_a_purpose_too() {
        for (path, given) in [("/api/v1/ws/tasks/a%20b", "a b"), ("/api/v1/ws/tasks/%zz", "%zz")] {
            let (_, purpose) = answer(&request(path, |_| {}), &Config::default()).unwrap();
            let Some(Purpose::Task { thread: Err(text), .. }) = purpose else { panic!("{path}") };
            assert_eq!(text, given);
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
        let open = Config::default();
        assert_eq!(status(path, &open, origin("https://other.example")), 101);
        let config =
            Config { cors_origins: vec!["https://app.example".into()], ..Config::default() };
        assert_eq!(status(path, &config, origin("https://other.example")), 403);
        assert_eq!(status(path, &config, origin("https://app.example")), 101);
        assert_eq!(status(path, &config, origin("http://localhost:8000")), 101);
        assert_eq!(status(path, &config, |_| {}), 101);
    }
}
