//! The durable home of what can never be delivered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use tokio::time::Instant;

use crate::delivery::Delivery;
use crate::retry::{Attempts, Failed, Retry, Target};
use crate::{Envelope, Event, LogLimit, NotDelivered, PublishError, Sink, chain};

mod read;

pub use read::NoDeadLetter;

/// Between two lines about refused records.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// CloudEvents `type` of a dead letter.
pub const DEAD_LETTER_TYPE: &str = "vodbridge.dead_letter";

/// The extension attribute that says why.
const REASON: &str = "deadletterreason";

/// Why something became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not JSON, not UTF-8, nested too deep, or no object.
    Unparsable,
    /// A JSON object with neither a type nor a payload.
    Unrecognised,
    /// A raw notification that there was no time to read.
    Unread,
    /// No route names a required sink for it.
    Unrouted,
    /// A sink refused it for good.
    Refused,
    /// A sink had no destination for it for as long as its source could wait.
    Unroutable,
    /// The bridge itself failed on it.
    Panic,
    /// It waited in the spool for longer than it may.
    Expired,
}

impl Reason {
    /// Every one of them.
    pub const ALL: [Self; 8] = [
        Self::Unparsable,
        Self::Unrecognised,
        Self::Unread,
        Self::Unrouted,
        Self::Refused,
        Self::Unroutable,
        Self::Panic,
        Self::Expired,
    ];

    /// The word in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unparsable => "unparsable",
            Self::Unrecognised => "unrecognised",
            Self::Unread => "unread",
            Self::Unrouted => "unrouted",
            Self::Refused => "refused",
            Self::Unroutable => "unroutable",
            Self::Panic => "panic",
            Self::Expired => "expired",
        }
    }
}

/// What a dead letter keeps whole.
#[derive(Debug, Clone)]
pub enum Content {
    /// The event.
    Event(Envelope),
    /// A notification that never became an event, as it came.
    Raw {
        /// The body.
        body: Bytes,
        /// Its headers, without secrets.
        headers: Vec<(String, String)>,
        /// What tells it from others of the same content, where its source knows: the event's id
        /// would have taken it in.
        occurrence: Option<Arc<str>>,
    },
}

/// Something that can never be delivered, with all that is known of it.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The event's id; of a raw notification one derived from its bytes.
    pub id: String,
    /// Why.
    pub reason: Reason,
    /// The source that it came from, by the operator's name.
    pub source: Arc<str>,
    /// The sink that refused it.
    pub sink: Option<String>,
    /// The error with its sources, in one line.
    pub error: Option<String>,
    /// Publishes that were tried.
    pub attempts: u32,
    /// When it came.
    pub first: SystemTime,
    /// When it was given up.
    pub last: SystemTime,
    /// What is kept.
    pub content: Content,
}

#[derive(Serialize)]
struct Record<'a> {
    reason: &'static str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sink: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    attempts: u32,
    first_at: String,
    last_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurrence: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl DeadLetter {
    /// The record as a CloudEvent of its own type. Its `source` names the sink too, since one
    /// event can be refused by several.
    pub fn encode(&self) -> Envelope {
        let at = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
        let (subject, partition_key) = match &self.content {
            Content::Event(event) => (
                event.subject().map(str::to_owned),
                event.partition_key().map(str::to_owned),
            ),
            Content::Raw { .. } => (None, None),
        };
        let mut extensions = vec![(REASON.into(), self.reason.as_str().into())];
        extensions.extend(
            self.sink
                .clone()
                .map(|sink| ("deadlettersink".into(), sink.into())),
        );
        let event = Event {
            id: self.id.clone(),
            source: format!(
                "/vodbridge/{}/{}",
                self.source,
                self.sink.as_deref().unwrap_or("-")
            )
            .into(),
            ty: DEAD_LETTER_TYPE.into(),
            subject,
            time: at(self.last),
            partition_key,
            extensions,
            labels: Vec::new(),
        };
        event.encode(|out| self.write_record(out, at(self.first), at(self.last)))
    }

    fn write_record(&self, out: &mut Vec<u8>, first_at: String, last_at: String) {
        let structured;
        let mut record = Record {
            reason: self.reason.as_str(),
            source: &self.source,
            sink: self.sink.as_deref(),
            error: self.error.as_deref(),
            attempts: self.attempts,
            first_at,
            last_at,
            event: None,
            headers: None,
            occurrence: None,
            body: None,
            body_base64: None,
        };
        match &self.content {
            Content::Event(envelope) => {
                structured = envelope.structured();
                record.event = serde_json::from_slice(&structured).ok();
            }
            Content::Raw {
                body,
                headers,
                occurrence,
            } => {
                record.occurrence = occurrence.as_deref();
                record.headers = Some(
                    headers
                        .iter()
                        .map(|(n, v)| (n.as_str(), v.as_str()))
                        .collect(),
                );
                match std::str::from_utf8(body) {
                    Ok(text) => record.body = Some(text),
                    Err(_) => record.body_base64 = Some(STANDARD.encode(body)),
                }
            }
        }
        serde_json::to_writer(out, &record)
            .expect("a record of texts and valid JSON always serializes");
    }
}

