//! Access: may these credentials do this verb on this task, and until when (protocol §5). HTTP and
//! WebSockets ask here; what a pass then grants is [`core::access`](crate::core::access)'s to say.
//!
//! | file | what it owns |
//! |---|---|
//! | `ask` | what the application says |
//! | `carried` | where a request may carry a token |
//! | `jwt` | JSON Web Tokens |
//! | `keys` | the keys that sign them |
//! | `client` | what fetches those, and asks the application |
//! | `links` | signed links |
//! | `revocations` | tokens that count no more |

mod ask;
mod carried;
mod client;
mod jwt;
mod keys;
mod links;
mod revocations;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;

use ask::Asker;
pub(crate) use ask::{Counts, Decision, QUESTIONS_MAX, Shown, Wish};
use carried::Way;
pub(crate) use carried::{Carried, Rules, Transport};
use client::Client;
use jwt::{Issuer, Unverified};
pub(crate) use links::{Link, Links};

use crate::clock;
use crate::config::{ApiKey, Config, KeyProof};
use crate::core::access::{Grants, Identity, Pass};
use crate::core::account::Account;
use crate::id::ThreadId;
use crate::log::Log;
use crate::tls::PeerCertificate;
use revocations::Revocations;

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// What somebody is told whom the application does not allow something,
const NOT_ALLOWED: &str = "the application does not allow this";
/// and of whom it says nothing.
const UNANSWERED: &str = "the application does not answer, try again later";
/// There is no memory for what the application is to be shown.
const NO_MEMORY: &str = "memory is spent, try again later";

/// What somebody is told whose token was taken back.
pub(crate) const REVOKED: &str = "the token was revoked";

/// Who may what.
pub(crate) struct Access {
    /// None: everybody everything.
    credentials: Option<Credentials>,
    /// Where a token may be,
    rules: Rules,
    /// and what somebody without one may.
    anonymous: Arc<Pass>,
    /// What asks the application where all this does not suffice.
    asker: Option<Arc<Asker>>,
}

/// What proves who somebody is.
struct Credentials {
    issuers: Vec<Issuer>,
    keys: Vec<ApiKey>,
    links: Option<Links>,
    revocations: Revocations,
    /// How long they are kept, and how long somebody waits until they are read.
    kept: Duration,
    patience: Duration,
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no token.
    Missing,
    /// The token is none of anybody who is configured.
    Unknown(&'static str),
    /// The token is none that counts.
    Invalid(&'static str),
    /// It has ended.
    Expired,
    /// It does not grant this.
    Forbidden(&'static str),
    /// It cannot be known now.
    Unavailable(&'static str),
}

/// With what somebody comes to a socket.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    /// Nobody is asked who he is.
    Open,
    /// With a pass; and whether he said who he is.
    Granted(Arc<Pass>, bool),
    /// With a token that does not count.
    Refused(Refused),
}

impl Refused {
    /// What somebody is told.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Missing => "a token is needed",
            Self::Expired => "the token has expired: get a new one and come back",
            Self::Unknown(why)
            | Self::Invalid(why)
            | Self::Forbidden(why)
            | Self::Unavailable(why) => why,
        }
    }
}

impl Access {
    /// As it is configured.
    ///
    /// # Errors
    /// What is wrong with a key.
    pub(crate) fn new(config: &Config, account: &Account) -> Result<Self, String> {
        let table = &config.access;
        let asker = table.ask.as_ref().map(|table| Asker::new(table, account)).transpose();
        let asker = asker.map_err(|what| format!("access.ask: {what}"))?.map(Arc::new);
        let credentials = table.is_set().then(|| Credentials::new(config)).transpose()?;
        let grants = match (&credentials, &table.anonymous) {
            (None, _) => Grants::everything(),
            (Some(_), grants) => grants.clone().unwrap_or_default(),
        };
        let anonymous = Arc::new(Pass { grants, ..Pass::default() });
        Ok(Self { credentials, rules: Rules::new(table), anonymous, asker })
    }

    /// Whether everybody may everything.
    pub(crate) fn is_open(&self) -> bool {
        self.credentials.is_none()
    }

    /// What somebody without a token may.
    pub(crate) fn anonymous(&self) -> Arc<Pass> {
        self.anonymous.clone()
    }

