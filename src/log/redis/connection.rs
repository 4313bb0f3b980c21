//! Connections to Redis: where it is, and how to get there.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisError, TlsCertificates};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::error::Failure;
use super::stream::dial;
use super::wire::{Bounds, Wire};
use crate::config::redis_url::SentinelUrl;
use crate::log::LogError;

/// How long things may take that Redis is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To connect, in all.
    pub connect: Duration,
    /// For one reply.
    pub response: Duration,
}

/// Makes connections to the Redis of one URL.
pub(in crate::log) struct Connector {
    address: Address,
    /// Who vouches for its certificate, where that is not the system.
    roots: Option<Arc<RootCertStore>>,
    timeouts: Timeouts,
}

enum Address {
    /// `redis://`, `rediss://`, `unix://`, `redis+unix://`
    Server(redis::ConnectionInfo),
    /// `redis+sentinel://[user:password@]host:port,host:port/master-name[/database]`
    Sentinel(SentinelUrl),
}

impl Connector {
    /// Reads the URL, and the file with the authorities that vouch for a Redis behind TLS, where it
    /// has a name.
    ///
    /// # Errors
    /// [`LogError::Refused`] says what is wrong with them.
    pub(super) fn new(url: &str, ca: &str, timeouts: Timeouts) -> Result<Self, LogError> {
        // rustls wants to be told which implementation of cryptography to use; an error means that
        // the program has chosen one already.
        _ = rustls::crypto::ring::default_provider().install_default();
        let bad = |error: String| LogError::Refused(format!("bad Redis URL: {error}"));
        let address = match SentinelUrl::parse(url) {
            Some(sentinel) => Address::Sentinel(sentinel.map_err(bad)?),
            // Without the rest of the error: it may repeat the URL, which may hold a password.
            None => Address::Server(
                url.into_connection_info().map_err(|error| bad(error.category().to_owned()))?,
            ),
        };
        let mut connector = Self { address, roots: None, timeouts };
        if !ca.is_empty() {
            let bad = |error| LogError::Refused(format!("redis_ca = {ca:?}: {error}"));
            connector.trust(ca).map_err(bad)?;
        }
        Ok(connector)
    }

    /// From now on, only the authorities in this file are trusted: by both kinds of connections.
    fn trust(&mut self, ca: &str) -> Result<(), String> {
        let pem = std::fs::read(ca).map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
        if roots.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        if let Address::Server(server) = &mut self.address {
            let authorities = TlsCertificates { client_tls: None, root_cert: Some(pem) };
            let client = Client::build_with_tls(server.clone(), authorities);
            *server = client.map_err(|error| error.to_string())?.get_connection_info().clone();
        }
        self.roots = Some(Arc::new(roots));
        Ok(())
    }

    /// Opens a connection of the `redis` crate.
    ///
    /// # Errors
    /// Also where Redis does not answer in time.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Failure> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.connect))
            .set_response_timeout(Some(self.timeouts.response));
        self.in_time(async {
            let server = self.server().await?;
            let tcp = TcpSettings::default().set_nodelay(true);
            let client = Client::open(server.set_tcp_settings(tcp))?;
            Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
        })
        .await
    }

    /// Opens a connection that is read as the bytes come. With `resp3` it speaks that version of
    /// the protocol.
    ///
    /// # Errors
    /// Also where Redis does not answer in time.
    pub(super) async fn wire(&self, resp3: bool, bounds: Bounds) -> Result<Wire, Failure> {
        self.in_time(async {
            let server = self.server().await?;
            let dialled = dial(server.addr(), self.roots.as_ref()).await;
            let dialled = dialled.map_err(|error| Failure::io(&error))?;
            let settings = server.redis_settings();
            Wire::begin(dialled, settings, resp3, bounds, self.timeouts.response).await
        })
        .await
    }

    /// Which server the Sentinels say is the master now; none where there are no Sentinels, or they
    /// do not say.
    pub(super) async fn master(&self) -> Option<String> {
        let Address::Sentinel(_) = &self.address else { return None };
        let asking = tokio::time::timeout(self.timeouts.connect, self.server());
        Some(asking.await.ok()?.ok()?.addr().to_string())
    }

    /// The server to connect to; behind Sentinels it is the one that says it is the master.
    async fn server(&self) -> Result<redis::ConnectionInfo, RedisError> {
        match &self.address {
            Address::Server(info) => Ok(info.clone()),
            Address::Sentinel(url) => {
                let client = sentinel_client(url)?.async_get_client().await?;
                Ok(client.get_connection_info().clone())
            }
        }
    }

    /// What connecting comes to, if it does within its time.
    async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let connected = tokio::time::timeout(self.timeouts.connect, connecting).await;
        let ms = self.timeouts.connect.as_millis();
        connected.unwrap_or_else(|_| Err(Failure::broken(&format!("no connection within {ms} ms"))))
    }
}

/// A client that asks the Sentinels which server is the master now.
fn sentinel_client(url: &SentinelUrl) -> Result<SentinelClient, RedisError> {
    let mut builder = SentinelClientBuilder::new(
        url.sentinels.iter().cloned(),
        url.master_name.clone(),
        SentinelServerType::Master,
    )?
    .set_client_to_redis_db(url.db);
    if let Some(user) = &url.username {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &url.password {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build()
}
