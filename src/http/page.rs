//! The page and its parts, built into the binary.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use super::response::{Response, answer};

/// The page loads only from here, sends nothing anywhere else, and nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

const ICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" fill="none" stroke="#4b6bfb" stroke-width="2.4" stroke-linecap="round"><path d="M8 12h11M8 12c5 0 4-7 11-7M8 12c5 0 4 7 11 7"/><circle cx="5" cy="12" r="2.6" fill="#4b6bfb" stroke="none"/></svg>"##;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// Path, type, text.
const FILES: [(&str, &str, &str); 9] = [
    ("/", HTML, include_str!("../page/index.html")),
    ("/assets/app.js", SCRIPT, include_str!("../page/app.js")),
    ("/assets/follow.js", SCRIPT, include_str!("../page/follow.js")),
    ("/assets/list.js", SCRIPT, include_str!("../page/list.js")),
    ("/assets/task.js", SCRIPT, include_str!("../page/task.js")),
    ("/assets/token.js", SCRIPT, include_str!("../page/token.js")),
    ("/assets/view.js", SCRIPT, include_str!("../page/view.js")),
    ("/assets/style.css", STYLE, include_str!("../page/style.css")),
    ("/favicon.ico", "image/svg+xml", ICON),
];

/// The file at the path; none where there is none.
pub(super) fn file(path: &str, request: &HeaderMap) -> Option<Response> {
    let (_, content_type, text) = *FILES.iter().find(|(known, ..)| *known == path)?;
    let tag = format!("\"{:016x}\"", fingerprint(text.as_bytes()));
    let known = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .any(|tags| tags.to_str().is_ok_and(|tags| tags.contains(&tag) || tags.trim() == "*"));
    let mut answer = if known {
        let mut answer = Response::default();
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer
    } else {
        answer(StatusCode::OK, content_type, Bytes::from_static(text.as_bytes()))
    };
    let headers = answer.headers_mut();
    headers.extend(HeaderValue::from_str(&tag).map(|tag| (header::ETAG, tag)));
    for (name, value) in [
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Some(answer)
}

/// FNV-1a: tells one version of a file from another, nothing more.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_that_the_page_names_is_there() {
        for (_, _, text) in FILES {
            for part in text.split(['"', '\'']).filter(|part| part.starts_with("/assets/")) {
                assert!(FILES.iter().any(|(path, ..)| *path == part), "{part}");
            }
            for part in text.split('"').filter_map(|part| part.strip_prefix("./")) {
                assert!(FILES.iter().any(|(path, ..)| path.ends_with(part)), "{part}");
            }
        }
    }
}
