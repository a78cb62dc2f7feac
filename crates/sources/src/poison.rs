//! What is kept of a request that cannot become an event.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use vodbridge_core::Content;
use vodbridge_vod::{Notification, raw_id};

/// The headers that are kept: none in which a secret, or the query with Sign and T, can be.
const KEPT: [&str; 14] = [
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "host",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];

/// What a request is kept as.
pub(crate) struct Kept {
    /// The same for copies that differ in Sign and T only.
    pub(crate) id: String,
    pub(crate) content: Content,
    /// Bytes of body and headers.
    pub(crate) size: usize,
}

/// Keeps the body and some headers; Sign and T never travel on. `occurrence` is what an event of it
/// would have been told from others by.
pub(crate) fn kept(body: &Bytes, headers: &HeaderMap, occurrence: Option<Arc<str>>) -> Kept {
    let body = kept_body(body);
    let headers = headers
        .iter()
        .filter(|(name, _)| KEPT.contains(&name.as_str()));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect();
    let size = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>();
    Kept {
        id: raw_id(&body),
        size: body.len() + size,
        content: Content::Raw {
            body,
            headers,
            occurrence,
        },
    }
}

fn kept_body(body: &Bytes) -> Bytes {
    match Notification::parse(body) {
        Ok(notification) if notification.has_edge() => notification.without_edge().into(),
        _ => body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn no_header_that_could_hold_a_secret_is_kept() {
        let mut headers = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "x-api-key",
            "x-original-uri",
            "referer",
        ] {
            headers.insert(name, HeaderValue::from_static("hunter2"));
        }
        headers.insert("host", HeaderValue::from_static("example"));
        let Content::Raw { headers, .. } = kept(&Bytes::new(), &headers, None).content else {
            unreachable!()
        };
        assert_eq!(headers, [("host".to_owned(), "example".to_owned())]);
    }

    #[test]
    fn sign_and_t_stay_here_and_everything_else_is_kept_as_it_came() {
        let body = |text: &'static str| kept_body(&Bytes::from_static(text.as_bytes()));
        assert_eq!(
            body(r#"{"a": 1.0, "Sign": "5d41402abc4b2a76b9719d911017c592", "T": 1}"#),
            r#"{"a":1.0}"#
        );
        assert_eq!(body(r#"{"a": 1.0}"#), r#"{"a": 1.0}"#);
        assert_eq!(body("no json"), "no json");
    }
}
