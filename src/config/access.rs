//! The table `[access]` of a file: who may what, and by which credentials (protocol §5).

mod ask;
mod secrets;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tables::{Table, Value, Wrong, shown};
use crate::core::access::Grants;
use crate::tls::subject;
use ask::ASK_KEYS;
pub use ask::AskTable;
pub use secrets::Secret;
use secrets::{SECRETS, hash_of_hex, secrets_of};

/// The name of the table.
pub(super) const NAME: &str = "access";

const KEYS: [&str; 12] = [
    "anonymous",
    "query_token",
    "cookie",
    "subprotocols",
    "secret",
    "secret_file",
    "secret_previous",
    "secret_previous_file",
    "revocation_days",
    "ask",
    "jwt",
    "key",
];
const JWT_KEYS: [&str; 9] = [
    "secret",
    "secret_file",
    "public_key_file",
    "jwks_file",
    "jwks_url",
    "issuer",
    "audience",
    "claim",
    "leeway_s",
];
const KEY_KEYS: [&str; 4] = ["name", "sha256", "subject", "grants"];
/// The variables of the environment with what signs links; they go over the file.
pub(super) const VARIABLES: [&str; 2] =
    ["TASKCAST_ACCESS_SECRET", "TASKCAST_ACCESS_SECRET_PREVIOUS"];

/// The most tables of one kind.
const TABLES_MAX: usize = 1_024;
/// The claim with the grants, unless another one is named.
const CLAIM: &str = "taskcast";
/// How far clocks may be apart, in seconds, unless something else is set,
const LEEWAY_S: u64 = 30;
/// and what may be set.
const LEEWAY_S_MAX: u64 = 600;

/// A secret of as many bytes as its signatures cannot be guessed (RFC 7518 §3.2).
const SECRET_BYTES: usize = 32;
/// For how many days it is known which tokens were taken back, unless something else is set,
const REVOCATION_DAYS: u64 = 30;
/// and what may be set.
const REVOCATION_DAYS_MAX: u64 = 3_650;

/// Who may what. Without any of it, everybody may everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessTable {
    /// What somebody without credentials may; none: it is not said.
    pub anonymous: Option<Grants>,
    /// Whether a token may stand in the query of an address.
    pub query_token: bool,
    /// The cookie that holds a token.
    pub cookie: Option<String>,
    /// Subprotocols that a client may offer with a token behind them.
    pub subprotocols: Vec<String>,
    /// What signs links.
    pub secret: Option<Secret>,
    /// What signed them before: those that are on their way still count.
    pub secret_previous: Option<Secret>,
    /// For so many days it is known which tokens were taken back.
    pub revocation_days: u64,
    /// Who issues JSON Web Tokens.
    pub jwt: Vec<JwtIssuer>,
    /// The API keys.
    pub keys: Vec<ApiKey>,
    /// The application that decides where none of these does.
    pub ask: Option<AskTable>,
    /// The table, as a file has it.
    pub(crate) written: String,
    /// Whether a secret stands in the table itself, and the files that hold others.
    pub(crate) has_secrets: bool,
    pub(crate) secret_files: Vec<PathBuf>,
}

/// Somebody who issues JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtIssuer {
    /// What signs them.
    pub key: JwtKey,
    /// What `iss` has to be.
    pub issuer: Option<String>,
    /// What `aud` has to have.
    pub audience: Option<String>,
    /// The claim with the grants.
    pub claim: String,
    /// How far clocks may be apart, in seconds.
    pub leeway_s: u64,
}

/// Where the key is that a token's signature is checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKey {
    /// Shared with the issuer: HS256, HS384 and HS512.
    Secret(Secret),
    /// A public key in PEM.
    Pem(Vec<u8>),
    /// A file with a set of keys.
    JwksFile(PathBuf),
    /// An address of such a set.
    JwksUrl(String),
}

/// An API key, or a client's certificate that stands for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is.
    pub name: String,
    /// By what it is known.
    pub proof: KeyProof,
    /// What it grants.
    pub grants: Grants,
}

/// By what an API key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyProof {
    /// The SHA-256 of the key: nothing else is known of it.
    Sha256([u8; 32]),
    /// The subject of a client's certificate, in the form of RFC 4514.
    Subject(String),
}

impl Default for AccessTable {
    fn default() -> Self {
        Self {
            anonymous: None,
            query_token: false,
            cookie: None,
            subprotocols: Vec::new(),
            secret: None,
            secret_previous: None,
            revocation_days: REVOCATION_DAYS,
            jwt: Vec::new(),
            keys: Vec::new(),
            ask: None,
            written: String::new(),
            has_secrets: false,
            secret_files: Vec::new(),
        }
    }
}

