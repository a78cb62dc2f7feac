//! A delivery as the event in it, the counterpart of [`message`](mod@crate::message).

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, ShortString};
use vodbridge_core::{Envelope, Foreign};

/// How often a quorum queue has handed a message out before; others do not count.
pub(crate) fn times_handed_out(delivery: &Delivery) -> i64 {
    let headers = delivery.properties.headers().as_ref();
    let count = |name| match headers?.inner().get(name)? {
        AMQPValue::LongLongInt(count) => Some(*count),
        AMQPValue::LongInt(count) => Some(i64::from(*count)),
        AMQPValue::LongUInt(count) => Some(i64::from(*count)),
        AMQPValue::ShortInt(count) => Some(i64::from(*count)),
        AMQPValue::ShortUInt(count) => Some(i64::from(*count)),
        AMQPValue::ShortShortInt(count) => Some(i64::from(*count)),
        AMQPValue::ShortShortUInt(count) => Some(i64::from(*count)),
        _ => None,
    };
    let counts = ["x-delivery-count", "x-acquired-count"].map(count);
    counts.into_iter().flatten().max().unwrap_or(0)
}

/// The event in a message, structured or binary.
pub(crate) fn event(properties: &BasicProperties, body: Bytes) -> Result<Envelope, Foreign> {
    let content_type = properties.content_type().as_ref().map(ShortString::as_str);
    let attributes = || {
        let headers = properties.headers().iter().flat_map(|table| table.inner());
        let named = headers
            .filter_map(|(name, value)| Some((name.as_str().strip_prefix("cloudEvents:")?, value)));
        let decoded = named.map(|(name, value)| match text(value) {
            Some(text) => Ok((name.to_owned(), text)),
            None => Err(format!("the header of {name} is no UTF-8 text")),
        });
        decoded.collect()
    };
    Envelope::from_message(content_type, attributes, body)
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(std::str::from_utf8(text.as_bytes()).ok()?.to_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;
    use vodbridge_core::Event;
    use vodbridge_core::cloudevents::Mode;

    use super::*;
    use crate::message;

    #[test]
    fn both_modes_are_read_as_what_was_published() {
        let event = Event {
            id: "ab12".into(),
            source: "https://vod.tencentcloudapi.com/1500012345".into(),
            ty: "com.tencent.cloud.vod.NewFileUpload".into(),
            subject: Some("528 号".into()),
            time: "2026-01-02T03:04:05.678Z".into(),
            partition_key: Some("528 号".into()),
            extensions: vec![("vodoutcome".into(), "succeeded".into())],
            labels: Vec::new(),
        };
        let envelope = event.encode(|out| out.extend_from_slice(br#"{"n":1e400}"#));
        for mode in [Mode::Structured, Mode::Binary] {
            let message = message::Message::new(&envelope, mode, "vod.x", 7).unwrap();
            let read = super::event(&message.properties, message.body).unwrap();
            assert_eq!(read.structured(), envelope.structured(), "{mode:?}");
        }
    }

    #[test]
    fn what_is_no_event_is_foreign() {
        let foreign = event(&BasicProperties::default(), "hello".into()).unwrap_err();
        assert_eq!(foreign.body, "hello");
        let mut headers = FieldTable::default();
        headers.insert("cloudEvents:id".into(), AMQPValue::Boolean(true));
        let properties = BasicProperties::default().with_headers(headers);
        let foreign = event(&properties, "{}".into()).unwrap_err();
        assert!(foreign.reason.contains("header of id"), "{foreign}");
    }
}
