//! A notification as the cloud sent it.

use std::borrow::Cow;

use thiserror::Error;

use crate::document::{Document, Value};
use crate::shape;
use crate::signature::callback::SignFields;

/// The members that stay at the edge: they say how a notification came, not what happened.
pub(crate) const EDGE: [&str; 3] = ["EventHandle", "Sign", "T"];

/// The bytes of a notification, read once and borrowed from then on.
#[derive(Debug)]
pub struct Notification<'a> {
    document: Document<'a>,
}

/// Why bytes are no notification. Offsets are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unparsable {
    /// Not valid UTF-8.
    #[error("invalid UTF-8 at byte {at}")]
    Utf8 {
        /// Where.
        at: usize,
    },
    /// Not JSON.
    #[error("invalid JSON at byte {at}")]
    Syntax {
        /// Where.
        at: usize,
    },
    /// JSON nested deeper than 128 levels.
    #[error("JSON nested deeper than 128 levels at byte {at}")]
    TooDeep {
        /// Where.
        at: usize,
    },
    /// Empty, or anything that does not begin as a JSON object.
    #[error("not a JSON object")]
    NotAnObject,
    /// An object has over 100,000 members.
    #[error("an object with over 100,000 members, at byte {at}")]
    TooManyMembers {
        /// Offset of the first that is too many.
        at: usize,
    },
    /// 1 GiB or more.
    #[error("1 GiB or larger")]
    TooLarge,
}

impl<'a> Notification<'a> {
    /// Reads a notification: a JSON object in UTF-8, nested 128 levels deep at most.
    ///
    /// While it lives it holds at most six times the memory of `body`; for real notifications
    /// about as much as `body`.
    pub fn parse(body: &'a [u8]) -> Result<Self, Unparsable> {
        Ok(Self {
            document: Document::parse(body)?,
        })
    }

    /// Every `Sign` and `T` at the top level, for
    /// [`CallbackKeys::verify`](crate::signature::callback::CallbackKeys::verify).
    pub fn sign_fields(&self) -> SignFields<'_> {
        let mut fields = SignFields::default();
        for (key, value) in self.root().members().filter(|(_, value)| !value.is_null()) {
            if key.reads("Sign") {
                fields.sign.add(|| as_found(value));
            } else if key.reads("T") {
                fields.t.add(|| as_found(value));
            }
        }
        fields
    }

    /// The receipt of a pulled event: `EventHandle`.
    pub fn handle(&self) -> Option<Cow<'_, str>> {
        let members = self.root().members();
        let mut handles = members.filter(|(key, _)| key.reads("EventHandle"));
        handles.find_map(|(_, value)| value.text().filter(|text| !text.is_empty()))
    }

    /// Whether it has any of what stays at the edge.
    pub fn has_edge(&self) -> bool {
        shape::without_edge(self.root()).count() < self.root().members().count()
    }

    /// The notification without what stays at the edge: EventHandle, Sign and T. No white space
    /// between tokens, which are otherwise as they came.
    pub fn without_edge(&self) -> Vec<u8> {
        let mut kept = Vec::new();
        shape::write_object(shape::without_edge(self.root()), &mut kept);
        kept
    }

    pub(crate) fn root(&self) -> Value<'_> {
        self.document.root()
    }
}

fn as_found(value: Value<'_>) -> Cow<'_, str> {
    value.text().unwrap_or(Cow::Borrowed(value.raw()))
}
