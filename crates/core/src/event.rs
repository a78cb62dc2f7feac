//! A CloudEvents 1.0 event before it is encoded.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Envelope;
use crate::cloudevents;

/// The attributes of a CloudEvents 1.0 event. Its data is handed to [`Event::encode`], so
/// that it is written once, where it stays.
#[derive(Debug, Clone)]
pub struct Event {
    /// Identifies the event together with `source`; the same on every attempt.
    pub id: String,
    /// Who reports the event, a URI.
    pub source: Arc<str>,
    /// What happened, for example `com.tencent.cloud.vod.NewFileUpload`.
    pub ty: Cow<'static, str>,
    /// What it happened to.
    pub subject: Option<String>,
    /// When, RFC 3339 in UTC. Always sent: the Node SDK refuses events without it.
    pub time: String,
    /// Events with the same key keep their order within a broker. None: no key is sent.
    pub partition_key: Option<String>,
    /// Extension attributes other than `partitionkey`; names are lower-case ASCII letters and
    /// digits, as CloudEvents asks.
    pub extensions: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// What routes match on and topic templates are filled from.
    pub labels: Vec<Label>,
}

/// A named fact that routes match on and topic templates are filled from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The name that routes and templates use.
    pub name: Cow<'static, str>,
    /// What routes compare.
    pub value: Cow<'static, str>,
    /// What a topic template takes instead of `value`, where `value` is not from a closed set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<Cow<'static, str>>,
}

impl Label {
    /// A label whose value may stand in a topic name as it is.
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            topic: None,
        }
    }
}

impl Event {
    /// Encodes the event as structured JSON. `write_data` appends the data, one JSON value.
    pub fn encode(self, write_data: impl FnOnce(&mut Vec<u8>)) -> Envelope {
        let mut buffer = Vec::with_capacity(4096);
        cloudevents::write_attributes(&mut buffer, &self);
        let start = buffer.len();
        write_data(&mut buffer);
        let data = start..buffer.len();
        buffer.push(b'}');
        Envelope::new(self, buffer.into(), data)
    }
}
