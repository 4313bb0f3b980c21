//! Who signs tokens, and how.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

/// What an issuer shares with the server,
pub const SECRET: &[u8] = b"a secret of 32 bytes and no more";
/// what signs links,
pub const LINKS: &[u8] = b"another secret of 32 bytes, or so";
/// and what nobody shares.
const STRANGERS: &[u8] = b"a stranger's secret of 32 bytes.";

pub const PUBLIC_KEY: &[u8] = include_bytes!("../../keys/public.pem");

/// What the signature of a link is of, before what it says.
const FORM: &[u8] = b"taskcast link 1\n";

static KEY_PAIR: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    let key = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("../../keys/key.pem")).unwrap();
    let (algorithm, key) = (&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der());
    EcdsaKeyPair::from_pkcs8(algorithm, key, &SystemRandom::new()).unwrap()
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    Nobody,
    Hs256,
    Hs384,
    Hs512,
    Es256,
    Link,
    Stranger,
    StrangersLink,
    /// Who knows the public key, and takes it for a secret.
    PublicKey,
    /// Who leaves the signature out.
    Unsigned,
    /// What signs links signs the text of one.
    TokenAsLink,
}

const ALL: [Signer; 11] = [
    Signer::Nobody,
    Signer::Hs256,
    Signer::Hs384,
    Signer::Hs512,
    Signer::Es256,
    Signer::Link,
    Signer::Stranger,
    Signer::StrangersLink,
    Signer::PublicKey,
    Signer::Unsigned,
    Signer::TokenAsLink,
];

impl Signer {
    pub fn of(byte: u8) -> Self {
        ALL[usize::from(byte) % ALL.len()]
    }

    /// The token with this header and these claims; of a link only these are in it.
    pub fn token(self, header: &[u8], claims: &[u8]) -> String {
        let [header, content] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let message = match self {
            Self::Nobody => return String::from_utf8_lossy(claims).into_owned(),
            Self::Link | Self::StrangersLink | Self::TokenAsLink => format!("link.{content}"),
            _ => format!("{header}.{content}"),
        };
        let of_link = || [FORM, claims].concat();
        let signature = match self {
            Self::Nobody | Self::Unsigned => Vec::new(),
            Self::Hs256 => sign(hmac::HMAC_SHA256, SECRET, message.as_bytes()),
            Self::Hs384 => sign(hmac::HMAC_SHA384, SECRET, message.as_bytes()),
            Self::Hs512 => sign(hmac::HMAC_SHA512, SECRET, message.as_bytes()),
            Self::Es256 => {
                let signature = KEY_PAIR.sign(&SystemRandom::new(), message.as_bytes());
                signature.unwrap().as_ref().to_vec()
            }
            Self::Link => sign(hmac::HMAC_SHA256, LINKS, &of_link()),
            Self::StrangersLink => sign(hmac::HMAC_SHA256, STRANGERS, &of_link()),
            Self::Stranger => sign(hmac::HMAC_SHA256, STRANGERS, message.as_bytes()),
            Self::PublicKey => sign(hmac::HMAC_SHA256, PUBLIC_KEY, message.as_bytes()),
            Self::TokenAsLink => sign(hmac::HMAC_SHA256, LINKS, message.as_bytes()),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn sign(algorithm: hmac::Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, secret), message).as_ref().to_vec()
}
