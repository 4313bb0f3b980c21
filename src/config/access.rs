//! The table `[access]` of a file: who may what, and by which credentials (protocol §5).

use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::tables::{Table, Value, Wrong, shown};
use crate::core::access::Grants;

/// The name of the table.
pub(super) const NAME: &str = "access";

const KEYS: [&str; 6] = ["anonymous", "query_token", "cookie", "subprotocols", "jwt", "key"];
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
const KEY_KEYS: [&str; 3] = ["name", "sha256", "grants"];
/// What is never shown.
const SECRETS: [&str; 1] = ["secret"];

/// The most tables of one kind.
const TABLES_MAX: usize = 1_024;
/// The claim with the grants, unless another one is named.
const CLAIM: &str = "taskcast";
/// How far clocks may be apart, in seconds, unless something else is set,
const LEEWAY_S: u64 = 30;
/// and what may be set.
const LEEWAY_S_MAX: u64 = 600;

/// Who may what. Without any of it, everybody may everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessTable {
    /// What somebody without credentials may; none: it is not said.
    pub anonymous: Option<Grants>,
    /// Whether a token may stand in the query of an address.
    pub query_token: bool,
    /// The cookie that holds a token.
    pub cookie: Option<String>,
    /// Subprotocols that a client may offer with a token behind them.
    pub subprotocols: Vec<String>,
    /// Who issues JSON Web Tokens.
    pub jwt: Vec<JwtIssuer>,
    /// The API keys.
    pub keys: Vec<ApiKey>,
    /// The table, as a file has it.
    pub(crate) written: String,
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

/// An API key: nothing is known of it but its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Whose it is.
    pub name: String,
    /// The SHA-256 of the key.
    pub sha256: [u8; 32],
    /// What it grants.
    pub grants: Grants,
}

/// Something that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl AccessTable {
    /// Whether anything says who may what.
    pub fn is_set(&self) -> bool {
        self.anonymous.is_some() || !self.jwt.is_empty() || !self.keys.is_empty()
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
        let mut read = Self {
            anonymous: access.find("anonymous").map(|_| access.grants("anonymous")).transpose()?,
            query_token: access.yes("query_token")?,
            cookie,
            subprotocols,
            jwt: access.tables("jwt", JwtIssuer::read)?,
            keys: access.tables("key", ApiKey::read)?,
            written: String::new(),
        };
        let twice =
            |key: &ApiKey| read.keys.iter().filter(|other| other.name == key.name).count() > 1;
        if let Some(key) = read.keys.iter().find(|key| twice(key)) {
            return Err(access.wrong("key", format!("{:?} is there twice", key.name)));
        }
        read.written = written(table);
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
        let leeway_s = match table.find("leeway_s").map(Spanned::get_ref) {
            None => Some(LEEWAY_S),
            Some(DeValue::Integer(number)) => {
                number.as_str().parse().ok().filter(|seconds| *seconds <= LEEWAY_S_MAX)
            }
            Some(_) => None,
        };
        let leeway = || table.wrong("leeway_s", format!("must be 0 to {LEEWAY_S_MAX}"));
        Ok(Self {
            key,
            issuer: table.text("issuer")?,
            audience: table.text("audience")?,
            claim: table.text("claim")?.unwrap_or_else(|| CLAIM.to_owned()),
            leeway_s: leeway_s.ok_or_else(leeway)?,
        })
    }
}

impl ApiKey {
    fn read(table: Table<'_>) -> Result<Self, Wrong> {
        table.check_keys(&KEY_KEYS)?;
        let name = table.text("name")?.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| table.wrong("name", "must say whose it is"))?;
        let sha256 = table.text("sha256")?.and_then(|text| hash_of_hex(&text));
        let form = "must be the SHA-256 of the key in hex: printf %s KEY | sha256sum";
        Ok(Self {
            name,
            sha256: sha256.ok_or_else(|| table.wrong("sha256", form))?,
            grants: table.grants("grants")?,
        })
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

    fn bytes_of_file(self, key: &str, path: &str) -> Result<Vec<u8>, Wrong> {
        std::fs::read(path)
            .map_err(|error| self.wrong(key, format!("cannot be read, {path}: {error}")))
    }

    /// A secret is what is in the file, without the end of its line.
    fn secret_in_file(self, key: &str, path: &str) -> Result<Secret, Wrong> {
        let mut bytes = self.bytes_of_file(key, path)?;
        while bytes.pop_if(|byte| matches!(byte, b'\n' | b'\r')).is_some() {}
        if bytes.is_empty() {
            return Err(self.wrong(key, format!("is empty: {path}")));
        }
        Ok(Secret(bytes))
    }
}

/// Whether it is a token as HTTP has them (RFC 9110 §5.6.2).
fn is_token(text: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_it)
}

fn hash_of_hex(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

/// The table and those in it, as a file has them.
fn written(table: &DeTable<'_>) -> String {
    let inner = |key: &str| table.iter().find(|(known, _)| known.get_ref() == key);
    let mut text = format!("\n[{NAME}]\n{}", hidden(shown(table, &KEYS[..4])));
    for (key, keys) in [("jwt", &JWT_KEYS[..]), ("key", &KEY_KEYS[..])] {
        let Some(DeValue::Array(tables)) = inner(key).map(|(_, value)| value.get_ref()) else {
            continue;
        };
        for given in tables {
            if let DeValue::Table(table) = given.get_ref() {
                // Writing to a String does not fail.
                _ = write!(text, "\n[[{NAME}.{key}]]\n{}", hidden(shown(table, keys)));
            }
        }
    }
    text
}

/// The same without secrets.
fn hidden(text: String) -> String {
    let line = |line: &str| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        if SECRETS.contains(&key) { format!("{key} = \"***\"\n") } else { format!("{line}\n") }
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests;
