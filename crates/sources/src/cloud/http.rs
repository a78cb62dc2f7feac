//! The HTTP client behind every call: pooled, over TLS where the URL says so.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
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

/// A pooled client; clones share the pool.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

/// An answer did not come, or not whole.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection failed.
    #[error("the connection failed")]
    Transport(#[source] BoxError),
    /// The answer is too large.
    #[error("the answer is larger than {most} bytes")]
    TooLarge {
        /// What is taken at most.
        most: usize,
    },
}

impl Http {
    /// A client that trusts the system's certificates.
    pub(crate) fn new() -> Self {
        let mut roots = RootCertStore::empty();
        // None, or some that cannot be read: the handshake says so, to an endpoint that needs them.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the protocol versions that rustls deems safe")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self(
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .build(connector),
        )
    }

    /// Sends a request and reads the whole answer, of at most `most` bytes.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        most: usize,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let answer = self.0.request(request).await;
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
