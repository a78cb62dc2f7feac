//! The HTTP client behind every call: pooled, over TLS where the URL says so.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::time::Duration;
use vodbridge_core::BoxError;

/// Idle connections go before what is between here and the cloud forgets them.
const IDLE: Duration = Duration::from_secs(30);

/// For all addresses of a host together: one that is dead leaves time for the next.
const CONNECT: Duration = Duration::from_secs(3);

/// Room that is made at once for an answer that says how long it is: 16 events of 64 KiB.
const EXPECTED: u64 = 1 << 20;

/// A pooled client of one endpoint; clones share the pool.
#[derive(Debug, Clone)]
pub(crate) enum Http {
    Straight(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
    /// Through the tunnel that a proxy makes at a CONNECT; TLS is spoken with the endpoint.
    Tunnelled {
        client: Box<Client<HttpsConnector<Tunnel<HttpConnector>>, Full<Bytes>>>,
        proxy: Uri,
    },
    /// Around a proxy that cannot be spoken with nothing may go.
    Unusable {
        proxy: Uri,
    },
}

/// An answer did not come, or not whole.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection failed.
    #[error("the connection failed")]
    Transport(#[source] BoxError),
    /// The proxy is of another kind.
    #[error("HTTPS_PROXY or ALL_PROXY names {0}, and only http:// is spoken with a proxy")]
    Proxy(Uri),
    /// The answer is too large.
    #[error("the answer is larger than {most} bytes")]
    TooLarge {
        /// What is taken at most.
        most: usize,
    },
}

impl Http {
    /// A client of this endpoint that trusts the system's certificates. To one with HTTPS it goes
    /// through the proxy that the environment names for it, as curl does.
    pub(crate) fn new(endpoint: &Uri) -> Self {
        Self::behind(&Matcher::from_env(), endpoint)
    }

    fn behind(proxies: &Matcher, endpoint: &Uri) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.enforce_http(false);
        // Without TLS there is no tunnel: the endpoint is a simulator, or this machine's metadata.
        let encrypted = endpoint.scheme_str() == Some("https");
        let Some(via) = proxies.intercept(endpoint).filter(|_| encrypted) else {
            return Self::Straight(pool().build(over_tls(tcp)));
        };
        let proxy = via.uri().clone();
        if proxy.scheme_str() != Some("http") {
            return Self::Unusable { proxy };
        }
        let mut tunnel = Tunnel::new(proxy.clone(), tcp);
        if let Some(authorization) = via.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        Self::Tunnelled {
            client: Box::new(pool().build(over_tls(tunnel))),
            proxy,
        }
    }

    /// The proxy between here and the endpoint, without the password for it.
    pub(crate) fn proxy(&self) -> Option<String> {
        match self {
            Self::Straight(_) => None,
            Self::Tunnelled { proxy, .. } | Self::Unusable { proxy } => Some(proxy.to_string()),
        }
    }

    /// Sends a request and reads the whole answer, of at most `most` bytes.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let answer = match self {
            Self::Straight(client) => client.request(request),
            Self::Tunnelled { client, .. } => client.request(request),
            Self::Unusable { proxy } => return Err(HttpError::Proxy(proxy.clone())),
        };
        let answer = answer.await;
        let mut answer = answer.map_err(|error| HttpError::Transport(error.into()))?;
        // What it says of its length is believed up to here.
        let expected = answer.body().size_hint().lower().min(EXPECTED);
        let mut body = BytesMut::with_capacity(expected as usize);
        while let Some(frame) = answer.frame().await {
            let frame = frame.map_err(|error| HttpError::Transport(error.into()))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if body.len() + data.len() > most {
                return Err(HttpError::TooLarge { most });
            }
            body.extend_from_slice(&data);
        }
        Ok((answer.status(), body.freeze()))
    }
}

fn pool() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE);
    builder
}

fn over_tls<C>(connector: C) -> HttpsConnector<C> {
    let mut roots = RootCertStore::empty();
    // None, or some that cannot be read: the handshake says so, to an endpoint that needs them.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the protocol versions that rustls deems safe")
        .with_root_certificates(roots)
        .with_no_client_auth();
    HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use vodbridge_core::chain;

    use super::*;

    const ENDPOINT: &str = "https://vod.tencentcloudapi.com";

    fn behind(proxy: &str, none_for: &str) -> Http {
        let proxies = Matcher::builder().https(proxy).no(none_for).build();
        Http::behind(&proxies, &Uri::from_static(ENDPOINT))
    }

    async fn send(http: &Http) -> HttpError {
        let request = Request::get(ENDPOINT).body(Full::default()).unwrap();
        http.send(request, 1 << 10).await.unwrap_err()
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel_and_may_refuse() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") {
                asked.push(stream.read_u8().await.unwrap());
            }
            let refusal = b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(refusal).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let http = behind(&format!("http://user:hunter2@{address}"), "");
        assert_eq!(http.proxy().unwrap(), format!("http://{address}/"));
        let error = chain(&send(&http).await);
        assert!(error.contains("proxy authorization required"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        let asked = proxy.await.unwrap();
        let target = "CONNECT vod.tencentcloudapi.com:443 HTTP/1.1\r\n";
        assert!(asked.starts_with(target), "{asked}");
        // user:hunter2
        let password = "Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n";
        assert!(asked.contains(password), "{asked}");
    }

    #[tokio::test]
    async fn a_proxy_of_another_kind_is_not_passed_by() {
        for proxy in ["socks5://127.0.0.1:1", "https://127.0.0.1:1"] {
            let error = send(&behind(proxy, "")).await;
            assert!(matches!(error, HttpError::Proxy(_)), "{error:?}");
        }
    }

    #[test]
    fn what_needs_no_proxy_goes_straight() {
        let http = behind("http://127.0.0.1:1", "tencentcloudapi.com");
        assert_eq!(http.proxy(), None);
        let proxies = Matcher::builder().all("http://127.0.0.1:1").build();
        let simulator = Uri::from_static("http://127.0.0.1:9700");
        assert_eq!(Http::behind(&proxies, &simulator).proxy(), None);
    }
}
