//! Posts notifications as the cloud does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use vodbridge_core::{BoxError, Secret};

use crate::rule::{Posting, Rule};
use crate::sign::{SignPlace, add_to_body, sign};

/// T is so far ahead, as the vendor's description of `SignKey` says.
const SIGN_LIFETIME: Duration = Duration::from_secs(600);

/// Idle connections go before a receiver that keeps them for 75 s would close them.
const IDLE: Duration = Duration::from_secs(60);

/// Bytes of an answer's body that are kept.
const KEPT_OF_ANSWER: usize = 1024;

/// Longer URLs are refused, so that a query fits behind any.
const URL_LIMIT: usize = 8 * 1024;

/// Posts notifications to one callback URL under the cloud's [`Rule`]. Connections are kept
/// and shared; a clone shares them too. An attempt that timed out closes its connection.
#[derive(Debug, Clone)]
pub struct CallbackSender {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    rule: Rule,
    sign: Option<(Secret, SignPlace)>,
}

/// The callback URL is none that can be posted to.
#[derive(Debug, thiserror::Error)]
#[error("{url} is no callback URL: it has to be like http://host:8080/vod/callback")]
pub struct InvalidUrl {
    url: String,
}

impl CallbackSender {
    /// A sender for an `http` URL, without a signature.
    pub fn new(url: &str) -> Result<Self, InvalidUrl> {
        let uri = Some(url).filter(|url| url.len() <= URL_LIMIT);
        let uri = uri
            .and_then(|url| url.parse::<Uri>().ok())
            .filter(|uri| uri.scheme_str() == Some("http") && uri.host().is_some())
            .ok_or_else(|| InvalidUrl {
                url: url.to_owned(),
            })?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            client,
            uri,
            rule: Rule::default(),
            sign: None,
        })
    }

    /// Sends under another rule than the cloud's.
    pub fn with_rule(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// Adds Sign and T, made with the key once per notification, so that its attempts are equal.
    pub fn with_sign_key(self, key: Secret, place: SignPlace) -> Self {
        Self {
            sign: Some((key, place)),
            ..self
        }
    }

    /// Posts a notification until it is answered or, for the cloud, lost.
    pub async fn send(&self, body: Bytes) -> Posting {
        let (uri, body) = self.signed(body);
        let attempt = || self.post(uri.clone(), body.clone());
        self.rule.apply(attempt).await
    }

    fn signed(&self, body: Bytes) -> (Uri, Bytes) {
        let Some((key, place)) = &self.sign else {
            return (self.uri.clone(), body);
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let expiry = (now.unwrap_or_default() + SIGN_LIFETIME).as_secs();
        let sign = sign(key.expose(), expiry);
        match place {
            SignPlace::Body => (self.uri.clone(), add_to_body(&body, &sign, expiry)),
            SignPlace::Query => (with_query(&self.uri, &sign, expiry), body),
        }
    }

    /// One attempt. Ends with the answer's body, of which the beginning is kept.
    async fn post(&self, uri: Uri, body: Bytes) -> Result<(u16, Bytes), BoxError> {
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let mut answer = self.client.request(request).await?;
        let mut said = BytesMut::new();
        while let Some(frame) = answer.frame().await {
            if let Ok(data) = frame?.into_data() {
                let room = KEPT_OF_ANSWER - said.len();
                said.extend_from_slice(&data[..data.len().min(room)]);
            }
        }
        Ok((answer.status().as_u16(), said.freeze()))
    }
}

fn with_query(uri: &Uri, sign: &str, expiry: u64) -> Uri {
    let separator = if uri.query().is_some() { '&' } else { '?' };
    format!("{uri}{separator}Sign={sign}&T={expiry}")
        .parse()
        .expect("a URL with hex digits and a number appended is a URL")
}

#[cfg(test)]
mod tests;
