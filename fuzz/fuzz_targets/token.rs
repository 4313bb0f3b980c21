//! Tokens: nothing is granted but by what this harness signed itself, and then exactly what the claims say.
//!
//! The input's first byte says who signs, the second one which character is changed then, if any. The rest is
//! a header, a line's end and claims; of a link what is signed; and of nobody the token itself. In a header and
//! in claims, `$` and a character stand for a time in seconds: `$P` is now, `$Q` a second later.

#![no_main]

mod token {
    pub mod expected;
    pub mod signer;
}

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use taskcast::clock::now_ms;
use taskcast::config::{AccessTable, ApiKey, Config, JwtIssuer, JwtKey, KeyProof, Secret};
use taskcast::core::access::Grants;
use taskcast::fuzzing::Access;
use tokio::runtime::{Builder, Runtime};

use token::expected::{Claims, Expected};
use token::signer::{self, Signer};

const ISSUER: Claims = Claims {
    issuer: Some("https://issuer.example"),
    audience: Some("taskcast"),
    claim: "taskcast",
    leeway_ms: 30_000,
};
const BY_PUBLIC_KEY: Claims = Claims { issuer: None, audience: None, claim: "may", leeway_ms: 0 };

/// What somebody without a token may,
const ANONYMOUS: &str = "open-*";
/// and an API key, with what it grants.
const API_KEY: &str = "key-of-the-fuzz-target";
const OF_API_KEY: &str = "jobs:q:*";

static HARNESS: LazyLock<(Runtime, Access)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let issuer = |key, claims: Claims| JwtIssuer {
        key,
        issuer: claims.issuer.map(str::to_owned),
        audience: claims.audience.map(str::to_owned),
        claim: claims.claim.to_owned(),
        leeway_s: claims.leeway_ms / 1000,
    };
    let grants = |text: &str| {
        let mut grants = Grants::default();
        grants.add_text(text).unwrap();
        grants
    };
    let sha256 = ring::digest::digest(&ring::digest::SHA256, API_KEY.as_bytes());
    let mut access = AccessTable::default();
    access.anonymous = Some(grants(&format!("watch:{ANONYMOUS}")));
    access.secret = Some(Secret(signer::LINKS.to_vec()));
    access.jwt = vec![
        issuer(JwtKey::Secret(Secret(signer::SECRET.to_vec())), ISSUER),
        issuer(JwtKey::Pem(signer::PUBLIC_KEY.to_vec()), BY_PUBLIC_KEY),
    ];
    access.keys = vec![ApiKey {
        name: "worker".to_owned(),
        proof: KeyProof::Sha256(sha256.as_ref().try_into().unwrap()),
        grants: grants(&format!("publish:{OF_API_KEY}")),
    }];
    let config = Config { access, ..Config::default() };
    let access = runtime.block_on(Access::new(&config)).unwrap();
    (runtime, access)
});

/// The longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// With times instead of `$` and a character.
fn with_times(text: &[u8], now_s: u64) -> Vec<u8> {
    let mut filled = Vec::new();
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.as_slice()) {
            (b'$', [later, ..]) => {
                let time_s = now_s + u64::from(*later) - u64::from(b'P');
                filled.extend_from_slice(time_s.to_string().as_bytes());
                bytes.next();
            }
            _ => filled.push(*byte),
        }
    }
    filled
}

/// The token with another one of its characters.
fn changed(token: &str, at: usize) -> String {
    let other = |character: char| if character == 'A' { 'B' } else { 'A' };
    let at = at % token.len();
    token.chars().enumerate().map(|(n, it)| if n == at { other(it) } else { it }).collect()
}

/// What a token has to grant; none: nothing.
fn expected(signer: Signer, header: &[u8], claims: &[u8], now_ms: u64) -> Option<Expected> {
    match signer {
        Signer::Nobody if claims == API_KEY.as_bytes() => Expected::of_key("worker", OF_API_KEY),
        Signer::Hs256 => ISSUER.grant("HS256", header, claims, now_ms),
        Signer::Hs384 => ISSUER.grant("HS384", header, claims, now_ms),
        Signer::Hs512 => ISSUER.grant("HS512", header, claims, now_ms),
        Signer::Es256 => BY_PUBLIC_KEY.grant("ES256", header, claims, now_ms),
        Signer::Link => Expected::of_link(claims, now_ms),
        _ => None,
    }
}

fuzz_target!(|input: &[u8]| {
    let [signer, change, rest @ ..] = input else { return };
    let signer = Signer::of(*signer);
    let has_header = !matches!(signer, Signer::Nobody | Signer::Link | Signer::StrangersLink);
    let end = rest.iter().position(|byte| *byte == b'\n').filter(|_| has_header);
    let (header, claims) = match end {
        Some(end) => {
            let now_s = now_ms() / 1000;
            (with_times(&rest[..end], now_s), with_times(&rest[end + 1..], now_s))
        }
        None => (Vec::new(), rest.to_vec()),
    };
    let mut token = signer.token(&header, &claims);
    let is_changed = signer != Signer::Nobody && *change > 0;
    if is_changed {
        token = changed(&token, usize::from(*change) * 7);
    }
    let expected = |now_ms| {
        let counts = !is_changed && token.len() <= TOKEN_BYTES_MAX;
        counts.then(|| expected(signer, &header, &claims, now_ms))?
    };
    let before = expected(now_ms());
    let (runtime, access) = &*HARNESS;
    let admitted = runtime.block_on(access.admit_token(&token));
    let after = expected(now_ms());
    match (admitted, before) {
        (Ok(pass), Some(expected)) => expected.check(&pass, ANONYMOUS),
        (Err(_), None) => {}
        // It ended, or began, between the two.
        (_, before) if before.is_some() != after.is_some() => {}
        (admitted, before) => panic!("{token}: {admitted:?} instead of {before:?}"),
    }
});
