//! Keys that signatures are checked with: one, or a set that is read from a file or an address and read
//! again when a token names one that is not in it (RFC 7517).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;

use super::Refused;
use super::client::Client;
use super::jwt::Header;

/// A set is read again at most so often, whatever tokens name.
const PAUSE: Duration = Duration::from_secs(10);
/// A set that was read so long ago is read again: keys are taken out of it, too.
const FRESH: Duration = Duration::from_secs(600);
/// How long reading a set may take.
const READ_MAX: Duration = Duration::from_secs(5);
/// The largest set, in bytes,
const SET_BYTES_MAX: usize = 256 * 1024;
/// and the most keys in it that are looked at.
const SET_KEYS_MAX: usize = 256;

/// A public key, or a secret.
pub(super) struct Key {
    id: Option<String>,
    /// What it is for alone, where it says so.
    algorithm: Option<Algorithm>,
    decoding: DecodingKey,
}

impl Key {
    /// A key without a name.
    pub(super) fn of(decoding: DecodingKey) -> Self {
        Self { id: None, algorithm: None, decoding }
    }

    /// A public key, whatever it is of.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let readers =
            [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem];
        let decoding = readers.iter().find_map(|read| read(pem).ok());
        let what = "is no public key in PEM of RSA, of P-256 or P-384, or of Ed25519";
        decoding.map(Self::of).ok_or_else(|| what.to_owned())
    }

    /// A key of a set; none where it is for something else.
    fn of_set(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        // A secret that everybody can read is none.
        if matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_)) {
            return None;
        }
        if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
            return None;
        }
        let algorithm = match jwk.common.key_algorithm {
            None => None,
            Some(algorithm) => Some(named(algorithm)?),
        };
        let decoding = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, algorithm, decoding })
    }

    /// Whether a token with this header may be signed with it.
    pub(super) fn fits(&self, header: &Header) -> bool {
        let is_it = match (&self.id, &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            _ => true,
        };
        is_it
            && self.decoding.family() == header.algorithm.family()
            && self.algorithm.is_none_or(|algorithm| algorithm == header.algorithm)
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }
}

fn named(algorithm: KeyAlgorithm) -> Option<Algorithm> {
    algorithm.to_string().parse().ok()
}

/// A set of keys.
pub(super) struct KeySet {
    place: Place,
    held: Mutex<Held>,
    /// Who has it reads the set.
    reading: tokio::sync::Mutex<()>,
}

enum Place {
    File(PathBuf),
    Url(Box<Address>),
}

struct Address {
    url: hyper::Uri,
    client: Client,
}

#[derive(Default)]
struct Held {
    /// The last good ones.
    keys: Option<Arc<[Key]>>,
    read_at: Option<Instant>,
    asked_at: Option<Instant>,
}

impl KeySet {
    pub(super) fn in_file(path: PathBuf) -> Arc<Self> {
        Self::at(Place::File(path))
    }

    /// # Errors
    /// It is no address.
    pub(super) fn at_url(url: &str, client: Client) -> Result<Arc<Self>, String> {
        let url = url.parse().map_err(|error| format!("is no URL: {error}"))?;
        Ok(Self::at(Place::Url(Box::new(Address { url, client }))))
    }

    fn at(place: Place) -> Arc<Self> {
        let (held, reading) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { place, held, reading })
    }

    /// The keys, among which that of a token is looked for. Where it is not, they are read again, at most
    /// every ten seconds; where they are old, the same beside it.
    ///
    /// # Errors
    /// There are no keys.
    pub(super) async fn keys_for(self: &Arc<Self>, header: &Header) -> Result<Arc<[Key]>, Refused> {
        let (keys, is_fresh) = self.held();
        match keys.filter(|keys| keys.iter().any(|key| key.fits(header))) {
            Some(keys) => {
                if !is_fresh {
                    let set = self.clone();
                    tokio::spawn(async move { set.read_again().await });
                }
                return Ok(keys);
            }
            None => self.read_again().await,
        }
        self.held().0.ok_or(Refused::Unavailable("the keys of the tokens cannot be read"))
    }

    /// The last good keys, and whether they are fresh.
    fn held(&self) -> (Option<Arc<[Key]>>, bool) {
        let held = self.held.lock();
        (held.keys.clone(), held.read_at.is_some_and(|read| read.elapsed() < FRESH))
    }

    async fn read_again(&self) {
        let reading = async {
            let _turn = self.reading.lock().await;
            // Somebody else may have read them while this one waited.
            if self.may_ask() {
                self.read().await;
            }
        };
        // Dropped: somebody else reads them, ten seconds later.
        _ = timeout(READ_MAX, reading).await;
    }

    fn may_ask(&self) -> bool {
        let mut held = self.held.lock();
        let may = held.asked_at.is_none_or(|asked| asked.elapsed() >= PAUSE);
        if may {
            held.asked_at = Some(Instant::now());
        }
        may
    }

    async fn read(&self) {
        let read = match &self.place {
            Place::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
                read.map_err(|error| error.to_string())
                    .and_then(|read| read.map_err(|error| error.to_string()))
            }
            Place::Url(at) => at.client.get(&at.url, SET_BYTES_MAX).await,
        };
        match read.and_then(|bytes| keys_of(&bytes)) {
            Ok(keys) => {
                let mut held = self.held.lock();
                (held.keys, held.read_at) = (Some(keys), Some(Instant::now()));
            }
            Err(error) => {
                let place = match &self.place {
                    Place::File(path) => path.display().to_string(),
                    Place::Url(at) => at.url.host().unwrap_or_default().to_owned(),
                };
                tracing::warn!(%place, %error, "keys_unreadable");
            }
        }
    }
}

/// The keys of a set; those that cannot be used are left out.
fn keys_of(bytes: &[u8]) -> Result<Arc<[Key]>, String> {
    if bytes.len() > SET_BYTES_MAX {
        return Err(format!("a set of keys has at most {SET_BYTES_MAX} bytes"));
    }
    let set: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Some(Value::Array(keys)) = set.get("keys") else {
        return Err("a set of keys is an object with a list \"keys\"".to_owned());
    };
    Ok(keys.iter().take(SET_KEYS_MAX).cloned().filter_map(Key::of_set).collect())
}
