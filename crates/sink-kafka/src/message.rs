//! An envelope as a Kafka record.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>

use std::borrow::Cow;

use bytes::Bytes;
use rdkafka::message::{Header, OwnedHeaders};
use vodbridge_core::Envelope;
use vodbridge_core::cloudevents::{DATA_CONTENT_TYPE, Mode, STRUCTURED_CONTENT_TYPE};

const CONTENT_TYPE: &str = "content-type";

/// A record on its way to librdkafka.
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a str,
    /// None: the record goes to any partition.
    pub(crate) key: Option<&'a str>,
    pub(crate) value: Bytes,
    pub(crate) headers: OwnedHeaders,
}

impl<'a> Record<'a> {
    pub(crate) fn new(envelope: &'a Envelope, topic: &'a str, mode: Mode) -> Self {
        let (value, headers) = match mode {
            Mode::Structured => {
                let headers = OwnedHeaders::new_with_capacity(1);
                let headers = header(headers, CONTENT_TYPE, STRUCTURED_CONTENT_TYPE);
                (envelope.structured(), headers)
            }
            Mode::Binary => {
                let headers = OwnedHeaders::new_with_capacity(20);
                let headers = header(headers, CONTENT_TYPE, DATA_CONTENT_TYPE);
                let headers = envelope
                    .attributes()
                    .fold(headers, |headers, (name, value)| {
                        header(headers, &header_name(name), value)
                    });
                (envelope.data(), headers)
            }
        };
        Self {
            topic,
            key: envelope.partition_key(),
            value,
            headers,
        }
    }
}

/// Values are UTF-8 as they are: Kafka headers hold bytes.
fn header(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key,
        value: Some(value),
    })
}

/// The header of an attribute; those that every event has cost no allocation.
fn header_name(attribute: &str) -> Cow<'static, str> {
    Cow::Borrowed(match attribute {
        "specversion" => "ce_specversion",
        "id" => "ce_id",
        "source" => "ce_source",
        "type" => "ce_type",
        "subject" => "ce_subject",
        "time" => "ce_time",
        "partitionkey" => "ce_partitionkey",
        "traceparent" => "ce_traceparent",
        "tracestate" => "ce_tracestate",
        "vodfileid" => "ce_vodfileid",
        "vodtaskid" => "ce_vodtaskid",
        "vodstatus" => "ce_vodstatus",
        "voderrcode" => "ce_voderrcode",
        "vodoutcome" => "ce_vodoutcome",
        "vodsubappid" => "ce_vodsubappid",
        "vodsource" => "ce_vodsource",
        "vodformat" => "ce_vodformat",
        other => return Cow::Owned(format!("ce_{other}")),
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers;

    use super::*;
    use crate::tests::event;

    fn names_and_values(headers: &OwnedHeaders) -> Vec<(String, String)> {
        headers
            .iter()
            .map(|h| {
                let value = String::from_utf8(h.value.unwrap().to_vec()).unwrap();
                (h.key.to_owned(), value)
            })
            .collect()
    }

    #[test]
    fn structured_mode_has_the_content_type_alone() {
        let envelope = event("1", Some("file-1"));
        let record = Record::new(&envelope, "vod", Mode::Structured);
        assert_eq!(record.value, envelope.structured());
        assert_eq!(record.key, Some("file-1"));
        assert_eq!(
            names_and_values(&record.headers),
            [(CONTENT_TYPE.to_owned(), STRUCTURED_CONTENT_TYPE.to_owned())]
        );
    }

    #[test]
    fn no_partition_key_means_a_null_key() {
        let envelope = event("1", None);
        assert_eq!(Record::new(&envelope, "vod", Mode::Binary).key, None);
    }

    #[test]
    fn binary_mode_has_every_attribute() {
        let envelope = event("1", Some("视频"));
        let record = Record::new(&envelope, "vod", Mode::Binary);
        assert_eq!(record.value, envelope.data());
        let headers = names_and_values(&record.headers);
        assert_eq!(headers[0], (CONTENT_TYPE.into(), DATA_CONTENT_TYPE.into()));
        let expected: Vec<_> = envelope
            .attributes()
            .map(|(name, value)| (format!("ce_{name}"), value.to_owned()))
            .collect();
        assert_eq!(headers[1..], expected);
        assert!(headers.contains(&("ce_partitionkey".into(), "视频".into())));
        assert!(headers.contains(&("ce_unlisted".into(), "x".into())));
    }
}
