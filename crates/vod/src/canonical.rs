//! The form of a JSON value that is the same however it is written: what ids are made from.
//!
//! It is what Python's `json.dumps(value, sort_keys=True, ensure_ascii=False,
//! separators=(",", ":"))` writes, but with numbers as they are spelled, members that are null
//! left out at every depth (null elements stay), and members of the same key in document order.

use std::borrow::Cow;

use crate::document::Value;

/// A member by its key, unescaped. `start` holds the first eight bytes, most significant first
/// and filled with zeros: it orders as the key does, and mostly decides.
struct Member<'d> {
    start: u64,
    name: Cow<'d, [u8]>,
    key: Value<'d>,
}

impl<'d> Member<'d> {
    fn of(key: Value<'d>) -> Self {
        let name = key.string_bytes();
        let start = match name.first_chunk() {
            Some(eight) => u64::from_be_bytes(*eight),
            None => (0..8).fold(0, |start, at| {
                start << 8 | u64::from(name.get(at).copied().unwrap_or(0))
            }),
        };
        Self { start, name, key }
    }
}

/// Appends the canonical form of `value`.
pub(crate) fn write(value: Value<'_>, out: &mut Vec<u8>) {
    write_value(value, out, &mut Vec::new());
}

/// Appends the canonical form of an object that has these members.
pub(crate) fn write_object<'d>(
    members: impl Iterator<Item = (Value<'d>, Value<'d>)>,
    out: &mut Vec<u8>,
) {
    write_members(members, out, &mut Vec::new());
}

/// `sorting` is a stack of the members of all open objects, so that each needs no list of its
/// own. The recursion is as deep as the document: 128 at most.
fn write_value<'d>(value: Value<'d>, out: &mut Vec<u8>, sorting: &mut Vec<Member<'d>>) {
    if value.is_object() {
        write_members(value.members(), out, sorting);
    } else if value.is_array() {
        out.push(b'[');
        for (at, element) in value.elements().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_value(element, out, sorting);
        }
        out.push(b']');
    } else {
        write_scalar(value, out);
    }
}

fn write_members<'d>(
    members: impl Iterator<Item = (Value<'d>, Value<'d>)>,
    out: &mut Vec<u8>,
    sorting: &mut Vec<Member<'d>>,
) {
    let first = sorting.len();
    sorting.extend(
        members
            .filter(|(_, value)| !value.is_null())
            .map(|(key, _)| Member::of(key)),
    );
    sorting[first..].sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
    out.push(b'{');
    for at in first..sorting.len() {
        let key = sorting[at].key;
        if at > first {
            out.push(b',');
        }
        write_scalar(key, out);
        out.push(b':');
        write_value(key.member_value(), out, sorting);
    }
    out.push(b'}');
    sorting.truncate(first);
}

fn write_scalar(value: Value<'_>, out: &mut Vec<u8>) {
    if value.is_escaped() {
        write_string(&value.string_bytes(), out);
    } else {
        out.extend_from_slice(value.raw_bytes());
    }
}

fn write_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in bytes {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use crate::document::Document;

    fn canonical(text: &str) -> Vec<u8> {
        let document = Document::parse(text.as_bytes()).unwrap();
        let mut out = Vec::new();
        super::write(document.root(), &mut out);
        out
    }

    #[test]
    fn is_one_form_for_all_spellings() {
        for (text, form) in [
            ("{}", "{}"),
            (r#" { "b" : 1 , "a" : [ ] } "#, r#"{"a":[],"b":1}"#),
            (r#"{"b":null,"a":{"c":null}}"#, r#"{"a":{}}"#),
            (r#"{"a":[null,{"b":null},null]}"#, r#"{"a":[null,{},null]}"#),
            (r#"{"k":2,"j":0,"k":1,"k":null}"#, r#"{"j":0,"k":2,"k":1}"#),
            (r#"{"b":1,"\u0061":2}"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":"\u0041\/\u4e2d"}"#, r#"{"a":"A/中"}"#),
            (
                r#"{"a":"\"\\\u000a\u0001\u001F"}"#,
                r#"{"a":"\"\\\n\u0001\u001f"}"#,
            ),
            (
                r#"{"a":[1.0,1e2,-0,9007199254740993]}"#,
                r#"{"a":[1.0,1e2,-0,9007199254740993]}"#,
            ),
            (
                r#"{"\uffff":1,"\ud83d\ude00":2,"z":3}"#,
                "{\"z\":3,\"\u{ffff}\":1,\"😀\":2}",
            ),
        ] {
            assert_eq!(String::from_utf8(canonical(text)).unwrap(), form, "{text}");
        }
    }

    #[test]
    fn keeps_lone_surrogates_apart() {
        assert_eq!(canonical(r#"{"a":"\uD800"}"#), b"{\"a\":\"\xed\xa0\x80\"}");
        assert_ne!(
            canonical(r#"{"a":"\ud800"}"#),
            canonical(r#"{"a":"\ud801"}"#)
        );
        assert_eq!(
            canonical(r#"{"a":"\ud800"}"#),
            canonical(r#"{"a":"\uD800"}"#)
        );
    }
}
