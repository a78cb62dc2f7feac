//! A message as the event in it, the counterpart of [`message`](mod@crate::message).

use async_nats::HeaderMap;
use bytes::Bytes;
use vodbridge_core::cloudevents::header_text;
use vodbridge_core::{Envelope, Foreign};

/// The event in a message: names of headers in any case, since HTTP's are so.
pub(crate) fn event(headers: Option<&HeaderMap>, payload: Bytes) -> Result<Envelope, Foreign> {
    let headers = || headers.into_iter().flat_map(HeaderMap::iter);
    let first = |(name, values): (&_, &Vec<async_nats::HeaderValue>)| {
        let name: &async_nats::HeaderName = name;
        let value = values.first().map(ToString::to_string).unwrap_or_default();
        (name.to_string().to_ascii_lowercase(), value)
    };
    let mut content_type = headers()
        .map(first)
        .filter(|(name, _)| name == "content-type");
    let content_type = content_type.next().map(|(_, value)| value);
    let attributes = || {
        let named = headers().map(first).filter_map(|(name, value)| {
            let name = name.strip_prefix("ce-")?.to_owned();
            Some((name, value))
        });
        let decoded = named.map(|(name, value)| match header_text(&value) {
            Some(text) => Ok((name, text.into_owned())),
            None => Err(format!("the header of {name} is no UTF-8 text")),
        });
        decoded.collect()
    };
    Envelope::from_message(content_type.as_deref(), attributes, payload)
}

#[cfg(test)]
mod tests {
    use vodbridge_core::Event;
    use vodbridge_core::cloudevents::Mode;

    use super::*;
    use crate::message::message;

    #[test]
    fn both_modes_are_read_as_what_was_published() {
        let event = Event {
            id: "abc".into(),
            source: "https://example.com/1".into(),
            ty: "com.example.FileDeleted".into(),
            subject: Some("a b\r\n\"汉\" 100%25".into()),
            time: "2026-01-01T00:00:00Z".into(),
            partition_key: None,
            extensions: vec![("vodoutcome".into(), "succeeded".into())],
            labels: Vec::new(),
        };
        let envelope = event.encode(|out| out.extend_from_slice(br#"{"n":1e400}"#));
        for mode in [Mode::Structured, Mode::Binary] {
            let message = message(&envelope, "vod.x", mode, None).outbound_message("vod.x");
            let read = super::event(message.headers.as_ref(), message.payload).unwrap();
            assert_eq!(read.structured(), envelope.structured(), "{mode:?}");
        }
    }

    #[test]
    fn what_is_no_event_is_foreign() {
        let foreign = event(None, Bytes::from_static(b"hello")).unwrap_err();
        assert_eq!(foreign.body, "hello");
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/json");
        headers.insert("CE-id", "%ff");
        let foreign = event(Some(&headers), Bytes::from_static(b"{}")).unwrap_err();
        assert!(foreign.reason.contains("header of id"), "{foreign}");
    }
}
