//! Where a request may carry a token: `Authorization`, `X-API-Key`, a subprotocol, a cookie, the query
//! (protocol §5).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL};

use crate::config::AccessTable;
use crate::tls::PeerCertificate;

/// The subprotocol that this server speaks,
const OURS: &str = "taskcast.v2";
/// and what begins the one that is a token.
const TOKEN_PREFIX: &str = "taskcast.token.";

/// What the configuration says of where a token may be.
pub(crate) struct Rules {
    query_token: bool,
    cookie: Option<String>,
    subprotocols: Vec<String>,
}

/// What a request is for: a cookie comes along with what other sites' pages ask for, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Something is read.
    Read,
    /// Something is written.
    Write,
    /// A socket is opened.
    Socket,
}

/// How a token travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// In `Authorization`, or where a browser cannot set that: as a subprotocol, in the query, as a message.
    Bearer,
    /// In `X-API-Key`.
    ApiKey,
    Cookie,
}

impl Way {
    /// The header that it is in, or stands for.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Bearer => "authorization",
            Self::ApiKey => "x-api-key",
            Self::Cookie => "cookie",
        }
    }
}

/// What a request carries.
#[derive(Debug, Default)]
pub(crate) struct Carried<'a> {
    tokens: Vec<(Way, Cow<'a, str>)>,
    /// The subprotocol that is answered.
    protocol: Option<&'a str>,
    /// It has a cookie with a token, and comes from a page that may not use it.
    foreign_cookie: bool,
    /// It comes from a page that may use this site's cookies.
    may_use_cookie: bool,
    /// The certificate of the other side.
    certificate: Option<&'a PeerCertificate>,
}

impl Rules {
    pub(super) fn new(table: &AccessTable) -> Self {
        Self {
            query_token: table.query_token,
            cookie: table.cookie.clone(),
            subprotocols: table.subprotocols.clone(),
        }
    }
}

impl<'a> Carried<'a> {
    /// A token alone, over a connection with a certificate.
    pub(super) fn token(token: &'a str, certificate: Option<&'a PeerCertificate>) -> Self {
        Self { tokens: vec![(Way::Bearer, token.into())], certificate, ..Self::default() }
    }

    /// What a request carries. `query` is its parameter `token`; `own_page` says whether a page of this
    /// server or of one that is allowed asks, where a page says which it is.
    pub(crate) fn of(
        headers: &'a HeaderMap,
        query: Option<Cow<'a, str>>,
        own_page: Option<bool>,
        transport: Transport,
        rules: &Rules,
    ) -> Self {
        let may_use_cookie = may_use_cookie(headers, own_page, transport);
        let mut carried = Self { may_use_cookie, ..Self::default() };
        carried.take(Way::Bearer, bearer(headers));
        let key = headers.get("x-api-key").and_then(|key| key.to_str().ok());
        carried.take(Way::ApiKey, key.map(Cow::Borrowed));
        if transport == Transport::Socket {
            carried.take_protocol(headers, rules);
        }
        carried.take(Way::Bearer, query.filter(|_| rules.query_token));
        if let Some(name) = rules.cookie.as_deref().filter(|_| carried.tokens.is_empty())
            && let Some(token) = cookie(headers, name)
        {
            if may_use_cookie {
                carried.tokens.push((Way::Cookie, token.into()));
            } else {
                carried.foreign_cookie = true;
            }
        }
        carried
    }

    /// The same with a certificate. A browser shows it on behalf of every page: it does not count for that
    /// of another site.
    pub(crate) fn certified(
        self,
        certificate: Option<&'a PeerCertificate>,
        headers: &HeaderMap,
        own_page: Option<bool>,
    ) -> Self {
        let is_foreign = match own_page {
            Some(own) => !own,
            None => !matches!(site(headers), None | Some(b"same-origin" | b"none")),
        };
        Self { certificate: certificate.filter(|_| !is_foreign), ..self }
    }

    /// The certificate of the other side.
    pub(super) fn certificate(&self) -> Option<&PeerCertificate> {
        self.certificate
    }

    /// The tokens.
    pub(super) fn tokens(&self) -> &[(Way, Cow<'a, str>)] {
        &self.tokens
    }

    /// The first token that travels as `Authorization`, or as what stands for it.
    pub(super) fn bearer(&self) -> Option<&str> {
        let mut tokens = self.tokens.iter();
        tokens.find(|(way, _)| *way == Way::Bearer).map(|(_, token)| &**token)
    }

    /// Whether it comes from a page that may use this site's cookies.
    pub(super) fn may_use_cookie(&self) -> bool {
        self.may_use_cookie
    }

    /// Whether it has a token.
    pub(crate) fn has_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Whether its cookie was left out.
    pub(crate) fn has_foreign_cookie(&self) -> bool {
        self.foreign_cookie
    }

    /// The subprotocol to be answered, if one was offered.
    pub(crate) fn protocol(&self) -> Option<HeaderValue> {
        self.protocol.and_then(|name| HeaderValue::from_str(name).ok())
    }

    fn take(&mut self, way: Way, token: Option<Cow<'a, str>>) {
        self.tokens.extend(token.filter(|token| !token.is_empty()).map(|token| (way, token)));
    }

    fn take_protocol(&mut self, headers: &'a HeaderMap, rules: &Rules) {
        let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let offered = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let mut offered = offered.map(str::trim);
        while let Some(name) = offered.next() {
            if name == OURS {
                self.protocol.get_or_insert(name);
            } else if let Some(token) = name.strip_prefix(TOKEN_PREFIX) {
                let token = URL_SAFE_NO_PAD.decode(token).ok();
                // What cannot be read is a token that does not count, not none.
                let token =
                    token.and_then(|token| String::from_utf8(token).ok()).unwrap_or_default();
                self.tokens.push((Way::Bearer, token.into()));
            } else if rules.subprotocols.iter().any(|known| known == name) {
                self.protocol = Some(name);
                self.take(Way::Bearer, offered.next().map(Cow::Borrowed));
            }
        }
    }
}

/// The token of an `Authorization`.
fn bearer(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
}

/// The first cookie of that name.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs =
        lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    Some(value).filter(|value| !value.is_empty())
}

/// A page of another site may not use this one's cookie.
fn may_use_cookie(headers: &HeaderMap, own_page: Option<bool>, transport: Transport) -> bool {
    match own_page {
        Some(own) => own,
        None => {
            transport == Transport::Read
                && matches!(site(headers), None | Some(b"same-origin" | b"none"))
        }
    }
}

/// How the page that asks is related to this server, as a browser says it.
fn site(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get("sec-fetch-site").map(HeaderValue::as_bytes)
}
