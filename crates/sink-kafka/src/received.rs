//! A record as the event in it, the counterpart of [`message`](mod@crate::message).

use bytes::Bytes;
use rdkafka::message::Headers;
use vodbridge_core::{Envelope, Foreign};

/// The event in a record, structured or binary.
pub(crate) fn event(
    headers: Option<&impl Headers>,
    payload: Option<&[u8]>,
) -> Result<Envelope, Foreign> {
    let headers = || headers.into_iter().flat_map(Headers::iter);
    let text = |value: Option<&[u8]>| std::str::from_utf8(value?).ok().map(str::to_owned);
    let mut content_type = headers().filter(|h| h.key.eq_ignore_ascii_case("content-type"));
    let content_type = content_type.next().and_then(|header| text(header.value));
    let attributes = || {
        let named = headers().filter_map(|h| Some((h.key.strip_prefix("ce_")?, h.value)));
        let decoded = named.map(|(name, value)| match text(value) {
            Some(text) => Ok((name.to_owned(), text)),
            None => Err(format!("the header of {name} is no UTF-8 text")),
        });
        decoded.collect()
    };
    let body = Bytes::copy_from_slice(payload.unwrap_or_default());
    Envelope::from_message(content_type.as_deref(), attributes, body)
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders};
    use vodbridge_core::cloudevents::Mode;

    use super::*;
    use crate::message::Record;
    use crate::tests::event as published;

    #[test]
    fn both_modes_are_read_as_what_was_published() {
        let envelope = published("1", Some("视频"));
        for mode in [Mode::Structured, Mode::Binary] {
            let record = Record::new(&envelope, "vod", mode);
            let read = event(Some(&record.headers), Some(&record.value)).unwrap();
            assert_eq!(read.structured(), envelope.structured(), "{mode:?}");
        }
    }

    #[test]
    fn what_is_no_event_is_foreign() {
        let none: Option<&OwnedHeaders> = None;
        assert_eq!(event(none, None).unwrap_err().body, "");
        let broken = OwnedHeaders::new().insert(Header {
            key: "ce_id",
            value: Some(&b"\xff"[..]),
        });
        let foreign = event(Some(&broken), Some(b"{}")).unwrap_err();
        assert!(foreign.reason.contains("header of id"), "{foreign}");
    }
}
