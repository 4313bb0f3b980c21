//! A client for the few addresses that access asks: over TLS with the authorities of the system, without
//! redirects, and with a bound on what is answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use crate::authorities;

/// A connection that was not used for so long is closed: just before servers close theirs, which mostly is after
/// five seconds.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Client(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Client {
    /// One that keeps no connection: what asks is not always the same thread.
    ///
    /// # Errors
    /// What the operating system says where there are no authorities.
    pub(super) fn new() -> io::Result<Self> {
        Self::keeping(0, authorities::of_the_system()?)
    }

    /// One that asks an address again and again, always on the same thread, and keeps so many connections to it.
    ///
    /// # Errors
    /// What the operating system says where there are no authorities, and some are needed.
    pub(super) fn to(url: &Uri, connections: usize) -> io::Result<Self> {
        let is_plain = url.scheme_str() == Some("http");
        let roots =
            if is_plain { Arc::new(RootCertStore::empty()) } else { authorities::of_the_system()? };
        Self::keeping(connections, roots)
    }

    fn keeping(connections: usize, roots: Arc<RootCertStore>) -> io::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let mut client = legacy::Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new());
        client.pool_idle_timeout(IDLE_MAX).pool_max_idle_per_host(connections);
        Ok(Self(client.build(connector)))
    }

    /// What is at an address, if it is not more than this.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) async fn get(&self, url: &Uri, bytes_max: usize) -> Result<Vec<u8>, String> {
        let request = Request::get(url.clone()).body(Full::default());
        let request = request.map_err(|error| error.to_string())?;
        let (status, body) = self.ask(request, bytes_max).await?;
        if status == StatusCode::OK { body } else { Err(format!("it answers {status}")) }
    }

    /// What is answered to a POST of JSON, and its body, if that is not more than this. Asked once more where
    /// the connection broke: it may have been one that was kept for too long.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(super) async fn post(
        &self,
        url: &Uri,
        authorization: Option<&HeaderValue>,
        json: Bytes,
        bytes_max: usize,
    ) -> Result<(StatusCode, Result<Vec<u8>, String>), String> {
        let request = || {
            let mut request = Request::post(url.clone());
            request = request.header(CONTENT_TYPE, "application/json");
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
            request.body(Full::new(json.clone())).map_err(|error| error.to_string())
        };
        match self.ask(request()?, bytes_max).await {
            Ok(answer) => Ok(answer),
            Err(_) => self.ask(request()?, bytes_max).await,
        }
    }

    async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<(StatusCode, Result<Vec<u8>, String>), String> {
        let answer = self.0.request(request).await.map_err(|error| in_full(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), bytes_max).collect().await;
        let body = body.map(|body| body.to_bytes().to_vec()).map_err(|error| error.to_string());
        Ok((status, body))
    }
}

/// An error with what caused it.
fn in_full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", in_full(source)),
        None => error.to_string(),
    }
}
