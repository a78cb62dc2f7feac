//! What is kept of a request that cannot become an event.

use bytes::Bytes;
use hyper::HeaderMap;
use vodbridge_core::Content;
use vodbridge_vod::{Notification, raw_id};

/// A header whose name has one of these in it could hold a secret.
const SECRET: [&str; 8] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "key",
    "sign",
    "password",
    "credential",
];

/// An id and the body with its headers, without secrets: Sign and T never travel on, and copies
/// that differ in nothing else have the same id.
pub(super) fn kept(body: &Bytes, headers: &HeaderMap) -> (String, Content) {
    let is_secret = |name: &str| SECRET.iter().any(|word| name.contains(word));
    let headers = headers.iter().filter(|(name, _)| !is_secret(name.as_str()));
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let body = kept_body(body);
    let id = raw_id(&body);
    let content = Content::Raw {
        body,
        headers: headers
            .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
            .collect(),
    };
    (id, content)
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
            "x-vod-sign",
            "proxy-authorization",
            "x-auth-token",
        ] {
            headers.insert(name, HeaderValue::from_static("hunter2"));
        }
        headers.insert("host", HeaderValue::from_static("example"));
        let (_, Content::Raw { headers, .. }) = kept(&Bytes::new(), &headers) else {
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
