//! An envelope as a JetStream message.
//!
//! CloudEvents' NATS binding:
//! <https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md>,
//! what the server reads: <https://docs.nats.io/nats-concepts/jetstream/headers>

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::jetstream::message::PublishMessage;
use vodbridge_core::Envelope;
use vodbridge_core::cloudevents::{DATA_CONTENT_TYPE, Mode, STRUCTURED_CONTENT_TYPE, header_value};

const CONTENT_TYPE: &str = "Content-Type";

/// The message for `subject`. Every value that is not a constant goes through `header_value`,
/// since a line break in a header makes the client panic.
pub(crate) fn message(
    envelope: &Envelope,
    subject: &str,
    mode: Mode,
    stream: Option<&str>,
) -> PublishMessage {
    let mut headers = HeaderMap::new();
    headers.insert(
        NATS_MESSAGE_ID,
        header_value(&message_id(envelope, subject)).as_ref(),
    );
    if let Some(stream) = stream {
        headers.insert(NATS_EXPECTED_STREAM, header_value(stream).as_ref());
    }
    let payload = match mode {
        Mode::Structured => {
            headers.insert(CONTENT_TYPE, STRUCTURED_CONTENT_TYPE);
            envelope.structured()
        }
        Mode::Binary => {
            headers.insert(CONTENT_TYPE, DATA_CONTENT_TYPE);
            headers.insert("ce-datacontenttype", DATA_CONTENT_TYPE);
            for (name, value) in envelope.attributes() {
                headers.insert(format!("ce-{name}"), header_value(value).as_ref());
            }
            envelope.data()
        }
    };
    PublishMessage::build().payload(payload).headers(headers)
}

/// What JetStream recognises a copy by. It looks at the whole stream and acks what it did not
/// store, so the subject belongs to it: the same event on two subjects is two messages. A dead
/// letter is another message than the event it came from, and than an earlier dead letter of the
/// same event: the source and time of its record tell them apart. A replay has a mark of its own.
fn message_id(envelope: &Envelope, subject: &str) -> String {
    let mut id = format!("{}/{subject}", envelope.id());
    if envelope.topic().is_some() {
        let source = envelope.attributes().find(|(name, _)| *name == "source");
        for mark in [source.map_or("", |(_, value)| value), envelope.time()] {
            id.push('/');
            id.push_str(mark);
        }
    }
    if let Some(mark) = envelope.mark() {
        id.push('/');
        id.push_str(mark);
    }
    id
}

#[cfg(test)]
mod tests {
    use vodbridge_core::Event;

    use super::*;

    fn envelope(subject: &str, time: &str) -> Envelope {
        let event = Event {
            id: "abc".into(),
            source: "https://example.com/1".into(),
            ty: "com.example.FileDeleted".into(),
            subject: Some(subject.into()),
            time: time.into(),
            partition_key: None,
            extensions: vec![("vodoutcome".into(), "succeeded".into())],
            labels: Vec::new(),
        };
        event.encode(|out| out.extend_from_slice(br#"{"a":1}"#))
    }

    fn headers(message: PublishMessage) -> (String, Vec<(String, String)>) {
        let message = message.outbound_message("vod.x");
        let mut headers: Vec<_> = message
            .headers
            .unwrap()
            .iter()
            .map(|(name, values)| (name.to_string(), values[0].to_string()))
            .collect();
        headers.sort();
        (
            String::from_utf8(message.payload.to_vec()).unwrap(),
            headers,
        )
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected
            .iter()
            .map(|(n, v)| ((*n).into(), (*v).into()))
            .collect()
    }

    #[test]
    fn structured_mode_has_the_event_in_the_payload() {
        let envelope = envelope("file", "2026-01-01T00:00:00Z");
        let message = message(&envelope, "vod.x", Mode::Structured, Some("VOD"));
        let (payload, headers) = headers(message);
        assert_eq!(payload.as_bytes(), envelope.structured());
        assert_eq!(
            headers,
            pairs(&[
                (
                    "Content-Type",
                    "application/cloudevents+json; charset=UTF-8"
                ),
                ("Nats-Expected-Stream", "VOD"),
                ("Nats-Msg-Id", "abc/vod.x"),
            ])
        );
    }

    #[test]
    fn binary_mode_has_the_attributes_in_headers_and_no_line_break_in_any() {
        let envelope = envelope("a b\r\n\"汉\"", "2026-01-01T00:00:00Z");
        let (payload, headers) = headers(message(&envelope, "vod.x", Mode::Binary, None));
        assert_eq!(payload, r#"{"a":1}"#);
        assert_eq!(
            headers,
            pairs(&[
                ("Content-Type", "application/json"),
                ("Nats-Msg-Id", "abc/vod.x"),
                ("ce-datacontenttype", "application/json"),
                ("ce-id", "abc"),
                ("ce-source", "https://example.com/1"),
                ("ce-specversion", "1.0"),
                ("ce-subject", "a%20b%0D%0A%22%E6%B1%89%22"),
                ("ce-time", "2026-01-01T00:00:00Z"),
                ("ce-type", "com.example.FileDeleted"),
                ("ce-vodoutcome", "succeeded"),
            ])
        );
    }

    #[test]
    fn what_is_another_message_has_another_id() {
        let early = envelope("file", "2026-01-01T00:00:00Z");
        let late = envelope("file", "2026-01-01T00:00:01Z");
        let dead = |envelope: &Envelope| {
            message_id(
                &envelope.with_topic("vod.dead_letter".into()),
                "vod.dead_letter",
            )
        };
        assert_eq!(message_id(&early, "vod.x"), message_id(&late, "vod.x"));
        assert_ne!(message_id(&early, "vod.x"), message_id(&early, "vod.y"));
        assert_ne!(message_id(&early, "vod.dead_letter"), dead(&early));
        assert_ne!(dead(&late), dead(&early));
        assert_eq!(dead(&early), dead(&early.clone()));
        let replay = |mark: &str| message_id(&early.with_mark(mark.into()), "vod.x");
        assert_ne!(replay("replay"), message_id(&early, "vod.x"));
        assert_ne!(replay("replay"), replay("replay/2"));
        assert_eq!(replay("replay"), replay("replay"));
    }
}
