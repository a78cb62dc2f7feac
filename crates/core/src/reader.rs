//! The reader port: what a sink's topics hold, as any subscriber would see it.
//!
//! It serves commands that look at a broker and is never on the path of an event.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt, poll_fn};
use serde_json::value::RawValue;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cloudevents::{DATA_CONTENT_TYPE, SPEC_VERSION};
use crate::{BoxError, Envelope, Event};

/// Messages that are read ahead of whoever takes them.
const AHEAD: usize = 256;
/// The media type of a structured event, its parameters left out.
const STRUCTURED: &str = "application/cloudevents+json";

/// The counterpart of a [`Sink`](crate::Sink): reads what is on its topics and consumes none of it.
/// No position is kept at the broker, nothing is acked, and topics that are not there are empty.
pub trait Reader: Send + Sync + 'static {
    /// Reaches the broker and starts to read these topics from their beginning, each partition
    /// oldest first, and what comes meanwhile. Ends with what was there when `until` was cancelled;
    /// one that is cancelled already means what is there now.
    ///
    /// Once this has resolved, nothing that is published escapes the reading. Dropping the
    /// messages ends it.
    ///
    /// # Errors
    ///
    /// The broker is not reached, or does not let us read. An error among the messages is the last
    /// of them.
    fn read<'a>(
        &'a self,
        topics: &'a [String],
        until: CancellationToken,
    ) -> BoxFuture<'a, Result<Messages, BoxError>>;
}

/// What is read, as it comes.
pub type Messages = BoxStream<'static, Result<Message, BoxError>>;

/// One message on a broker.
#[derive(Debug, Clone)]
pub struct Message {
    /// Topic, routing key or subject.
    pub topic: String,
    /// Where it is, for a person who looks for it, for example `partition 0 offset 17`.
    pub position: String,
    /// The event in it, structured or binary alike. It has no labels.
    pub event: Result<Envelope, Foreign>,
}

/// A message that is no event as vodbridge publishes it.
#[derive(Debug, Clone, Error)]
#[error("no event of vodbridge: {reason}")]
pub struct Foreign {
    /// What is wrong with it.
    pub reason: String,
    /// Its body, as it is.
    pub body: Bytes,
}

/// The way from the task that reads a broker to whoever asked for it.
pub fn messages() -> (mpsc::Sender<Result<Message, BoxError>>, Messages) {
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    (sender, poll_fn(move |cx| receiver.poll_recv(cx)).boxed())
}

impl Envelope {
    /// The event in a message with this content type: structured, or binary with `attributes` from
    /// its headers, those that are no attributes left out.
    ///
    /// # Errors
    ///
    /// The message is not as a sink of vodbridge lays it out.
    pub fn from_message(
        content_type: Option<&str>,
        attributes: impl FnOnce() -> Result<Vec<(String, String)>, String>,
        body: Bytes,
    ) -> Result<Self, Foreign> {
        let content_type = content_type.unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let decoded = if media_type.eq_ignore_ascii_case(STRUCTURED) {
            Self::from_structured(body.clone(), Vec::new()).map_err(|error| error.to_string())
        } else {
            attributes().and_then(|attributes| binary(media_type, attributes, &body))
        };
        decoded.map_err(|reason| Foreign { reason, body })
    }
}

fn binary(
    media_type: &str,
    attributes: Vec<(String, String)>,
    data: &Bytes,
) -> Result<Envelope, String> {
    if attributes.is_empty() {
        return Err(format!(
            "the content type {media_type:?}, and no attribute in a header"
        ));
    }
    if media_type != DATA_CONTENT_TYPE {
        return Err(format!("data of the content type {media_type:?}"));
    }
    let value: Option<&RawValue> = serde_json::from_slice(data).ok();
    if value.is_none_or(|value| value.get().len() != data.len()) {
        return Err("its data is no JSON value".to_owned());
    }
    let event = event(attributes)?;
    Ok(event.encode(|out| out.extend_from_slice(data)))
}

