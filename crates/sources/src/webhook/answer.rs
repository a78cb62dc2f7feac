//! From a request to its answer, or to none.
//!
//! The cloud takes any answer within 5 s for a confirm, whatever its status. So a request on a
//! known path is answered 200 or not at all until it has given up.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use thiserror::Error;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::body::BodyError;
use super::caller::{Caller, Waiting};
use super::endpoint::{Endpoint, Received, Verdict};
use super::socket::Socket;

/// After this the cloud has given up (5 s, and half a second for the way).
pub(super) const GIVEN_UP: Duration = Duration::from_millis(5500);

pub(super) type Answer = Response<Full<Bytes>>;

/// The connection is closed without an answer.
#[derive(Debug, Error)]
#[error("closed without an answer")]
pub(super) struct Unanswered;

/// Answers a request on a path that is not an application's.
pub(super) fn unknown_path() -> Answer {
    refusal(StatusCode::NOT_FOUND, "unknown path")
}

/// Answers a balancer's probe.
pub(super) fn healthy() -> Answer {
    json(StatusCode::OK, "{\"status\":\"ok\"}".into())
}

/// Answers a callback. Dropping the future leaves its delivery running.
pub(super) async fn callback(
    endpoint: &Arc<Endpoint>,
    request: Request<Incoming>,
    since: Instant,
    socket: &Socket,
) -> Result<Answer, Unanswered> {
    if request.method() != Method::POST {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "only POST");
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(answer);
    }
    let caller = Arc::new(Caller::new(since, Some(socket.peer())));
    let _waiting = Waiting(&caller);
    let given_up = since + GIVEN_UP;
    let (head, body) = request.into_parts();
    let config = &endpoint.config;
    let read = async {
        tokio::select! {
            // First: a body that lies whole in a buffer is taken, whatever became of its caller.
            biased;
            read = endpoint.budget.read(body, head_bytes(&head.headers)) => read,
            () = socket.broken() => Err(BodyError::Gone),
        }
    };
    let body = match timeout_at(since + config.body_timeout, read).await {
        Ok(Ok(body)) => body,
        Ok(Err(BodyError::TooLarge)) => return Ok(too_large(endpoint)),
        Ok(Err(BodyError::Gone)) => {
            endpoint.intake.metrics().refused("body_cut");
            return Err(Unanswered);
        }
        Ok(Err(BodyError::Cut(error))) => {
            return close(endpoint, "body_cut", &error.to_string(), given_up).await;
        }
        Err(elapsed) => {
            return close(endpoint, "body_timeout", &elapsed.to_string(), given_up).await;
        }
    };
    let query = head.uri.query().map(str::to_owned);
    let (caller_of_delivery, at) = (caller.clone(), SystemTime::now());
    let received = Received {
        body,
        headers: head.headers,
        query,
        caller: caller_of_delivery,
        since,
        at,
    };
    let mut delivery = endpoint.start(received);
    let Ok(ended) = timeout_at(given_up, &mut delivery).await else {
        return Ok(too_late(&caller));
    };
    match ended.map(|ending| (ending.verdict, ending.held)) {
        Ok((Verdict::Accepted { id }, _held)) => {
            if caller.answered() {
                endpoint.confirmed(&id);
            }
            Ok(json(StatusCode::OK, format!("{{\"id\":\"{id}\"}}").into()))
        }
        Ok((Verdict::Unverified(error), _held)) => {
            endpoint.intake.metrics().refused(error.reason());
            Ok(refusal(StatusCode::UNAUTHORIZED, &error.to_string()))
        }
        Ok((Verdict::Withheld, _)) | Err(_) => {
            sleep_until(given_up).await;
            Ok(too_late(&caller))
        }
    }
}

fn head_bytes(headers: &HeaderMap) -> u64 {
    let bytes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    bytes.sum::<usize>() as u64
}

/// The cloud does not listen any more, and has sent or will send a copy.
fn too_late(caller: &Caller) -> Answer {
    caller.left();
    refusal(StatusCode::SERVICE_UNAVAILABLE, "not acknowledged in time")
}

/// The one loss by size.
fn too_large(endpoint: &Endpoint) -> Answer {
    let (source, cap) = (&**endpoint.intake.source(), endpoint.config.max_body_bytes);
    if let Some(held_back) = endpoint.logs.too_large.allows() {
        tracing::error!(
            source,
            cap,
            held_back,
            "a notification over `max_body_bytes` was refused and is lost; raise the cap"
        );
    }
    endpoint.intake.metrics().refused("too_large");
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is over the cap")
}

/// Closes the connection, but not before the cloud has given up: a closed one may be a confirm.
async fn close(
    endpoint: &Endpoint,
    reason: &'static str,
    error: &str,
    given_up: Instant,
) -> Result<Answer, Unanswered> {
    endpoint.intake.metrics().refused(reason);
    if let Some(held_back) = endpoint.logs.not_whole.allows() {
        let source = &**endpoint.intake.source();
        tracing::warn!(
            source,
            reason,
            error,
            held_back,
            "a body did not come whole"
        );
    }
    sleep_until(given_up).await;
    Err(Unanswered)
}

fn refusal(status: StatusCode, why: &str) -> Answer {
    let mut body = b"{\"error\":".to_vec();
    vodbridge_core::cloudevents::write_string(&mut body, why);
    body.push(b'}');
    json(status, body.into())
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
