//! From a server's URL to an open WebSocket: parsing, TCP, TLS where it is asked for, and the HTTP upgrade.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::error::ClientError;
use super::task::Task;
use super::tls::Tls;
use taskcast_core::since::Since;

/// How much of a refusal's body is read for its explanation.
const REFUSAL_BYTES_MAX: usize = 4096;

/// A server's address, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Server {
    /// What to connect to: host and port.
    address: String,
    /// The path that the protocol's paths follow, for a server behind a proxy; no slash at its end.
    base: String,
    /// What proves who this is; it is not shown.
    authorization: Option<HeaderValue>,
    /// None where the URL asks for none.
    tls: Option<Tls>,
}

impl Server {
    /// The same with a token.
    pub(super) fn with_token(self, token: &str) -> Result<Self, ClientError> {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| ClientError::Token)?;
        value.set_sensitive(true);
        Ok(Self { authorization: Some(value), ..self })
    }

    /// The same, where the authorities in `pem` vouch for the server.
    pub(super) fn with_authorities(self, pem: &[u8]) -> Result<Self, ClientError> {
        let Some(tls) = self.tls else {
            let problem = "they are of use with https:// and wss:// only";
            return Err(ClientError::Authorities(problem.to_owned()));
        };
        Ok(Self { tls: Some(tls.with_authorities(pem)?), ..self })
    }

    pub(super) fn parse(url: &str) -> Result<Self, ClientError> {
        let wrong = |problem| ClientError::Url { url: url.to_owned(), problem };
        let uri: Uri = url.parse().map_err(|_| wrong("it is not a valid URL"))?;
        let (is_tls, usual_port) = match uri.scheme_str() {
            Some("http" | "ws") => (false, 80),
            Some("https" | "wss") => (true, 443),
            _ => return Err(wrong("it has to begin with http://, https://, ws:// or wss://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("the host is missing"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a user or password is not supported"));
        }
        if uri.query().is_some() {
            return Err(wrong("it must not have a query"));
        }
        let host = authority.host();
        let tls = is_tls
            .then(|| Tls::with(host).ok_or_else(|| wrong("no certificate names such a host")));
        Ok(Self {
            address: format!("{host}:{}", authority.port_u16().unwrap_or(usual_port)),
            base: uri.path().trim_end_matches('/').to_owned(),
            authorization: None,
            tls: tls.transpose()?,
        })
    }

    /// Opens a WebSocket for a task. Dropping the future drops all that was begun.
    pub(super) async fn open(
        &self,
        task: &Task,
        since: Option<Since>,
    ) -> Result<TokioIo<Upgraded>, ClientError> {
        let socket = TcpStream::connect(&self.address)
            .await
            .map_err(|source| ClientError::Connect { address: self.address.clone(), source })?;
        // Small frames must not wait for one another. Where it cannot be set, they do.
        let _ = socket.set_nodelay(true);
        let request = self.request(task, since)?;
        match &self.tls {
            None => ask(socket, request).await,
            Some(tls) => ask(tls.connect(socket).await?, request).await,
        }
    }

    fn request(
        &self,
        task: &Task,
        since: Option<Since>,
    ) -> Result<Request<Empty<Bytes>>, ClientError> {
        let query = since.map(|since| format!("?since={since}")).unwrap_or_default();
        let mut request = Request::get(format!("{}/api/v1/ws/{}{query}", self.base, task.path()));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request
            .header(HOST, &self.address)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, fastwebsockets::handshake::generate_key())
            .body(Empty::new())
            .map_err(|error| ClientError::Handshake(error.to_string()))
    }
}

/// Asks over a connection for a WebSocket.
async fn ask<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<TokioIo<Upgraded>, ClientError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(handshake)?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(handshake)?;
        upgrade(response).await
    };
    // The connection moves the bytes of the exchange; what fails in it fails there too.
    let (upgraded, _) = tokio::join!(exchange, connection.with_upgrades());
    upgraded.map(TokioIo::new)
}

async fn upgrade(response: Response<Incoming>) -> Result<Upgraded, ClientError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(response).await);
    }
    let websocket = response
        .headers()
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !websocket {
        return Err(ClientError::Handshake("it switched to another protocol".to_owned()));
    }
    hyper::upgrade::on(response).await.map_err(handshake)
}

/// Reads the reason out of `{"detail": "…"}` (protocol §4), if that is what came.
async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let detail = body
        .ok()
        .and_then(|body| serde_json::from_slice::<serde_json::Value>(&body.to_bytes()).ok())
        .and_then(|body| body.get("detail")?.as_str().map(str::to_owned));
    ClientError::Refused { status, detail: detail.unwrap_or_default() }
}

fn handshake(error: hyper::Error) -> ClientError {
    ClientError::Handshake(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_the_address_and_the_base() {
        for (url, address, base) in [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", ""),
            ("ws://localhost/", "localhost:80", ""),
            ("http://[::1]:8000/tasks//", "[::1]:8000", "/tasks"),
            ("https://tasks.example/", "tasks.example:443", ""),
            ("wss://[::1]/tasks", "[::1]:443", "/tasks"),
            ("https://127.0.0.1:8443", "127.0.0.1:8443", ""),
        ] {
            let server = Server::parse(url).unwrap();
            assert_eq!((server.address.as_str(), server.base.as_str()), (address, base));
        }
        for url in
            ["", "localhost:8000", "/a", "ftp://a", "https://-", "http://u:p@a", "http://a?b"]
        {
            let error = Server::parse(url).unwrap_err();
            assert!(error.is_final(), "{url}");
            assert!(error.to_string().contains("http://127.0.0.1:8000"), "{error}");
        }
    }
}
