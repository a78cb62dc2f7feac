//! What makes an event the same event.

use std::cell::RefCell;

use sha2::{Digest, Sha256};

use crate::canonical;
use crate::document::Value;

/// SHA-256 over five lines: a version tag, the SubAppId, the event type as a JSON string, the
/// canonical data, and the canonical `vodextra` (an empty line where there is none). No line
/// holds a line break, since canonical JSON escapes them. For an event that can happen twice the
/// occurrence follows as a sixth.
#[derive(Debug, Clone)]
pub(crate) struct Identity(Sha256);

/// Changes with anything that would give the same event another id.
const VERSION: &str = "vodbridge-id-1";

/// A buffer that grew beyond this is given back.
const LARGEST_KEPT: usize = 64 * 1024;

thread_local! {
    /// The lines of the event at hand. Used again, since it is as long as the event and needed for
    /// a moment only.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Identity {
    pub(crate) fn new(
        sub_app_id: &str,
        event_type: &str,
        write_data: impl FnOnce(&mut Vec<u8>),
        extra: &[(Value<'_>, Value<'_>)],
    ) -> Self {
        TEXT.with_borrow_mut(|text| {
            text.clear();
            text.shrink_to(LARGEST_KEPT);
            text.extend_from_slice(VERSION.as_bytes());
            text.push(b'\n');
            text.extend_from_slice(sub_app_id.as_bytes());
            text.push(b'\n');
            vodbridge_core::cloudevents::write_string(text, event_type);
            text.push(b'\n');
            write_data(text);
            text.push(b'\n');
            if !extra.is_empty() {
                canonical::write_object(extra.iter().copied(), text);
            }
            Self(Sha256::new_with_prefix(text))
        })
    }

    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        self.0.clone().finalize().into()
    }

    /// The event's id: 64 hex digits.
    pub(crate) fn id(mut self, occurrence: Option<&str>) -> String {
        if let Some(occurrence) = occurrence {
            self.0.update(b"\n");
            self.0.update(occurrence);
        }
        hex(&self.0.finalize())
    }
}

/// An id for what never became an event: 64 hex digits of SHA-256 over the bytes, the same for
/// every copy of a body that cannot be read.
pub fn raw_id(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// Two lower-case digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    /// The digests are those of `sha256sum` over the lines that [`Identity`] describes.
    #[test]
    fn is_the_digest_of_its_lines() {
        let text = r#"{"X":{"b":null,"a":[1.0,null]},"Y":{"k":"\u4e2d"}}"#;
        let document = Document::parse(text.as_bytes()).unwrap();
        let members: Vec<_> = document.root().members().collect();
        let identity = |extra| {
            let data = |out: &mut Vec<u8>| canonical::write(members[0].1, out);
            Identity::new("1500012345", "A\"b", data, extra)
        };
        // printf 'vodbridge-id-1\n1500012345\n"A\\"b"\n{"a":[1.0,null]}\n'
        let plain = "f35da2b4f9923e6275193bc73684b94143c2c81f196fb82a5a61a7c700a5ea6b";
        assert_eq!(identity(&[]).id(None), plain);
        assert_eq!(hex(&identity(&[]).fingerprint()), plain);
        // … '{"Y":{"k":"中"}}'
        let extra = "0e42dc3663c4f90ef003459a42826c2805d691e8cada15b54a439e66eed3d9b3";
        assert_eq!(identity(&members[1..]).id(None), extra);
        // … '\nhandle'
        let occurred = "bf00650c3cf161a12010e572b1dca85a81149be0924c9eb67b1eb449761ca726";
        assert_eq!(identity(&members[1..]).id(Some("handle")), occurred);
    }
}
