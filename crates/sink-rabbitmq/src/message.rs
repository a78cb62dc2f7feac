//! An envelope as an AMQP 0-9-1 message.
//!
//! CloudEvents binds AMQP 1.0; this is that binding carried over to 0-9-1: `cloudEvents:`
//! headers in binary mode, `content_type` in both.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md>

use std::time::UNIX_EPOCH;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use vodbridge_core::Envelope;
use vodbridge_core::cloudevents::{DATA_CONTENT_TYPE, Mode, STRUCTURED_CONTENT_TYPE};

use crate::error::Failure;

/// The header that tells the publishes of a sink apart: an integer, new on every attempt. What
/// a consumer needs is the id.
pub const MARK_HEADER: &str = "vodbridge-publish";

const PERSISTENT: u8 = 2;

/// One publish, ready to be sent.
#[derive(Debug)]
pub(crate) struct Message {
    /// What [`MARK_HEADER`] says.
    pub(crate) mark: i64,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
    /// What the properties need of a frame, at most.
    pub(crate) header_bytes: usize,
}

impl Message {
    pub(crate) fn new(
        envelope: &Envelope,
        mode: Mode,
        routing_key: &str,
        mark: i64,
    ) -> Result<Self, Failure> {
        let routing_key = short(routing_key).ok_or(Failure::RoutingKey(routing_key.len()))?;
        let mut headers = FieldTable::default();
        headers.insert(MARK_HEADER.into(), AMQPValue::LongLongInt(mark));
        // The fixed properties are short strings and numbers.
        let mut header_bytes = 2048;
        let (content_type, body) = match mode {
            Mode::Structured => (STRUCTURED_CONTENT_TYPE, envelope.structured()),
            Mode::Binary => {
                for (name, value) in envelope.attributes() {
                    let name = format!("cloudEvents:{name}");
                    header_bytes += name.len() + value.len() + 8;
                    headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
                }
                (DATA_CONTENT_TYPE, envelope.data())
            }
        };
        let properties = BasicProperties::default()
            .with_content_type(content_type.into())
            .with_delivery_mode(PERSISTENT)
            .with_headers(headers)
            .with_app_id("vodbridge".into());
        Ok(Self {
            mark,
            routing_key,
            properties: about(envelope, properties),
            body,
            header_bytes,
        })
    }
}

/// Adds what AMQP has a property of its own for. One that does not fit it is left out: the
/// event says it too.
fn about(envelope: &Envelope, mut properties: BasicProperties) -> BasicProperties {
    if let Some(id) = short(envelope.id()) {
        properties = properties.with_message_id(id);
    }
    if let Some(ty) = short(envelope.ty()) {
        properties = properties.with_type(ty);
    }
    let time = humantime::parse_rfc3339(envelope.time()).ok();
    if let Some(time) = time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()) {
        properties = properties.with_timestamp(time.as_secs());
    }
    properties
}

/// AMQP holds 255 bytes in most of its texts, and the library panics beyond.
fn short(text: &str) -> Option<ShortString> {
    ShortString::try_new(text).ok()
}

#[cfg(test)]
mod tests {
    use vodbridge_core::Event;

    use super::*;

    const DATA: &str = r#"{"FileId":"528"}"#;

    fn envelope(ty: &str) -> Envelope {
        let event = Event {
            id: "ab12".into(),
            source: "https://vod.tencentcloudapi.com/1500012345".into(),
            ty: ty.to_owned().into(),
            subject: Some("528 号".into()),
            time: "2026-01-02T03:04:05.678Z".into(),
            partition_key: Some("528 号".into()),
            extensions: vec![("vodoutcome".into(), "succeeded".into())],
            labels: Vec::new(),
        };
        event.encode(|out| out.extend_from_slice(DATA.as_bytes()))
    }

    fn header<'a>(message: &'a Message, name: &str) -> Option<&'a AMQPValue> {
        message
            .properties
            .headers()
            .as_ref()
            .unwrap()
            .inner()
            .get(name)
    }

    #[test]
    fn structured_mode_has_the_event_in_the_body() {
        let envelope = envelope("com.tencent.cloud.vod.NewFileUpload");
        let message = Message::new(&envelope, Mode::Structured, "vod.NewFileUpload", 7).unwrap();
        assert_eq!(message.body, envelope.structured());
        let properties = &message.properties;
        let text = |property: &Option<ShortString>| property.as_ref().unwrap().to_string();
        assert_eq!(
            text(properties.content_type()),
            "application/cloudevents+json; charset=UTF-8"
        );
        assert_eq!(text(properties.message_id()), "ab12");
        assert_eq!(
            text(properties.kind()),
            "com.tencent.cloud.vod.NewFileUpload"
        );
        assert_eq!(text(properties.app_id()), "vodbridge");
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(*properties.timestamp(), Some(1_767_323_045));
        assert_eq!(
            header(&message, MARK_HEADER),
            Some(&AMQPValue::LongLongInt(7))
        );
        assert_eq!(properties.headers().as_ref().unwrap().inner().len(), 1);
    }

    #[test]
    fn binary_mode_has_every_attribute_in_a_header() {
        let envelope = envelope("com.tencent.cloud.vod.NewFileUpload");
        let message = Message::new(&envelope, Mode::Binary, "vod.NewFileUpload", 7).unwrap();
        assert_eq!(message.body, DATA);
        let content_type = message.properties.content_type().as_ref().unwrap();
        assert_eq!(content_type.as_str(), "application/json");
        for (name, value) in envelope.attributes() {
            let expected = AMQPValue::LongString(value.into());
            let name = format!("cloudEvents:{name}");
            assert_eq!(header(&message, &name), Some(&expected), "{name}");
        }
        assert_eq!(
            header(&message, "cloudEvents:subject"),
            Some(&AMQPValue::LongString("528 号".into()))
        );
        assert!(message.header_bytes > 2048);
    }

    #[test]
    fn what_amqp_cannot_hold_is_left_out_or_refused() {
        let long = "x".repeat(256);
        let message = Message::new(&envelope(&long), Mode::Binary, "vod.other", 1).unwrap();
        assert!(message.properties.kind().is_none());
        assert_eq!(
            header(&message, "cloudEvents:type"),
            Some(&AMQPValue::LongString(long.as_str().into()))
        );
        let refused = Message::new(&envelope("t"), Mode::Structured, &long, 1);
        assert!(matches!(refused, Err(Failure::RoutingKey(256))));
    }
}