    /// Where a token may be.
    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What all that a request carries grants, with what everybody may.
    ///
    /// # Errors
    /// Why a token does not count.
    pub(crate) async fn admit(&self, carried: &Carried<'_>) -> Result<Arc<Pass>, Refused> {
        let Some(credentials) = &self.credentials else { return Ok(self.anonymous.clone()) };
        let certified = carried.certificate().and_then(|it| credentials.pass_of_certificate(it));
        if carried.tokens().is_empty() && certified.is_none() {
            return Ok(self.anonymous.clone());
        }
        let mut sum = Pass::clone(&self.anonymous);
        if let Some(pass) = certified {
            sum = sum.and(pass);
        }
        for (way, token) in carried.tokens() {
            match credentials.pass_of(token).await {
                Ok(pass) => sum = sum.and(pass),
                // The application may know it, which is shown it.
                Err(Refused::Unknown(_)) if self.shows(carried, *way, token) => {}
                Err(why) => return Err(why),
            }
        }
        credentials.have_not_revoked(&sum).await?;
        Ok(Arc::new(sum))
    }

    /// Whether the application is shown a token: only the first of those that stand for one header.
    fn shows(&self, carried: &Carried<'_>, way: Way, token: &str) -> bool {
        let is_it = way != Way::Bearer || carried.bearer() == Some(token);
        let is_text = token.bytes().all(|byte| byte.is_ascii_graphic());
        is_it && is_text && self.asker.as_ref().is_some_and(|asker| asker.is_shown(way))
    }

    /// Whether the application is asked where no credential suffices.
    pub(crate) fn asks(&self) -> bool {
        self.asker.is_some()
    }

    /// What the application is shown of a request, where it is asked at all.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(crate) fn show(
        &self,
        headers: &HeaderMap,
        carried: &Carried<'_>,
    ) -> Result<Option<Arc<Shown>>, Refused> {
        let shown = self.asker.as_ref().map(|asker| asker.show(headers, carried));
        shown.map(|shown| shown.ok_or(Refused::Unavailable(NO_MEMORY))).transpose()
    }

    /// Whether it would be shown more, if another page asked: what browsers send by themselves is left out where
    /// that of another site does, and has no token.
    pub(crate) fn is_foreign(&self, headers: &HeaderMap, carried: &Carried<'_>) -> bool {
        let leaves_out = |asker: &Arc<Asker>| asker.leaves_out(headers, carried);
        carried.has_foreign_cookie()
            || !carried.has_token() && self.asker.as_ref().is_some_and(leaves_out)
    }

    /// Until when the application allows something.
    ///
    /// # Errors
    /// It does not, or says nothing.
    pub(crate) async fn ask(&self, wish: Wish<'_>, shown: &Shown) -> Result<Instant, Refused> {
        let Some(asker) = &self.asker else { return Err(Refused::Forbidden(NOT_ALLOWED)) };
        match asker.ask(wish, shown).await {
            Decision::Yes(ends) => Ok(ends),
            Decision::No => Err(Refused::Forbidden(NOT_ALLOWED)),
            Decision::Unanswered => Err(Refused::Unavailable(UNANSWERED)),
        }
    }

    /// What came of questions; none where none is asked.
    pub(crate) fn counts(&self) -> Counts {
        self.asker.as_ref().map(|asker| asker.counts()).unwrap_or_default()
    }

    /// Whether a pass came of a token that was taken back since.
    pub(crate) fn has_revoked(&self, pass: &Pass) -> bool {
        self.credentials.as_ref().is_some_and(|it| it.revocations.have(pass))
    }

    /// Whether it is known which tokens were taken back.
    pub(crate) fn is_ready(&self) -> bool {
        self.credentials.as_ref().is_none_or(|it| it.revocations.are_read())
    }

    /// Reads which tokens are taken back, for as long as the server runs, and tells when there are more.
    pub(crate) async fn follow_revocations(&self, log: &Log, account: &Account, tell: impl Fn()) {
        if let Some(credentials) = &self.credentials {
            credentials.revocations.follow(log, account, credentials.kept, tell).await;
        }
    }

    /// A token to watch a task for so long; none without a secret for links.
    pub(crate) fn link(&self, thread: &ThreadId, lasts: Duration) -> Option<Link> {
        Some(self.credentials.as_ref()?.links.as_ref()?.make(thread, lasts))
    }

