//! JSON Web Tokens (RFC 7519): whether a signature is that of a key that is configured, and what the claims
//! grant. Nothing of a token is shown or logged.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

use super::Refused;
use super::client::Client;
use super::keys::{Key, KeySet};
use crate::config::{self, JwtKey};
use crate::core::access::{Grants, Identity, MalformedGrant, Pass, Verb};
use crate::log::REVOKED_BYTES_MAX;

/// Beyond this a time is a mistake, in seconds: the end of the year 9999.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// Somebody whose tokens count.
pub(super) struct Issuer {
    keys: Keys,
    issuer: Option<String>,
    audience: Option<String>,
    claim: String,
    leeway_ms: u64,
}

enum Keys {
    One(Key),
    Set(Arc<KeySet>),
}

/// What a token says before its signature is looked at.
pub(super) struct Unverified<'a> {
    header: Header,
    claims: Map<String, Value>,
    /// What is signed.
    message: &'a str,
    signature: &'a str,
}

/// What says how a token is signed.
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

impl Issuer {
    /// As it is configured.
    ///
    /// # Errors
    /// What is wrong with its key.
    pub(super) fn new(issuer: &config::JwtIssuer, client: &Client) -> Result<Self, String> {
        let keys = match &issuer.key {
            JwtKey::Secret(secret) => Keys::One(Key::of(DecodingKey::from_secret(&secret.0))),
            JwtKey::Pem(pem) => Keys::One(Key::of_pem(pem)?),
            JwtKey::JwksFile(path) => Keys::Set(KeySet::in_file(path.clone())),
            JwtKey::JwksUrl(url) => Keys::Set(KeySet::at_url(url, client.clone())?),
        };
        Ok(Self {
            keys,
            issuer: issuer.issuer.clone(),
            audience: issuer.audience.clone(),
            claim: issuer.claim.clone(),
            leeway_ms: issuer.leeway_s * 1000,
        })
    }

    /// Whether the token says that it is of this issuer.
    pub(super) fn may_have_issued(&self, token: &Unverified<'_>) -> bool {
        self.issuer.as_ref().is_none_or(|issuer| {
            token.claims.get("iss").and_then(Value::as_str) == Some(issuer.as_str())
        })
    }

    /// What a token grants.
    ///
    /// # Errors
    /// Why it grants nothing.
    pub(super) async fn pass_of(
        &self,
        token: &Unverified<'_>,
        now_ms: u64,
    ) -> Result<Pass, Refused> {
        let is_signed = match &self.keys {
            Keys::One(key) => key.fits(&token.header) && token.is_signed_with(key),
            Keys::Set(set) => {
                let keys = set.keys_for(&token.header).await?;
                let mut fitting = keys.iter().filter(|key| key.fits(&token.header));
                fitting.any(|key| token.is_signed_with(key))
            }
        };
        if !is_signed {
            return Err(Refused::Unknown("no key that is configured has signed this token"));
        }
        self.judged(&token.claims, now_ms)
    }

    /// What claims grant whose signature holds.
    fn judged(&self, claims: &Map<String, Value>, now_ms: u64) -> Result<Pass, Refused> {
        let exp_ms = time_ms(claims.get("exp"))?
            .ok_or(Refused::Invalid("the token has no exp: it has to say when it ends"))?;
        let ends_ms = exp_ms.saturating_add(self.leeway_ms);
        if ends_ms <= now_ms {
            return Err(Refused::Expired);
        }
        if time_ms(claims.get("nbf"))?.is_some_and(|nbf_ms| nbf_ms > now_ms + self.leeway_ms) {
            return Err(Refused::Invalid("the token does not count yet"));
        }
        let is_meant = |audience: &String| match claims.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(some)) => some.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        };
        if !self.audience.as_ref().is_none_or(is_meant) {
            return Err(Refused::Invalid("the token is for another audience"));
        }
        let grants = match claims.get(&self.claim) {
            None => Grants::default(),
            Some(given) => grants_of(given)
                .map_err(|MalformedGrant| Refused::Invalid("a grant of the token is malformed"))?,
        };
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(Into::into);
        let issued_ms = time_ms(claims.get("iat"))?;
        let is_too_long = |text: &Arc<str>| text.len() > REVOKED_BYTES_MAX;
        if [text("sub"), text("jti")].iter().flatten().any(is_too_long) {
            return Err(Refused::Invalid("the sub or jti of the token is too long"));
        }
        let identity = Identity { subject: text("sub"), token_id: text("jti"), issued_ms };
        Ok(Pass { grants, ends_ms: Some(ends_ms), identities: vec![identity] })
    }
}

impl<'a> Unverified<'a> {
    /// Takes a token apart; none where it has not the form of one.
    pub(super) fn of(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let object = |part: &str| -> Option<Map<String, Value>> {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
        };
        let header = Header::of(&object(header)?)?;
        Some(Self { header, claims: object(claims)?, message, signature })
    }

    fn is_signed_with(&self, key: &Key) -> bool {
        let algorithm = self.header.algorithm;
        crypto::verify(self.signature, self.message.as_bytes(), key.decoding(), algorithm)
            .unwrap_or(false)
    }
}

impl Header {
    fn of(header: &Map<String, Value>) -> Option<Self> {
        // Whoever does not know what is critical has to refuse it (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return None;
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return None,
        };
        Some(Self { algorithm: header.get("alg")?.as_str()?.parse().ok()?, kid })
    }
}

/// A time of a claim, in milliseconds since the epoch.
fn time_ms(claim: Option<&Value>) -> Result<Option<u64>, Refused> {
    match claim {
        None => Ok(None),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(seconds) if seconds <= 0.0 => Ok(Some(0)),
            Some(seconds) if seconds <= SECONDS_MAX => Ok(Some((seconds * 1000.0) as u64)),
            _ => Err(Refused::Invalid("a time of the token is out of range")),
        },
        Some(_) => Err(Refused::Invalid("a time of the token is no number")),
    }
}

/// The grants of a claim: `{"watch": [TASKS], "publish": [TASKS], "list": true, "metrics": true}`. Other
/// members grant nothing.
fn grants_of(claim: &Value) -> Result<Grants, MalformedGrant> {
    let members = claim.as_object().ok_or(MalformedGrant)?;
    let mut grants = Grants::default();
    for (name, value) in members {
        let Some(verb) = Verb::named(name) else { continue };
        match (verb, value) {
            (Verb::Watch | Verb::Publish, Value::Array(tasks)) => {
                for tasks in tasks {
                    grants.add_tasks(verb, tasks.as_str().ok_or(MalformedGrant)?)?;
                }
            }
            (Verb::List | Verb::Metrics, Value::Bool(true)) => grants.add_verb(verb)?,
            (Verb::List | Verb::Metrics, Value::Bool(false)) => {}
            _ => return Err(MalformedGrant),
        }
    }
    Ok(grants)
}
