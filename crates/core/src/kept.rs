//! The form in which an envelope is kept on a disk, and how it comes back the same.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::cloudevents::{DATA_CONTENT_TYPE, SPEC_VERSION};
use crate::{Envelope, Event, Label};

/// Why bytes are no envelope that vodbridge has encoded.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// Not the JSON that was expected.
    #[error("not an event that vodbridge has encoded")]
    Json(#[from] serde_json::Error),
    /// Nothing ends the line with the labels.
    #[error("the line with the event's labels has no end")]
    NoLabels,
    /// `data` is not the last member, written without white space.
    #[error("the event's data is not where vodbridge writes it")]
    Data,
}

/// What the structured form does not hold: one line before it.
#[derive(Serialize, Deserialize)]
struct Beside<'a> {
    labels: Cow<'a, [Label]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<Cow<'a, str>>,
}

impl Envelope {
    /// The envelope as bytes that [`Envelope::restore`] makes the same envelope of: a line of JSON
    /// with its labels and its topic, then the structured form as it is.
    pub fn keep(&self) -> Vec<u8> {
        let structured = self.structured();
        let beside = Beside {
            labels: self.labels().into(),
            topic: self.topic().map(Cow::Borrowed),
        };
        let mut kept = Vec::with_capacity(structured.len() + 256);
        serde_json::to_writer(&mut kept, &beside).expect("texts are always valid JSON");
        kept.push(b'\n');
        kept.extend_from_slice(&structured);
        kept
    }

    /// The envelope that was kept. Its structured form and its data are slices of `kept`.
    pub fn restore(kept: &Bytes) -> Result<Self, RestoreError> {
        let end = kept.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or(RestoreError::NoLabels)?;
        let Beside { labels, topic } = serde_json::from_slice(&kept[..end])?;
        let envelope = Self::from_structured(kept.slice(end + 1..), labels.into_owned())?;
        Ok(match topic {
            Some(topic) => envelope.with_topic(topic.into()),
            None => envelope,
        })
    }

    /// An envelope of a structured form that vodbridge has encoded, token for token the same.
    /// The labels are not part of that form.
    pub fn from_structured(structured: Bytes, labels: Vec<Label>) -> Result<Self, RestoreError> {
        let Attributes { mut event, data } = serde_json::from_slice(&structured)?;
        event.labels = labels;
        // An object that was just read ends with its brace, and data is shorter than it.
        let end = structured.len() - 1;
        let range = end - data.get().len()..end;
        if structured[range.clone()] != *data.get().as_bytes() {
            return Err(RestoreError::Data);
        }
        Ok(Self::new(event, structured, range))
    }
}

/// What the structured form says of an event.
struct Attributes<'a> {
    event: Event,
    data: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Attributes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AttributesVisitor)
    }
}

struct AttributesVisitor;

impl<'de> Visitor<'de> for AttributesVisitor {
    type Value = Attributes<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a structured CloudEvent")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut id, mut source, mut ty, mut time) = (None, None, None, None);
        let (mut subject, mut partition_key, mut data) = (None, None, None);
        let mut extensions = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match &*name {
                "specversion" => constant(&mut map, &name, SPEC_VERSION)?,
                "datacontenttype" => constant(&mut map, &name, DATA_CONTENT_TYPE)?,
                "id" => id = Some(map.next_value()?),
                "source" => source = Some(map.next_value::<String>()?),
                "type" => ty = Some(map.next_value::<String>()?),
                "time" => time = Some(map.next_value()?),
                "subject" => subject = Some(map.next_value()?),
                "partitionkey" => partition_key = Some(map.next_value()?),
                "data" => data = Some(map.next_value()?),
                _ => {
                    let value = map.next_value::<String>()?;
                    extensions.push((name.into_owned().into(), value.into()));
                }
            }
        }
        let missing = A::Error::missing_field;
        Ok(Attributes {
            event: Event {
                id: id.ok_or_else(|| missing("id"))?,
                source: source.ok_or_else(|| missing("source"))?.into(),
                ty: ty.ok_or_else(|| missing("type"))?.into(),
                subject,
                time: time.ok_or_else(|| missing("time"))?,
                partition_key,
                extensions,
                labels: Vec::new(),
            },
            data: data.ok_or_else(|| missing("data"))?,
        })
    }
}

/// Reads an attribute that has the same value in every event that vodbridge encodes.
fn constant<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    expected: &str,
) -> Result<(), A::Error> {
    let value = map.next_value::<String>()?;
    if value == expected {
        return Ok(());
    }
    Err(A::Error::custom(format_args!(
        "{name} is {value:?}, not {expected:?}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Envelope {
        let mut event = crate::testing::event("a\"b", "FileDeleted");
        event.extensions = vec![("vodextra".into(), "{\"汉\": \"\\n\"}".into())];
        event.labels[0].topic = Some("other".into());
        event.encode(|data| data.extend_from_slice(b"{\"n\":18446744073709551617,\"n\":1e400}"))
    }

    fn assert_same(one: &Envelope, other: &Envelope) {
        assert_eq!(one.structured(), other.structured());
        assert_eq!(one.data(), other.data());
        assert_eq!(one.labels(), other.labels());
        assert_eq!(one.topic(), other.topic());
        assert_eq!(one.partition_key(), other.partition_key());
        assert!(one.attributes().eq(other.attributes()));
    }

    #[test]
    fn comes_back_the_same() {
        let bare = Event {
            subject: None,
            partition_key: None,
            labels: Vec::new(),
            ..crate::testing::event("1", "x")
        };
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for envelope in [
            event(),
            event().with_topic("vod.dead_letter".into()),
            bare.clone().encode(|data| data.extend_from_slice(b"null")),
            bare.encode(|data| data.extend_from_slice(deep.as_bytes())),
        ] {
            let kept = Bytes::from(envelope.keep());
            assert_same(&Envelope::restore(&kept).unwrap(), &envelope);
        }
    }

    #[test]
    fn what_vodbridge_did_not_encode_is_refused() {
        let kept = event().keep();
        let cut = |end: usize| Envelope::restore(&Bytes::copy_from_slice(&kept[..end]));
        for end in 0..kept.len() {
            assert!(cut(end).is_err(), "cut at {end}");
        }
        for text in [
            "{}",
            "[]",
            "{\"specversion\":\"0.3\"}",
            "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/\",\"type\":\"x\",\"data\":1}",
        ] {
            let restored = Envelope::from_structured(Bytes::from_static(text.as_bytes()), vec![]);
            assert!(restored.is_err(), "{text}");
        }
        let spaced = String::from_utf8(event().structured().to_vec()).unwrap() + "\n";
        let spaced = Envelope::from_structured(spaced.into(), vec![]);
        assert!(matches!(spaced, Err(RestoreError::Data)));
    }
}
