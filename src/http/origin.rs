//! Which other sites' pages may use the server from a browser, as `cors_origins` says: one rule for
//! the API and for sockets.

use hyper::HeaderMap;
use hyper::header::{self, HeaderName, HeaderValue};

use super::response::Response;

/// How long a browser may keep the answer to a preflight.
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("600");

/// Whether `cors_origins` names the site. Schemes and hosts have no case.
fn is_listed(origin: &HeaderValue, origins: &[String]) -> bool {
    let is_it = |known: &String| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes());
    origins.iter().any(|known| known == "*" || is_it(known))
}

/// Whether the page that asks may open a socket. Browsers ask nobody before they open one, so with
/// a list it holds here, but for the page of this server; without one, every site may.
pub(super) fn may_open_socket(request: &HeaderMap, origins: &[String]) -> bool {
    let Some(origin) = request.get(header::ORIGIN) else { return true };
    origins.is_empty() || is_listed(origin, origins) || is_own(request, origin)
}

/// Whether a page of this server asks, or one of a site that is named; none where nobody says which page
/// it is.
pub(super) fn is_own_page(request: &HeaderMap, origins: &[String]) -> Option<bool> {
    let origin = request.get(header::ORIGIN)?;
    let is_it = |known: &String| origin.as_bytes().eq_ignore_ascii_case(known.as_bytes());
    Some(origins.iter().any(is_it) || is_own(request, origin))
}

/// The page that this server serves may always open a WebSocket to it.
fn is_own(request: &HeaderMap, origin: &HeaderValue) -> bool {
    let site = origin.as_bytes();
    let host = site.strip_prefix(b"http://").or_else(|| site.strip_prefix(b"https://"));
    let own = request.get(header::HOST).map(HeaderValue::as_bytes);
    own.is_some_and(|own| own.eq_ignore_ascii_case(host.unwrap_or(site)))
}

/// What a request says of the site that it comes from, and what that site may.
pub(super) struct Cors {
    /// The value of `Access-Control-Allow-Origin`; none where the site may nothing.
    allowed: Option<HeaderValue>,
    /// The answer differs from site to site, which caches have to know.
    varies: bool,
    /// The headers that a preflight asks for.
    asked_headers: Option<HeaderValue>,
}

impl Cors {
    pub(super) fn of(request: &HeaderMap, origins: &[String]) -> Self {
        let any = origins.iter().any(|origin| origin == "*");
        let origin = request.get(header::ORIGIN).filter(|origin| is_listed(origin, origins));
        let value = |origin: &HeaderValue| {
            if any { HeaderValue::from_static("*") } else { origin.clone() }
        };
        Self {
            allowed: origin.map(value),
            varies: !origins.is_empty() && !any,
            asked_headers: request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned(),
        }
    }

    /// Adds what every answer needs.
    pub(super) fn mark(&self, answer: &mut Response) {
        let mut set = |name: HeaderName, value| answer.headers_mut().insert(name, value);
        if self.varies {
            set(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(allowed) = &self.allowed {
            set(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
        }
    }

    /// Adds what the answer to a preflight needs; `methods` are those of the path.
    pub(super) fn mark_preflight(self, answer: &mut Response, methods: &'static str) {
        if self.allowed.is_none() {
            return;
        }
        let mut set = |name: HeaderName, value| answer.headers_mut().insert(name, value);
        set(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        set(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
        if let Some(headers) = self.asked_headers {
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, headers);
        }
    }
}
