//! What the application is shown of whoever asks: the headers that the configuration names. It is kept for the life
//! of a socket, as the application is asked again.

use std::fmt;

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::super::carried::Carried;
use crate::core::account::{Account, Charge, Kind, Priority};

/// What it takes beside its text.
const SHOWN_BYTES: usize = 256;

/// The headers by their names.
pub(crate) struct Shown {
    headers: Vec<(Box<str>, String)>,
    hash: [u8; 32],
    /// Given back when it is dropped.
    _charge: Charge,
}

/// Not what it holds.
impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl Shown {
    /// Of a request, what has these names. What browsers send by themselves is left out where another site's page
    /// asks; what is no text is left out always. None where there is no memory for it.
    pub(super) fn of(
        names: &[String],
        headers: &HeaderMap,
        carried: &Carried<'_>,
        account: &Account,
    ) -> Option<Self> {
        let value = |name: &str| {
            if name == AUTHORIZATION.as_str()
                && let Some(token) = carried.bearer()
            {
                return Some(format!("Bearer {token}"));
            }
            if is_sent_by_itself(name) && !carried.may_use_cookie() {
                return None;
            }
            // Several lines of one name are one list (RFC 9110 §5.3), cookies with a separator of their own.
            let lines: Result<Vec<_>, _> = headers
                .get_all(name)
                .iter()
                .map(|line| std::str::from_utf8(line.as_bytes()))
                .collect();
            let separator = if name == COOKIE.as_str() { "; " } else { ", " };
            lines.ok().filter(|lines| !lines.is_empty()).map(|lines| lines.join(separator))
        };
        let pairs = names.iter().filter_map(|name| Some((name.as_str().into(), value(name)?)));
        Self::new(pairs.collect(), account)
    }

    /// The same with another token.
    pub(super) fn with_bearer(&self, token: &str, account: &Account) -> Option<Self> {
        let is_it = |name: &str| name == AUTHORIZATION.as_str();
        let mut headers = self.headers.clone();
        headers.retain(|(name, _)| !is_it(name));
        headers.push((AUTHORIZATION.as_str().into(), format!("Bearer {token}")));
        headers.sort_unstable();
        Self::new(headers, account)
    }

    fn new(headers: Vec<(Box<str>, String)>, account: &Account) -> Option<Self> {
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let charge = account.reserve(Kind::Questions, SHOWN_BYTES + bytes, Priority::Usual)?;
        let mut hash = Sha256::new();
        for (name, value) in &headers {
            hash.update(name.len().to_be_bytes());
            hash.update(name.as_bytes());
            hash.update(value.len().to_be_bytes());
            hash.update(value);
        }
        Some(Self { headers, hash: hash.finalize().into(), _charge: charge })
    }

    /// Whether it is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// What tells it from others, and tells nothing of it.
    pub(crate) fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// As a question has it.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let pairs = self.headers.iter();
        pairs.map(|(name, value)| (name.to_string(), value.as_str().into())).collect()
    }
}

/// Whether a browser sends a header along with whatever another site's page asks for.
pub(super) fn is_sent_by_itself(name: &str) -> bool {
    name == COOKIE.as_str() || name == AUTHORIZATION.as_str()
}
