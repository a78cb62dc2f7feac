//! The encoded form of an event, shared by every sink.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::cloudevents::SPEC_VERSION;
use crate::{Event, Label};

/// An event, encoded once. Cloning it copies no bytes.
#[derive(Debug, Clone)]
pub struct Envelope {
    encoded: Arc<Encoded>,
    topic: Option<Arc<str>>,
    mark: Option<Arc<str>>,
}

#[derive(Debug)]
struct Encoded {
    event: Event,
    structured: Bytes,
    data: Range<usize>,
}

impl Envelope {
    pub(crate) fn new(event: Event, structured: Bytes, data: Range<usize>) -> Self {
        Self {
            encoded: Arc::new(Encoded {
                event,
                structured,
                data,
            }),
            topic: None,
            mark: None,
        }
    }

    /// The event's id: the same on every attempt and in every sink.
    pub fn id(&self) -> &str {
        &self.encoded.event.id
    }

    /// The CloudEvents `type`.
    pub fn ty(&self) -> &str {
        &self.encoded.event.ty
    }

    /// The CloudEvents `subject`.
    pub fn subject(&self) -> Option<&str> {
        self.encoded.event.subject.as_deref()
    }

    /// The CloudEvents `time`, RFC 3339.
    pub fn time(&self) -> &str {
        &self.encoded.event.time
    }

    /// What keeps events together in a broker; None: no key.
    pub fn partition_key(&self) -> Option<&str> {
        self.encoded.event.partition_key.as_deref()
    }

    /// Every label.
    pub fn labels(&self) -> &[Label] {
        &self.encoded.event.labels
    }

    /// The value of a label, for routes.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.encoded
            .event
            .labels
            .iter()
            .find(|l| l.name == name)
            .map(|l| l.value.as_ref())
    }

    /// The value of a label as a topic name may carry it.
    pub fn topic_label(&self, name: &str) -> Option<&str> {
        let label = self.encoded.event.labels.iter().find(|l| l.name == name)?;
        Some(label.topic.as_deref().unwrap_or(&label.value))
    }

    /// [`topic_label`](Self::topic_label) for keeping: copies nothing that is static.
    pub(crate) fn owned_topic_label(&self, name: &str) -> Option<Cow<'static, str>> {
        let label = self.encoded.event.labels.iter().find(|l| l.name == name)?;
        Some(label.topic.as_ref().unwrap_or(&label.value).clone())
    }

    /// The value of an extension attribute.
    pub fn extension(&self, name: &str) -> Option<&str> {
        self.encoded
            .event
            .extensions
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.as_ref())
    }

    /// Every attribute but `datacontenttype`, in the order of the structured form: what binary
    /// mode puts into headers.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let event = &self.encoded.event;
        [
            ("specversion", SPEC_VERSION),
            ("id", &event.id),
            ("source", &event.source),
            ("type", &event.ty),
        ]
        .into_iter()
        .chain(event.subject.as_deref().map(|v| ("subject", v)))
        .chain([("time", event.time.as_str())])
        .chain(event.partition_key.as_deref().map(|v| ("partitionkey", v)))
        .chain(
            event
                .extensions
                .iter()
                .map(|(n, v)| (n.as_ref(), v.as_ref())),
        )
    }

    /// The whole event as structured JSON, one line.
    pub fn structured(&self) -> Bytes {
        self.encoded.structured.clone()
    }

    /// The data alone: a slice of the structured form, token for token what the cloud sent.
    pub fn data(&self) -> Bytes {
        self.encoded.structured.slice(self.encoded.data.clone())
    }

    /// The same event for a topic that the sink's own template does not choose (dead letters).
    pub fn with_topic(&self, topic: Arc<str>) -> Self {
        Self {
            topic: Some(topic),
            ..self.clone()
        }
    }

    /// The topic that overrides the sink's template.
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// The same event as another message than the one that was published before, for brokers that
    /// recognise copies and store no second: a replay. Equal marks are copies of each other.
    pub fn with_mark(&self, mark: Arc<str>) -> Self {
        Self {
            mark: Some(mark),
            ..self.clone()
        }
    }

    /// What tells this message of the event from others.
    pub fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }
}
