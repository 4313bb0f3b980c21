//! The table `[access.ask]`: the application that decides where no credential does (protocol §5).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Uri;
use percent_encoding::percent_decode_str;

use super::super::redis_url;
use super::super::tables::{Table, Wrong};
use super::{Secret, is_token};

pub(super) const ASK_KEYS: [&str; 4] = ["url", "headers", "timeout_ms", "cache_s"];

/// The header that the application is shown, unless others are named,
const HEADER: &str = "cookie";
/// and how many may be.
const HEADERS_MAX: usize = 16;
/// How long an answer may take, in milliseconds, unless something else is set,
const TIMEOUT_MS: u64 = 2_000;
/// and what may be set.
const TIMEOUT_MS_MAX: u64 = 60_000;
/// How long a yes counts, in seconds, unless something else is set,
const CACHE_S: u64 = 60;
/// and what may be set.
const CACHE_S_MAX: u64 = 86_400;

/// The application that is asked, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskTable {
    /// Where it is asked, without user and password,
    pub url: Uri,
    /// and these, as a value of `Authorization`.
    pub authorization: Option<Secret>,
    /// The headers of a request that it is shown, in small letters.
    pub headers: Vec<String>,
    /// How long an answer may take, in milliseconds.
    pub timeout_ms: u64,
    /// How long a yes counts at most, in seconds.
    pub cache_s: u64,
}

impl AskTable {
    pub(super) fn read(table: Table<'_>) -> Result<Self, Wrong> {
        table.check_keys(&ASK_KEYS)?;
        let form = || table.wrong("url", "must be an http:// or https:// URL");
        let url = table.text("url")?.and_then(|text| text.parse().ok()).ok_or_else(form)?;
        let (url, authorization) = parted(url).ok_or_else(form)?;
        let mut headers = match table.find("headers") {
            Some(_) => table.texts("headers")?,
            None => vec![HEADER.to_owned()],
        };
        headers.iter_mut().for_each(|name| name.make_ascii_lowercase());
        if headers.len() > HEADERS_MAX || !headers.iter().all(|name| is_token(name)) {
            let what = format!("must be names of at most {HEADERS_MAX} headers");
            return Err(table.wrong("headers", what));
        }
        headers.sort_unstable();
        headers.dedup();
        Ok(Self {
            url,
            authorization,
            headers,
            timeout_ms: table.number("timeout_ms", TIMEOUT_MS, 1..=TIMEOUT_MS_MAX)?,
            cache_s: table.number("cache_s", CACHE_S, 1..=CACHE_S_MAX)?,
        })
    }

    /// [`Self::timeout_ms`] as a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// Whether a password stands in the URL of a table.
pub(super) fn has_password(table: Table<'_>) -> bool {
    let url = table.text("url").ok().flatten();
    url.is_some_and(|url| redis_url::without_passwords(&url) != url)
}

/// A URL without user and password, and these as a value of `Authorization`; none where it is none of HTTP.
fn parted(url: Uri) -> Option<(Uri, Option<Secret>)> {
    let mut parts = url.into_parts();
    let scheme = parts.scheme.as_ref()?.as_str();
    let authority = parts.authority.as_ref()?.as_str();
    if !["http", "https"].contains(&scheme) {
        return None;
    }
    let (credentials, host) = match authority.rsplit_once('@') {
        Some((credentials, host)) => {
            (Some(percent_decode_str(credentials).collect::<Vec<u8>>()), host)
        }
        None => (None, authority),
    };
    parts.authority = Some(host.parse().ok()?);
    let basic = |of: Vec<u8>| Secret(format!("Basic {}", STANDARD.encode(of)).into_bytes());
    Some((Uri::from_parts(parts).ok()?, credentials.map(basic)))
}
