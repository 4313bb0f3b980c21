//! A client for the few addresses that access asks: over TLS with the authorities of the system, without
//! redirects, and with a bound on what is answered.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use rustls::crypto::ring;

use crate::authorities;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl Client {
    /// # Errors
    /// What the operating system says where there are no authorities.
    pub(super) fn new() -> io::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(authorities::of_the_system()?)
            .with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1();
        // What asks is not always the same thread: no connection is kept for the next one.
        let mut client = legacy::Client::builder(TokioExecutor::new());
        Ok(Self(client.pool_max_idle_per_host(0).build(connector.build())))
    }

    /// What is at an address, if it is not more than this.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn get(&self, url: &Uri, bytes_max: usize) -> Result<Vec<u8>, String> {
        let request = Request::get(url.clone()).body(Empty::new());
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.0.request(request).await.map_err(|error| in_full(&error))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = body.map_err(|error| error.to_string())?;
        Ok(body.to_bytes().to_vec())
    }
}

/// An error with what caused it.
fn in_full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", in_full(source)),
        None => error.to_string(),
    }
}