/// Where dead letters go.
pub struct DeadLetters {
    /// The sink that keeps them.
    pub sink: Arc<dyn Sink>,
    /// The topic that overrides the sink's template.
    pub topic: Arc<str>,
    /// Takes what `sink` refuses for good; a file on a durable disk.
    pub last_resort: Option<Arc<dyn Sink>>,
}

/// Writes dead letters.
pub(crate) struct Writer {
    target: Target,
    topic: Arc<str>,
    last_resort: Option<Target>,
    refused: LogLimit,
}

impl Writer {
    /// Writes to one of `targets`, where the letters' sink is among them.
    pub(crate) fn new(
        letters: DeadLetters,
        targets: &[Target],
        make: impl Fn(Arc<dyn Sink>) -> Target,
    ) -> Self {
        let name = letters.sink.name();
        let same = targets.iter().find(|target| target.sink.name() == name);
        Self {
            target: same.cloned().unwrap_or_else(|| make(letters.sink)),
            topic: letters.topic,
            last_resort: letters.last_resort.map(make),
            refused: LogLimit::new(LOG_PAUSE),
        }
    }

    pub(crate) fn sink_name(&self) -> &str {
        self.target.sink.name()
    }

    pub(crate) fn last_resort(&self) -> Option<&Arc<dyn Sink>> {
        self.last_resort.as_ref().map(|last| &last.sink)
    }

    pub(crate) fn is_away(&self) -> bool {
        self.target.presence.is_away()
    }

    /// Resolves once the letter is durable: in its sink, or where that refuses it or has no
    /// destination for it, in the last resort.
    pub(crate) async fn write(
        &self,
        letter: &Envelope,
        delivery: &Delivery,
        retry: &Retry,
    ) -> Result<(), NotDelivered> {
        let envelope = &letter.with_topic(self.topic.clone());
        // With a last resort at hand there is no point in waiting for a destination.
        let unroutable_until = self.last_resort.as_ref().map(|_| Instant::now());
        let target = &self.target;
        let attempts = Attempts {
            target,
            envelope,
            delivery,
            unroutable_until,
            retry,
        };
        let Err(Failed { error, .. }) = attempts.until_deadline().await else {
            return Ok(());
        };
        let (target, error) = match &self.last_resort {
            Some(last) if !matches!(error, PublishError::Transient(_)) => {
                self.log_refusal(letter, &error);
                let attempts = Attempts {
                    target: last,
                    envelope,
                    delivery,
                    unroutable_until: None,
                    retry,
                };
                let Err(Failed { error, .. }) = attempts.until_deadline().await else {
                    return Ok(());
                };
                (last, error)
            }
            _ => (target, error),
        };
        Err(NotDelivered {
            sink: target.sink.name().to_owned(),
            source: Arc::new(error),
        })
    }

    fn log_refusal(&self, letter: &Envelope, error: &PublishError) {
        let Some(held_back) = self.refused.allows() else {
            return;
        };
        tracing::error!(
            id = letter.id(),
            reason = reason_of(letter),
            sink = self.target.sink.name(),
            error = chain(error),
            held_back,
            "the dead letter's sink refused a record, which goes to the state directory instead; look at its topic and size limit"
        );
    }
}

/// The reason of an encoded dead letter, as the word for metrics.
pub(crate) fn reason_of(letter: &Envelope) -> &'static str {
    let written = letter.extension(REASON).unwrap_or_default();
    let known = Reason::ALL.into_iter().map(Reason::as_str);
    known
        .into_iter()
        .find(|known| *known == written)
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::event;

    fn letter(content: Content) -> DeadLetter {
        DeadLetter {
            id: "abc".into(),
            reason: Reason::Refused,
            source: "callback".into(),
            sink: Some("events".into()),
            error: Some("refused for good: too large".into()),
            attempts: 3,
            first: SystemTime::UNIX_EPOCH,
            last: SystemTime::UNIX_EPOCH,
            content,
        }
    }

    fn data(letter: &DeadLetter) -> serde_json::Value {
        serde_json::from_slice(&letter.encode().data()).unwrap()
    }

    #[test]
    fn keeps_the_event_whole() {
        let envelope = event("abc", "FileDeleted")
            .encode(|d| d.extend_from_slice(b"{\"n\":18446744073709551617}"));
        let letter = letter(Content::Event(envelope.clone()));
        let text = String::from_utf8(letter.encode().data().to_vec()).unwrap();
        assert!(
            text.contains(std::str::from_utf8(&envelope.structured()).unwrap()),
            "token for token: {text}"
        );
        assert_eq!(letter.encode().id(), "abc");
        assert_eq!(letter.encode().subject(), envelope.subject());
        assert_eq!(data(&letter)["attempts"], 3);
    }

    #[test]
    fn keeps_bytes_that_are_no_text() {
        let raw = |body: &'static [u8]| Content::Raw {
            body: Bytes::from_static(body),
            headers: vec![("host".into(), "example".into())],
            occurrence: None,
        };
        assert_eq!(data(&letter(raw(b"not json")))["body"], "not json");
        let broken = data(&letter(raw(b"\xff\xfe")));
        assert_eq!(broken["body_base64"], "//4=");
        assert_eq!(broken["headers"]["host"], "example");
    }
}