fn event(attributes: Vec<(String, String)>) -> Result<Event, String> {
    let (mut version, mut id, mut source, mut ty, mut time) = (None, None, None, None, None);
    let (mut subject, mut partition_key, mut extensions) = (None, None, Vec::new());
    for (name, value) in attributes {
        match name.as_str() {
            "specversion" => version = Some(value),
            "id" => id = Some(value),
            "source" => source = Some(value),
            "type" => ty = Some(value),
            "time" => time = Some(value),
            "subject" => subject = Some(value),
            "partitionkey" => partition_key = Some(value),
            "datacontenttype" => {}
            _ => extensions.push((name.into(), value.into())),
        }
    }
    if version.as_deref() != Some(SPEC_VERSION) {
        return Err(format!("specversion is {version:?}"));
    }
    let missing = |name: &str| format!("it has no {name}");
    Ok(Event {
        id: id.ok_or_else(|| missing("id"))?,
        source: source.ok_or_else(|| missing("source"))?.into(),
        ty: ty.ok_or_else(|| missing("type"))?.into(),
        time: time.ok_or_else(|| missing("time"))?,
        subject,
        partition_key,
        extensions,
        labels: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudevents::STRUCTURED_CONTENT_TYPE;

    fn published() -> Envelope {
        let mut event = crate::testing::event("1", "FileDeleted");
        event.extensions = vec![("vodoutcome".into(), "汉 \"x\"".into())];
        event.encode(|data| data.extend_from_slice(br#"{"n":18446744073709551617,"n": 1 }"#))
    }

    fn attributes(envelope: &Envelope) -> Vec<(String, String)> {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        envelope.attributes().map(owned).collect()
    }

    fn read(
        content_type: &str,
        attributes: Vec<(String, String)>,
        body: &[u8],
    ) -> Result<Bytes, String> {
        let body = Bytes::copy_from_slice(body);
        let read = Envelope::from_message(Some(content_type), || Ok(attributes), body.clone());
        read.map(|envelope| envelope.structured()).map_err(|f| {
            assert_eq!(f.body, body);
            f.reason
        })
    }

    #[test]
    fn both_modes_are_read_as_what_was_published() {
        let event = published();
        let structured = read(STRUCTURED_CONTENT_TYPE, Vec::new(), &event.structured());
        assert_eq!(structured.unwrap(), event.structured());
        let mut with_type = attributes(&event);
        with_type.push(("datacontenttype".into(), DATA_CONTENT_TYPE.into()));
        for attributes in [attributes(&event), with_type] {
            let binary = read(DATA_CONTENT_TYPE, attributes, &event.data());
            assert_eq!(binary.unwrap(), event.structured());
        }
    }

    #[test]
    fn what_is_no_event_is_foreign_and_kept() {
        let event = published();
        let without = |left_out: &str| {
            let mut attributes = attributes(&event);
            attributes.retain(|(name, _)| name != left_out);
            read(DATA_CONTENT_TYPE, attributes, b"{}").unwrap_err()
        };
        for name in ["id", "source", "type", "time"] {
            assert_eq!(without(name), format!("it has no {name}"));
        }
        assert!(without("specversion").contains("specversion"));
        let all = || attributes(&event);
        for (content_type, attributes, body) in [
            (STRUCTURED_CONTENT_TYPE, all(), &b"{}"[..]),
            (STRUCTURED_CONTENT_TYPE, all(), b"\xff"),
            (DATA_CONTENT_TYPE, Vec::new(), b"{}"),
            ("", Vec::new(), b""),
            ("text/plain", all(), b"{}"),
            (DATA_CONTENT_TYPE, all(), b"{} "),
            (DATA_CONTENT_TYPE, all(), b"{"),
            (DATA_CONTENT_TYPE, all(), b""),
            (DATA_CONTENT_TYPE, all(), b"\xff"),
        ] {
            assert!(read(content_type, attributes, body).is_err(), "{body:?}");
        }
        let broken = Envelope::from_message(None, || Err("odd".into()), Bytes::new());
        assert_eq!(broken.unwrap_err().reason, "odd");
    }
}