impl AccessTable {
    /// Whether anything says who may what.
    pub fn is_set(&self) -> bool {
        self.anonymous.is_some()
            || self.secret.is_some()
            || !self.jwt.is_empty()
            || !self.keys.is_empty()
            || self.ask.is_some()
    }

    /// Secrets that are so short that they may be guessed, by their names.
    pub(crate) fn short_secrets(&self) -> Vec<&'static str> {
        let of_issuers = self.jwt.iter().filter_map(|issuer| match &issuer.key {
            JwtKey::Secret(secret) => Some(("access.jwt: secret", secret)),
            _ => None,
        });
        let secret = self.secret.as_ref().map(|secret| ("access: secret", secret));
        let all = secret.into_iter().chain(of_issuers);
        all.filter(|(_, secret)| secret.0.len() < SECRET_BYTES).map(|(name, _)| name).collect()
    }

    /// What the environment says goes over what a file says. An empty variable counts as not set.
    pub(super) fn take_environment(&mut self, environment: &[(OsString, OsString)]) {
        let secret = |name: &str| {
            let (_, value) = environment.iter().find(|(known, _)| known == name)?;
            let bytes = value.as_encoded_bytes().to_vec();
            Some(Secret(bytes)).filter(|secret| !secret.0.is_empty())
        };
        let [current, previous] = VARIABLES.map(secret);
        if current.is_some() {
            (self.secret, self.secret_previous) = (current, previous);
        }
    }

    /// The table, as a file has it, without its secrets.
    pub(super) fn to_toml(&self) -> &str {
        &self.written
    }

    /// Reads what a file has under the name `access`.
    pub(super) fn read(given: &Value<'_>) -> Result<Self, Wrong> {
        let at = given.span().start;
        let DeValue::Table(table) = given.get_ref() else {
            return Err((at, "write [access], a table".to_owned()));
        };
        let access = Table { at, table, name: "access" };
        access.check_keys(&KEYS)?;
        let subprotocols = access.texts("subprotocols")?;
        if !subprotocols.iter().all(|name| is_token(name)) {
            return Err(access.wrong("subprotocols", "must be names of subprotocols"));
        }
        let cookie = access.text("cookie")?.filter(|name| !name.is_empty());
        if !cookie.as_deref().is_none_or(is_token) {
            return Err(access.wrong("cookie", "must be the name of a cookie"));
        }
        let ask = access.inner("ask")?.map(|ask| Table { name: "access.ask", ..ask });
        let mut read = Self {
            anonymous: access.find("anonymous").map(|_| access.grants("anonymous")).transpose()?,
            query_token: access.yes("query_token")?,
            cookie,
            subprotocols,
            secret: access.secret("secret", "secret_file")?,
            secret_previous: access.secret("secret_previous", "secret_previous_file")?,
            revocation_days: access.number(
                "revocation_days",
                REVOCATION_DAYS,
                1..=REVOCATION_DAYS_MAX,
            )?,
            jwt: access.tables("jwt", JwtIssuer::read)?,
            keys: access.tables("key", ApiKey::read)?,
            ask: ask.map(AskTable::read).transpose()?,
            ..Self::default()
        };
        if read.secret_previous.is_some() && read.secret.is_none() {
            let what = "needs a secret that signs from now on";
            return Err(access.wrong("secret_previous", what));
        }
        let twice =
            |key: &ApiKey| read.keys.iter().filter(|other| other.name == key.name).count() > 1;
        if let Some(key) = read.keys.iter().find(|key| twice(key)) {
            return Err(access.wrong("key", format!("{:?} is there twice", key.name)));
        }
        read.written = written(table);
        read.has_secrets = ask.is_some_and(ask::has_password);
        for (key, value) in secrets_of(table) {
            match key.ends_with("_file") {
                true => read.secret_files.push(value.into()),
                false => read.has_secrets = true,
            }
        }
        Ok(read)
    }
}

impl JwtIssuer {
    fn read(table: Table<'_>) -> Result<Self, Wrong> {
        table.check_keys(&JWT_KEYS)?;
        let places = &JWT_KEYS[..5];
        let given: Vec<_> = places.iter().filter(|key| table.find(key).is_some()).collect();
        let &[place] = &given[..] else {
            let places = places.join(", ");
            return Err((table.at, format!("{}: must have exactly one of {places}", table.name)));
        };
        let value = table.text(place)?.filter(|value| !value.is_empty());
        let value = value.ok_or_else(|| table.wrong(place, "must not be empty"))?;
        let key = match *place {
            "secret" => JwtKey::Secret(Secret(value.into_bytes())),
            "secret_file" => JwtKey::Secret(table.secret_in_file(place, &value)?),
            "public_key_file" => JwtKey::Pem(table.bytes_of_file(place, &value)?),
            "jwks_file" => JwtKey::JwksFile(value.into()),
            _ if value.starts_with("https://") || value.starts_with("http://") => {
                JwtKey::JwksUrl(value)
            }
            _ => return Err(table.wrong(place, "must be an http:// or https:// URL")),
        };
        Ok(Self {
            key,
            issuer: table.text("issuer")?,
            audience: table.text("audience")?,
            claim: table.text("claim")?.unwrap_or_else(|| CLAIM.to_owned()),
            leeway_s: table.number("leeway_s", LEEWAY_S, 0..=LEEWAY_S_MAX)?,
        })
    }
}

