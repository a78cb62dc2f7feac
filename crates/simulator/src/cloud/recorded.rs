//! Events that are not made but given: recorded notifications, served token for token.

use std::fmt::{self, Write};
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use vodbridge_vod::{Notification, Unparsable};

mod directory;

pub use directory::ReadError;

/// A notification, ready to be given a handle. Its bytes are never written anew: white space,
/// order, repeated keys and the spelling of numbers stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    text: Box<str>,
    /// Where the handle goes.
    handle: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// Where this value stands.
    Value(Range<usize>),
    /// Behind the brace that opens the object, with or without a comma behind it.
    First { at: usize, comma: &'static str },
}

/// A text that holds no notifications.
#[derive(Debug, thiserror::Error)]
pub enum NoNotifications {
    /// It is no JSON object in UTF-8.
    #[error("not a notification")]
    Unparsable(#[from] Unparsable),
    /// It begins as the answer to a pull, and goes on otherwise.
    #[error("neither the answer to a PullEvents call nor the body of a callback")]
    Shape(#[source] serde_json::Error),
}

impl Recorded {
    /// The notifications of a text: those of the answer to a PullEvents call
    /// (`{"Response":{"EventSet":[…]}}`), else the one that the text is.
    ///
    /// # Errors
    /// Where the text is neither.
    pub fn read(text: &[u8]) -> Result<Vec<Self>, NoNotifications> {
        Notification::parse(text)?;
        let whole: &RawValue = serde_json::from_slice(text).map_err(NoNotifications::Shape)?;
        let Some(response) = Members::of(whole)?.last("Response") else {
            return Ok(vec![Self::of(whole)?]);
        };
        let Some(events) = Members::of(response)?.last("EventSet") else {
            return Ok(Vec::new());
        };
        let events: Option<Vec<&RawValue>> =
            serde_json::from_str(events.get()).map_err(NoNotifications::Shape)?;
        events
            .unwrap_or_default()
            .into_iter()
            .map(Self::of)
            .collect()
    }

    /// One notification.
    fn of(object: &RawValue) -> Result<Self, NoNotifications> {
        let text = object.get();
        Notification::parse(text.as_bytes())?;
        let members = Members::of(object)?;
        let handle = match members.last("EventHandle") {
            Some(handle) => {
                let start = handle.get().as_ptr() as usize - text.as_ptr() as usize;
                Place::Value(start..start + handle.get().len())
            }
            None => Place::First {
                at: "{".len(),
                comma: if members.0.is_empty() { "" } else { "," },
            },
        };
        Ok(Self {
            text: text.into(),
            handle,
        })
    }

    /// Appends it as it is pulled.
    pub(super) fn write_pulled(&self, handle: u64, out: &mut String) {
        let written = match &self.handle {
            Place::Value(Range { start, end }) => {
                let (before, behind) = (&self.text[..*start], &self.text[*end..]);
                write!(out, r#"{before}"{handle}"{behind}"#)
            }
            Place::First { at, comma } => {
                let (before, behind) = self.text.split_at(*at);
                write!(out, r#"{before}"EventHandle":"{handle}"{comma}{behind}"#)
            }
        };
        written.expect("a String takes any text");
    }

    /// It as it is posted: without what belongs to another way of getting it.
    pub(super) fn posted(&self) -> Bytes {
        match Notification::parse(self.text.as_bytes()) {
            Ok(notification) if notification.has_edge() => notification.without_edge().into(),
            _ => Bytes::copy_from_slice(self.text.as_bytes()),
        }
    }
}

/// The members of an object, in order, repeated ones too.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'t> Members<'t> {
    fn of(object: &'t RawValue) -> Result<Self, NoNotifications> {
        serde_json::from_str(object.get()).map_err(NoNotifications::Shape)
    }

    fn last(&self, name: &str) -> Option<&'t RawValue> {
        let mut members = self.0.iter().rev();
        Some(members.find(|(key, _)| key == name)?.1)
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulled(recorded: &Recorded) -> String {
        let mut text = String::new();
        recorded.write_pulled(7, &mut text);
        text
    }

    #[test]
    fn only_the_handle_changes() {
        let text = br#" {"Response":{"EventSet":[ {"b": 1.0,"EventHandle" : "x","a":18446744073709551616,"b":1e2 },
            {"EventType":"X" , "Y":{}}, {} ],"RequestId":"r"}}"#;
        let read = Recorded::read(text).unwrap();
        let pulled: Vec<_> = read.iter().map(pulled).collect();
        assert_eq!(
            pulled,
            [
                r#"{"b": 1.0,"EventHandle" : "7","a":18446744073709551616,"b":1e2 }"#,
                r#"{"EventHandle":"7","EventType":"X" , "Y":{}}"#,
                r#"{"EventHandle":"7"}"#,
            ]
        );
        assert_eq!(
            read[0].posted(),
            r#"{"b":1.0,"a":18446744073709551616,"b":1e2}"#
        );
        assert_eq!(read[1].posted(), r#"{"EventType":"X" , "Y":{}}"#);
    }

    #[test]
    fn a_callback_is_one_event() {
        let read = Recorded::read(b"\n{ \"eventType\":\"FileDeleted\"}").unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(
            pulled(&read[0]),
            "{\"EventHandle\":\"7\", \"eventType\":\"FileDeleted\"}"
        );
        assert!(
            Recorded::read(br#"{"Response":{"EventSet":null}}"#)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn what_holds_none_is_refused() {
        for text in [
            &b"[]"[..],
            b"{",
            b"\xff",
            br#"{"Response":{"EventSet":{}}}"#,
            br#"{"Response":1}"#,
        ] {
            assert!(Recorded::read(text).is_err(), "{text:?}");
        }
    }
}
