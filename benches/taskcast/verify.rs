//! What it costs to verify the signature of a token, by itself: what an arrival with one cannot do without.

use std::hint::black_box;

use criterion::Criterion;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};

/// A token's header and claims, about as long as most.
const MESSAGE: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3OTU3Njg5MDAsInN1YiI6ImFkYSIsInRhc2tjYXN0Ijp7\
                       IndhdGNoIjpbIjAxSktYQUJDREVGR0hKS01OUFFSU1RWV1hZIiwidGVhbS03LSoiXX19";

/// Made for this benchmark alone.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQ8SukLlf9daXIjD4
zbAzX8AqEcu90wFsVEyNfEYBjrmhRANCAARhdti40eYjDxzYHJstdcXHlhoclpY3
q9+e9B660v0b1v2xM9sb4OuhfUufCTJVQZQsPz57mVrreM+q2FkxH+D5
-----END PRIVATE KEY-----
";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYXbYuNHmIw8c2BybLXXFx5YaHJaW
N6vfnvQeutL9G9b9sTPbG+DroX1LnwkyVUGULD8+e5la63jPqthZMR/g+Q==
-----END PUBLIC KEY-----
";

pub(crate) fn bench(criterion: &mut Criterion) {
    let secret = b"a secret of thirty-two bytes, or a few more";
    let of_secret = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
    let of_pair = (
        EncodingKey::from_ec_pem(PRIVATE.as_bytes()).unwrap(),
        DecodingKey::from_ec_pem(PUBLIC.as_bytes()).unwrap(),
    );
    for (name, algorithm, (signs, verifies)) in
        [("HS256", Algorithm::HS256, of_secret), ("ES256", Algorithm::ES256, of_pair)]
    {
        let signature = crypto::sign(MESSAGE.as_bytes(), &signs, algorithm).unwrap();
        criterion.bench_function(&format!("verify: {name}"), |bencher| {
            bencher.iter(|| {
                let message = black_box(MESSAGE.as_bytes());
                assert!(crypto::verify(&signature, message, &verifies, algorithm).unwrap());
            });
        });
    }
}