impl ApiKey {
    fn read(table: Table<'_>) -> Result<Self, Wrong> {
        table.check_keys(&KEY_KEYS)?;
        let name = table.text("name")?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| table.wrong("name", "must say whose it is"))?;
        Ok(Self { name, proof: KeyProof::read(table)?, grants: table.grants("grants")? })
    }
}

impl KeyProof {
    fn read(table: Table<'_>) -> Result<Self, Wrong> {
        match (table.text("sha256")?, table.text("subject")?) {
            (Some(_), Some(_)) => {
                Err(table.wrong("subject", "stands instead of sha256, not beside it"))
            }
            (None, Some(subject)) => {
                let form = "must be the subject of a certificate, such as CN=worker-1,O=Example";
                let subject = subject::written(&subject);
                subject.map(Self::Subject).ok_or_else(|| table.wrong("subject", form))
            }
            (hash, None) => {
                let form = "must be the SHA-256 of the key in hex: printf %s KEY | sha256sum";
                let hash = hash.and_then(|text| hash_of_hex(&text));
                hash.map(Self::Sha256).ok_or_else(|| table.wrong("sha256", form))
            }
        }
    }
}

impl<'a> Table<'a> {
    /// A list of grants.
    fn grants(self, key: &str) -> Result<Grants, Wrong> {
        let mut grants = Grants::default();
        for text in self.texts(key)? {
            let added = grants.add_text(&text);
            added.map_err(|error| self.wrong(key, format!("has {text:?}: {error}")))?;
        }
        Ok(grants)
    }

    /// Each table of a list.
    fn tables<T>(
        self,
        key: &str,
        read: impl Fn(Table<'_>) -> Result<T, Wrong>,
    ) -> Result<Vec<T>, Wrong> {
        let form = || self.wrong(key, format!("must be tables: write [[access.{key}]]"));
        let Some(given) = self.find(key) else { return Ok(Vec::new()) };
        let DeValue::Array(tables) = given.get_ref() else { return Err(form()) };
        if tables.len() > TABLES_MAX {
            return Err(self.wrong(key, format!("is there more than {TABLES_MAX} times")));
        }
        let name = format!("access.{key}");
        let table = |given: &Value<'_>| {
            let DeValue::Table(table) = given.get_ref() else { return Err(form()) };
            read(Table { at: given.span().start, table, name: &name })
        };
        tables.iter().map(table).collect()
    }

    /// A whole number in a range.
    fn number(self, key: &str, default: u64, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
        let number = match self.find(key).map(Spanned::get_ref) {
            None => return Ok(default),
            Some(DeValue::Integer(number)) => number.as_str().parse().ok(),
            Some(_) => None,
        };
        let must_be = || self.wrong(key, format!("must be {} to {}", range.start(), range.end()));
        number.filter(|number| range.contains(number)).ok_or_else(must_be)
    }
}

/// Whether it is a token as HTTP has them (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_it)
}

/// The table and those in it, as a file has them.
fn written(table: &DeTable<'_>) -> String {
    let inner = |key: &str| table.iter().find(|(known, _)| known.get_ref() == key);
    let mut text = format!("\n[{NAME}]\n{}", shown(table, &KEYS[..9], &SECRETS));
    if let Some(DeValue::Table(ask)) = inner("ask").map(|(_, value)| value.get_ref()) {
        // Writing to a String does not fail, here and below.
        _ = write!(text, "\n[{NAME}.ask]\n{}", shown(ask, &ASK_KEYS, &SECRETS));
    }
    for (key, keys) in [("jwt", &JWT_KEYS[..]), ("key", &KEY_KEYS[..])] {
        let Some(DeValue::Array(tables)) = inner(key).map(|(_, value)| value.get_ref()) else {
            continue;
        };
        for given in tables {
            if let DeValue::Table(table) = given.get_ref() {
                _ = write!(text, "\n[[{NAME}.{key}]]\n{}", shown(table, keys, &SECRETS));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests;
