//! JSON as a sequence of tokens, so that two documents can be compared token for token: white
//! space aside, nothing may differ, be it the spelling of a number, an escape, or a key twice.
//!
//! Written for the tests alone: the product's own reader would hide its own mistakes.

use anyhow::{Context, Result, bail};

/// Tokens, each as it is written.
pub type Tokens<'a> = Vec<&'a [u8]>;

/// The tokens of a document.
///
/// # Errors
/// Where something is no JSON token. The grammar between tokens is not checked.
pub fn tokens(json: &[u8]) -> Result<Tokens<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        let length = match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            b'"' => string(&json[at..]).with_context(|| format!("open string at byte {at}"))?,
            b'-' | b'0'..=b'9' | b'a'..=b'z' => word(&json[at..]),
            other => bail!("{:?} at byte {at} starts no token", char::from(other)),
        };
        tokens.push(&json[at..at + length]);
        at += length;
    }
    Ok(tokens)
}

fn string(json: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn word(json: &[u8]) -> usize {
    let ends = |b: &u8| !(b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.'));
    json.iter().position(ends).unwrap_or(json.len())
}

/// The members of an object: each key as it is written, without its quotes, and the tokens of
/// its value.
///
/// # Errors
/// Where it is no object.
pub fn members(object: &[u8]) -> Result<Vec<(&[u8], Tokens<'_>)>> {
    parts(object, b"{", b"}")?
        .into_iter()
        .map(key_and_value)
        .collect()
}

fn key_and_value(part: Tokens<'_>) -> Result<(&[u8], Tokens<'_>)> {
    match part.as_slice() {
        [key, colon, value @ ..] if *colon == b":" && key.len() >= 2 => {
            Ok((&key[1..key.len() - 1], value.to_vec()))
        }
        _ => bail!("a member without key or colon"),
    }
}

/// The elements of an array, each as its tokens.
///
/// # Errors
/// Where it is no array.
pub fn elements(array: &[u8]) -> Result<Vec<Tokens<'_>>> {
    parts(array, b"[", b"]")
}

/// The tokens of one member's value.
///
/// # Errors
/// Where the document is no object or has no such member, or has it twice.
pub fn member<'a>(object: &'a [u8], key: &str) -> Result<Tokens<'a>> {
    let mut found = members(object)?
        .into_iter()
        .filter(|(name, _)| *name == key.as_bytes());
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Ok(value),
        (None, _) => bail!("no member {key:?}"),
        _ => bail!("the member {key:?} comes twice"),
    }
}

/// What stands between the commas of the outermost brackets.
fn parts<'a>(json: &'a [u8], open: &[u8], close: &[u8]) -> Result<Vec<Tokens<'a>>> {
    let tokens = tokens(json)?;
    let [first, inner @ .., last] = tokens.as_slice() else {
        bail!("too short")
    };
    if *first != open || *last != close {
        bail!("starts with {:?}", String::from_utf8_lossy(first));
    }
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut depth = 0_usize;
    for token in inner {
        match *token {
            b"{" | b"[" => depth += 1,
            b"}" | b"]" => depth = depth.checked_sub(1).context("closed more than opened")?,
            b"," if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(*token);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    Ok(parts)
}

/// The document with these tokens, without white space.
pub fn joined(tokens: &[&[u8]]) -> Vec<u8> {
    tokens.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_may_differ() {
        let one = tokens(b"{ \"a\" : [1.50, -2e+7, true,\n null, \"\\\"\\u00e9, }\"] }").unwrap();
        assert_eq!(
            one,
            tokens(b"{\"a\":[1.50,-2e+7,true,null,\"\\\"\\u00e9, }\"]}").unwrap()
        );
        for other in [
            r#"{"a":[1.5,-2e+7,true,null,"\"\u00e9, }"]}"#,
            r#"{"a":[1.50,-2e7,true,null,"\"\u00e9, }"]}"#,
            r#"{"a":[1.50,-2e+7,true,null,"\"é, }"]}"#,
            r#"{"a":[1.50,-2e+7,true,null,"\"\u00e9,  }"]}"#,
            r#"{"a":1,"a":[1.50,-2e+7,true,null,"\"\u00e9, }"]}"#,
        ] {
            assert_ne!(one, tokens(other.as_bytes()).unwrap(), "{other}");
        }
    }

    #[test]
    fn takes_documents_apart() {
        let json = br#"{"a": {"x": [1, 2]}, "b": [ {}, [3, 4] ], "c": 5}"#;
        let found = members(json).unwrap();
        assert_eq!(
            found.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            [b"a", b"b", b"c"]
        );
        assert_eq!(joined(&member(json, "a").unwrap()), br#"{"x":[1,2]}"#);
        let b = joined(&member(json, "b").unwrap());
        let parts: Vec<_> = elements(&b)
            .unwrap()
            .iter()
            .map(|part| joined(part))
            .collect();
        assert_eq!(parts, [b"{}".to_vec(), b"[3,4]".to_vec()]);
        assert!(members(b"{}").unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_no_json() {
        assert!(tokens(b"\"open").is_err());
        assert!(tokens(b"\"open\\").is_err());
        assert!(tokens(b"'a'").is_err());
        assert!(members(b"[1]").is_err());
        assert!(member(br#"{"a":1,"a":2}"#, "a").is_err());
        assert!(member(br#"{"b":1}"#, "a").is_err());
    }
}
