//! Signed calls of the cloud's API.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use vodbridge_vod::api::{Action, ErrorClass, SERVICE, VERSION, api_error};
use vodbridge_vod::signature::tc3;

use super::http::Http;
use super::{CallError, Credentials, CredentialsError, HttpError, Key, Limiter};

const JSON: &str = "application/json";
/// What is taken of an answer at most. The vendor names no limit for 16 events.
const LARGEST_ANSWER: usize = 32 << 20;
/// A longer answer to a pull is no error, and is looked at by who asked.
const LARGEST_ERROR: usize = 16 << 10;

/// The API of one endpoint, called with one account's credentials.
#[derive(Debug)]
pub struct CloudClient {
    http: Http,
    uri: Uri,
    host: String,
    region: Option<HeaderValue>,
    credentials: Arc<Credentials>,
    limiter: Arc<Limiter>,
}

/// The right to make one call now.
#[derive(Debug)]
pub struct Turn {
    action: Action,
    key: Arc<Key>,
}

/// The endpoint is none that can be called.
#[derive(Debug, Error)]
#[error("{endpoint} {problem}: write https://HOST or http://HOST:PORT")]
pub struct InvalidEndpoint {
    endpoint: String,
    /// What is wrong, for a message that names the endpoint itself.
    pub problem: &'static str,
}

/// An answer.
#[derive(Debug)]
pub struct Called {
    /// Its body.
    pub body: Bytes,
    /// When the request was sent.
    pub sent: Instant,
}

/// Checks that a text is `https://HOST` or `http://HOST:PORT`.
///
/// # Errors
/// It is not.
pub fn check_endpoint(text: &str) -> Result<(), InvalidEndpoint> {
    parse(text).map(|_| ())
}

/// The URL of every call, and the host that it is signed for.
fn parse(endpoint: &str) -> Result<(Uri, String), InvalidEndpoint> {
    let invalid = |problem| InvalidEndpoint {
        endpoint: endpoint.to_owned(),
        problem,
    };
    let uri = endpoint.parse::<Uri>().ok();
    let authority = uri.as_ref().and_then(Uri::authority).cloned();
    let (Some(uri), Some(authority)) = (uri, authority) else {
        return Err(invalid("is no endpoint"));
    };
    let has_scheme = matches!(uri.scheme_str(), Some("http" | "https"));
    let is_plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let host = authority.as_str().to_owned();
    if !has_scheme || !is_plain || host.contains('@') {
        return Err(invalid("is no endpoint"));
    }
    // A URL may hold any number there.
    let without_port = host == authority.host();
    if !without_port && !matches!(authority.port_u16(), Some(1..)) {
        return Err(invalid("has a port that is not from 1 to 65535"));
    }
    Ok((uri, host))
}

impl CloudClient {
    /// A client of `endpoint`: `https://HOST`, or `http://HOST:PORT` for a simulator.
    pub fn new(
        endpoint: &str,
        region: Option<&str>,
        credentials: Arc<Credentials>,
        limiter: Arc<Limiter>,
    ) -> Result<Self, InvalidEndpoint> {
        let (uri, host) = parse(endpoint)?;
        let region = region.map(HeaderValue::from_str).transpose();
        let region = region.map_err(|_| InvalidEndpoint {
            endpoint: endpoint.to_owned(),
            problem: "has a region that is none",
        })?;
        Ok(Self {
            http: Http::new(&uri),
            host,
            region,
            uri,
            credentials,
            limiter,
        })
    }

    /// Whose credentials sign, and where they come from.
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// The proxy that calls go through, `http://HOST:PORT`; None: they go straight.
    pub fn proxy(&self) -> Option<String> {
        self.http.proxy()
    }

    /// Calls `action` with a JSON `body`; waits before that for the account's limit.
    ///
    /// # Errors
    ///
    /// As [`call_in`](Self::call_in).
    pub async fn call(
        &self,
        action: Action,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Called, CallError> {
        let turn = timeout_at(deadline, self.turn(action)).await;
        let turn = turn.unwrap_or(Err(CallError::TimedOut))?;
        self.call_in(turn, body, deadline).await
    }

    /// Waits until the account's limit allows a call of `action`, and there is a key to sign it.
    /// First come, first served; who stops waiting keeps nobody from calling.
    ///
    /// # Errors
    ///
    /// [`CallError::Credentials`].
    pub async fn turn(&self, action: Action) -> Result<Turn, CallError> {
        self.limiter.turn(action).await;
        let key = self.credentials.current().await?;
        Ok(Turn { action, key })
    }

    /// Makes the call whose turn it is, with a JSON `body`. None is sent after `deadline`, not by
    /// a process that was suspended either.
    ///
    /// # Errors
    ///
    /// [`CallError`], [`CallError::TimedOut`] at the deadline; the cloud may have done what it
    /// was asked for all the same.
    pub async fn call_in(
        &self,
        turn: Turn,
        body: Vec<u8>,
        deadline: Instant,
    ) -> Result<Called, CallError> {
        if Instant::now() >= deadline {
            return Err(CallError::TimedOut);
        }
        timeout_at(deadline, self.call_now(turn, body.into()))
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }

    async fn call_now(&self, turn: Turn, body: Bytes) -> Result<Called, CallError> {
        let Turn { action, key } = turn;
        let timestamp = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = timestamp.unwrap_or_default().as_secs();
        let signed = tc3::Request {
            service: SERVICE,
            host: &self.host,
            content_type: JSON,
            body: &body,
            timestamp,
        };
        let authorization = signed.authorization(&key.id, &key.key);
        let mut request = Request::post(&self.uri)
            .header(HOST, &*self.host)
            .header(CONTENT_TYPE, JSON)
            .header(AUTHORIZATION, hidden(&authorization)?)
            .header("X-TC-Action", action.name())
            .header("X-TC-Version", VERSION)
            .header("X-TC-Timestamp", timestamp);
        if let Some(token) = &key.token {
            request = request.header("X-TC-Token", hidden(token.expose())?);
        }
        if let Some(region) = &self.region {
            request = request.header("X-TC-Region", region);
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| HttpError::Transport(error.into()))?;
        let sent = Instant::now();
        let (status, body) = self.http.send(request, LARGEST_ANSWER).await?;
        if status != StatusCode::OK {
            return Err(CallError::Status(status.as_u16()));
        }
        let are_events = action == Action::PullEvents && body.len() > LARGEST_ERROR;
        if !are_events && let Some(error) = api_error(&body)? {
            match error.class(action) {
                ErrorClass::Throttled => self.limiter.throttled(action),
                ErrorClass::Reauthenticate => self.credentials.invalidate(&key),
                _ => {}
            }
            return Err(error.into());
        }
        Ok(Called { body, sent })
    }
}

/// A header that no log of the client library shows.
fn hidden(value: &str) -> Result<HeaderValue, CredentialsError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| CredentialsError::unsendable())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
