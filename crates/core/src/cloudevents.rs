//! The CloudEvents 1.0 JSON format, and what its protocol bindings share.
//!
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;

use crate::Event;

/// Content type of a structured event.
pub const STRUCTURED_CONTENT_TYPE: &str = "application/cloudevents+json; charset=UTF-8";
/// Content type of the data of every event that vodbridge makes.
pub const DATA_CONTENT_TYPE: &str = "application/json";
/// The version of the specification.
pub const SPEC_VERSION: &str = "1.0";

/// How an event is laid out in a broker's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The whole event as JSON in the body.
    #[default]
    Structured,
    /// The data in the body, the attributes in headers.
    Binary,
}

/// Writes `{"specversion":…,…,"data":` with every attribute of the event.
pub(crate) fn write_attributes(out: &mut Vec<u8>, event: &Event) {
    out.extend_from_slice(b"{\"specversion\":\"1.0\"");
    member(out, "id", &event.id);
    member(out, "source", &event.source);
    member(out, "type", &event.ty);
    if let Some(subject) = &event.subject {
        member(out, "subject", subject);
    }
    member(out, "time", &event.time);
    member(out, "datacontenttype", DATA_CONTENT_TYPE);
    if let Some(key) = &event.partition_key {
        member(out, "partitionkey", key);
    }
    for (name, value) in &event.extensions {
        member(out, name, value);
    }
    out.extend_from_slice(b",\"data\":");
}

fn member(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    write_string(out, value);
}

/// Appends `value` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, value: &str) {
    let plain = value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
    if plain {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        // Writing a string into a Vec has no way to fail.
        serde_json::to_writer(out, value).expect("a string is always valid JSON");
    }
}

/// What the HTTP binding, and NATS after it, wants encoded in a header value: controls, space,
/// double quote, percent, and everything beyond printable ASCII.
const HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// An attribute value as the HTTP and NATS protocol bindings put it into a header.
pub fn header_value(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, HEADER).into()
}

/// The attribute value in a header of these bindings; None where it is no UTF-8.
pub fn header_text(value: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(value).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_are_printable_ascii() {
        assert_eq!(header_value("a b\n\"%é"), "a%20b%0A%22%25%C3%A9");
        assert_eq!(header_value("plain-value_1"), "plain-value_1");
        for text in ["", "a b\n\"%é", "100%25", "视频"] {
            assert_eq!(header_text(&header_value(text)).unwrap(), text);
        }
        assert_eq!(header_text("%ff"), None);
    }

    #[test]
    fn strings_are_escaped_as_json() {
        for text in ["plain", "quote\" back\\slash", "line\nbreak\u{1}", "汉字 ☃"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