    /// What a token grants that a socket sends, with what the certificate of its connection does and what
    /// everybody may; and what the application is shown of that socket from then on.
    ///
    /// # Errors
    /// Why it does not count.
    pub(crate) async fn admit_token(
        &self,
        token: &str,
        certificate: Option<&PeerCertificate>,
        shown: Option<&Arc<Shown>>,
    ) -> Result<(Arc<Pass>, Option<Arc<Shown>>), Refused> {
        let pass = self.admit(&Carried::token(token, certificate)).await?;
        let asked = self.asker.as_ref().zip(shown);
        let shown = asked.map(|(asker, shown)| asker.show_token(shown, token));
        let shown = shown.map(|shown| shown.ok_or(Refused::Unavailable(NO_MEMORY))).transpose()?;
        Ok((pass, shown))
    }
}

impl Credentials {
    fn new(config: &Config) -> Result<Self, String> {
        let table = &config.access;
        let client = if table.jwt.is_empty() {
            None
        } else {
            Some(Client::new().map_err(|error| format!("the system's certificates: {error}"))?)
        };
        let issuers = table.jwt.iter().zip(client.iter().cycle());
        let issuers = issuers.map(|(issuer, client)| {
            Issuer::new(issuer, client).map_err(|what| format!("access.jwt: its key {what}"))
        });
        Ok(Self {
            issuers: issuers.collect::<Result<_, _>>()?,
            keys: table.keys.clone(),
            links: Links::of(table),
            revocations: Revocations::new(),
            kept: Duration::from_secs(table.revocation_days * 86_400),
            patience: config.limits.attach_timeout(),
        })
    }

    /// Until it is known what was taken back, nobody is let in.
    async fn have_not_revoked(&self, pass: &Pass) -> Result<(), Refused> {
        if !self.revocations.are_read() {
            let waiting = timeout(self.patience, self.revocations.read());
            let unknown = Refused::Unavailable("it cannot be read which tokens were revoked");
            waiting.await.map_err(|_| unknown)?;
        }
        if self.revocations.have(pass) { Err(Refused::Forbidden(REVOKED)) } else { Ok(()) }
    }

    async fn pass_of(&self, token: &str) -> Result<Pass, Refused> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refused::Invalid("the token is too long"));
        }
        if let Some(key) = self.key(token) {
            return Ok(pass_of_key(key));
        }
        let now_ms = clock::now_ms();
        if let Some(pass) = self.links.as_ref().and_then(|links| links.pass_of(token, now_ms)) {
            return pass;
        }
        let unknown = Refused::Unknown("this is no token of anybody who is configured");
        if token.is_empty() {
            return Err(Refused::Invalid(unknown.text()));
        }
        let Some(token) = Unverified::of(token) else { return Err(unknown) };
        let mut refused = unknown;
        for issuer in self.issuers.iter().filter(|issuer| issuer.may_have_issued(&token)) {
            match issuer.pass_of(&token, now_ms).await {
                Ok(pass) => return Ok(pass),
                // Whose keys cannot be read now may have signed it.
                Err(_) if matches!(refused, Refused::Unavailable(_)) => {}
                // Of one who has signed it counts what is wrong with it.
                Err(Refused::Unknown(_)) if !matches!(refused, Refused::Unknown(_)) => {}
                Err(why) => refused = why,
            }
        }
        Err(refused)
    }

    /// The API key that this is. Each is compared, and in constant time.
    fn key(&self, given: &str) -> Option<&ApiKey> {
        let hash = Sha256::digest(given);
        let mut found = None;
        for key in &self.keys {
            if let KeyProof::Sha256(sha256) = &key.proof
                && bool::from(sha256.ct_eq(hash.as_slice()))
            {
                found = Some(key);
            }
        }
        found
    }

    /// What the keys grant that stand for a client's certificate, as long as it counts.
    fn pass_of_certificate(&self, certificate: &PeerCertificate) -> Option<Pass> {
        let is_it = |key: &&ApiKey| matches!(&key.proof, KeyProof::Subject(subject) if *subject == certificate.subject);
        let passes = self.keys.iter().filter(is_it).map(pass_of_key);
        let pass = passes.reduce(Pass::and)?;
        Some(Pass { ends_ms: Some(certificate.ends_s.saturating_mul(1000)), ..pass })
    }
}

fn pass_of_key(key: &ApiKey) -> Pass {
    let identity = Identity { subject: Some(key.name.as_str().into()), ..Identity::default() };
    Pass { grants: key.grants.clone(), identities: vec![identity], ends_ms: None }
}

#[cfg(test)]
mod tests;
