//! Connections to Redis: where it is, how to get there, and which errors mean that it is away.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError,
    ServerErrorKind,
};

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
pub struct Connector {
    address: Address,
    timeouts: Timeouts,
}

enum Address {
    /// `redis://`, `rediss://`, `unix://`, `redis+unix://`
    Server(redis::ConnectionInfo),
    /// `redis+sentinel://[user:password@]host:port,host:port/master-name[/database]`
    Sentinel(SentinelUrl),
}

impl Connector {
    /// Reads the URL.
    ///
    /// # Errors
    /// [`LogError::Refused`] says what is wrong with it.
    pub fn new(url: &str, timeouts: Timeouts) -> Result<Self, LogError> {
        // rustls wants to be told which implementation of cryptography to use; an error means that
        // the program has chosen one already.
        _ = rustls::crypto::ring::default_provider().install_default();
        let bad = |error: String| LogError::Refused(format!("bad Redis URL: {error}"));
        let address = match SentinelUrl::parse(url) {
            Some(sentinel) => Address::Sentinel(sentinel.map_err(bad)?),
            None => {
                Address::Server(url.into_connection_info().map_err(|error| bad(error.to_string()))?)
            }
        };
        Ok(Self { address, timeouts })
    }

    /// Opens a connection. `push` gets what Redis says unasked, and that the connection is lost;
    /// with it the connection speaks RESP3.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] where Redis does not answer in time, and as [`log_error`].
    pub async fn connect(
        &self,
        push: Option<impl redis::aio::AsyncPushSender>,
    ) -> Result<MultiplexedConnection, LogError> {
        let protocol = if push.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeouts.connect))
            .set_response_timeout(Some(self.timeouts.response));
        if let Some(push) = push {
            config = config.set_push_sender(push);
        }
        let connecting = async {
            match &self.address {
                Address::Server(info) => {
                    let redis = info.redis_settings().clone().set_protocol(protocol);
                    let tcp = TcpSettings::default().set_nodelay(true);
                    let info = info.clone().set_redis_settings(redis).set_tcp_settings(tcp);
                    Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
                }
                Address::Sentinel(sentinel) => {
                    let mut client = sentinel_client(sentinel, protocol)?;
                    client.get_async_connection_with_config(&config).await
                }
            }
        };
        match tokio::time::timeout(self.timeouts.connect, connecting).await {
            Ok(connected) => connected.map_err(|error| log_error(&error)),
            Err(_) => Err(LogError::Unavailable(format!(
                "no connection within {} ms",
                self.timeouts.connect.as_millis()
            ))),
        }
    }
}

impl Connector {
    /// Which server the Sentinels say is the master now; none where there are no Sentinels, or they
    /// do not say.
    pub async fn master(&self) -> Option<String> {
        let Address::Sentinel(url) = &self.address else { return None };
        let mut client = sentinel_client(url, ProtocolVersion::RESP2).ok()?;
        let asking = tokio::time::timeout(self.timeouts.connect, client.async_get_client());
        Some(asking.await.ok()?.ok()?.get_connection_info().addr().to_string())
    }
}

/// A client that asks the Sentinels which server is the master now.
fn sentinel_client(
    url: &SentinelUrl,
    protocol: ProtocolVersion,
) -> Result<SentinelClient, RedisError> {
    let mut builder = SentinelClientBuilder::new(
        url.sentinels.iter().cloned(),
        url.master_name.clone(),
        SentinelServerType::Master,
    )?
    .set_client_to_redis_protocol(protocol)
    .set_client_to_redis_db(url.db)
    .set_client_to_redis_tcp_settings(TcpSettings::default().set_nodelay(true));
    if let Some(user) = &url.username {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &url.password {
        builder = builder.set_client_to_redis_password(password);
    }
    builder.build()
}

/// Whether an error says that Redis is away for now, or that it refuses.
pub fn log_error(error: &RedisError) -> LogError {
    let passes = match error.kind() {
        ErrorKind::Server(kind) => matches!(
            kind,
            ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ReadOnly
        ),
        ErrorKind::Extension => {
            matches!(
                error.code(),
                Some("OOM" | "MISCONF" | "BUSY" | "NOREPLICAS" | "READONLY" | "LATE")
            )
        }
        ErrorKind::UnexpectedReturnType | ErrorKind::InvalidClientConfig => false,
        _ => true,
    };
    let text = error.to_string();
    if passes || text.contains("OOM ") || text.contains("MISCONF") {
        LogError::Unavailable(text)
    } else {
        LogError::Refused(text)
    }
}

/// Whether the connection that gave this error must not be used again.
pub fn spoils_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_timeout()
        || error.is_io_error()
        || matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
}
