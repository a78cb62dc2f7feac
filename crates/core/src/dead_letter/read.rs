//! The way back: from the record on a topic to the dead letter.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use thiserror::Error;

use super::{Content, DEAD_LETTER_TYPE, DeadLetter, Reason};
use crate::{Envelope, RestoreError};

/// Why an event is no dead letter that can be read.
#[derive(Debug, Error)]
pub enum NoDeadLetter {
    /// It is of another type.
    #[error("an event of the type {0:?}, and no dead letter")]
    Type(String),
    /// Its data is not as vodbridge writes it.
    #[error("its data is no record of a dead letter")]
    Json(#[from] serde_json::Error),
    /// Written by a version that knows more reasons.
    #[error("its reason {0:?} is not known to this version of vodbridge")]
    Reason(String),
    /// A time is no RFC 3339.
    #[error("a time in it cannot be read")]
    Time(#[from] humantime::TimestampError),
    /// A body that is no base64.
    #[error("the body in it is no base64")]
    Base64(#[from] base64::DecodeError),
    /// The event in it cannot be read.
    #[error("the event in it cannot be read")]
    Event(#[from] RestoreError),
    /// Neither an event nor a body.
    #[error("it holds neither an event nor a body")]
    Empty,
}

#[derive(Deserialize)]
struct Record<'a> {
    reason: String,
    source: String,
    sink: Option<String>,
    error: Option<String>,
    #[serde(default)]
    attempts: u32,
    first_at: String,
    last_at: String,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    occurrence: Option<String>,
    #[serde(borrow)]
    body: Option<Cow<'a, str>>,
    body_base64: Option<String>,
}

impl DeadLetter {
    /// The dead letter in a record that [`DeadLetter::encode`] has made. The event in it has no
    /// labels, since they are not kept; it is token for token what it was.
    ///
    /// # Errors
    ///
    /// The event is no dead letter, or not one that this version can read.
    pub fn decode(record: &Envelope) -> Result<Self, NoDeadLetter> {
        if record.ty() != DEAD_LETTER_TYPE {
            return Err(NoDeadLetter::Type(record.ty().to_owned()));
        }
        let data = record.data();
        let kept: Record<'_> = serde_json::from_slice(&data)?;
        let mut reasons = Reason::ALL.into_iter();
        let reason = reasons.find(|reason| reason.as_str() == kept.reason);
        let at = |text: &str| -> Result<SystemTime, NoDeadLetter> {
            Ok(humantime::parse_rfc3339_weak(text)?)
        };
        let content = match (kept.event, kept.body, kept.body_base64) {
            (Some(event), ..) => {
                let structured = data.slice_ref(event.get().as_bytes());
                Content::Event(Envelope::from_structured(structured, Vec::new())?)
            }
            (None, None, None) => return Err(NoDeadLetter::Empty),
            (None, text, base64) => Content::Raw {
                body: match (text, base64) {
                    (Some(text), _) => Bytes::from(text.into_owned()),
                    (None, base64) => STANDARD.decode(base64.unwrap_or_default())?.into(),
                },
                headers: kept.headers.into_iter().collect(),
                occurrence: kept.occurrence.map(Into::into),
            },
        };
        Ok(Self {
            id: record.id().to_owned(),
            reason: reason.ok_or(NoDeadLetter::Reason(kept.reason))?,
            source: kept.source.into(),
            sink: kept.sink,
            error: kept.error,
            attempts: kept.attempts,
            first: at(&kept.first_at)?,
            last: at(&kept.last_at)?,
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{envelope, event};

    fn letter(reason: Reason, content: Content) -> DeadLetter {
        let first = SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_225_600_123);
        DeadLetter {
            id: "abc".into(),
            reason,
            source: "callback".into(),
            sink: matches!(content, Content::Event(_)).then(|| "events".into()),
            error: Some("refused for good: \"too\nlarge\"".into()),
            attempts: 3,
            first,
            last: first + Duration::from_millis(1),
            content,
        }
    }

    fn raw(body: &'static [u8], occurrence: Option<&str>) -> Content {
        Content::Raw {
            body: Bytes::from_static(body),
            headers: vec![("host".into(), "ex\"ample".into())],
            occurrence: occurrence.map(Into::into),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let contents = [
            Content::Event(event("abc", "FileDeleted").encode(|data| {
                data.extend_from_slice(b"{\"n\":18446744073709551617,\"n\":1e400}");
            })),
            raw(b"{\"a\": \"\\u0000\"", None),
            raw(b"", Some("handle#1")),
            raw(b"\xff\xfe\n", None),
        ];
        for content in contents {
            for reason in Reason::ALL {
                let written = letter(reason, content.clone());
                let read = DeadLetter::decode(&written.encode()).unwrap();
                assert_eq!(read.encode().structured(), written.encode().structured());
                match (&read.content, &content) {
                    (Content::Event(read), Content::Event(event)) => {
                        assert_eq!(read.structured(), event.structured());
                    }
                    (read, content) => assert_eq!(format!("{read:?}"), format!("{content:?}")),
                }
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let other = DeadLetter::decode(&envelope("1", "FileDeleted"));
        assert!(matches!(other, Err(NoDeadLetter::Type(_))), "{other:?}");
        let record = |text: &str| {
            let text = text.replace("TIMES", r#""first_at":"2026-01-01T00:00:00Z","last_at":"2026-01-01T00:00:00Z","source":"s""#);
            let record =
                event("1", DEAD_LETTER_TYPE).encode(|out| out.extend_from_slice(text.as_bytes()));
            DeadLetter::decode(&record).unwrap_err().to_string()
        };
        assert!(record("[]").contains("no record"));
        assert!(record(r#"{"reason":"unrouted",TIMES}"#).contains("neither"));
        assert!(record(r#"{"reason":"new","body":"",TIMES}"#).contains("not known"));
        assert!(record(r#"{"reason":"panic","body_base64":"*",TIMES}"#).contains("base64"));
        assert!(record(r#"{"reason":"refused","event":{},TIMES}"#).contains("cannot be read"));
        let time = r#"{"reason":"panic","body":"","source":"s","first_at":"x","last_at":"x"}"#;
        assert!(record(time).contains("time"));
    }
}
