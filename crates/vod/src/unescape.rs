//! The content of a JSON string, freed of its escapes.

/// Unescapes the content of a valid JSON string. A surrogate pair becomes its code point, a lone
/// surrogate the three bytes that UTF-8 would give its code point (WTF-8), so that two strings
/// are equal exactly if their unescaped bytes are.
pub(crate) fn unescape(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..backslash]);
        rest = &rest[backslash + 1..];
        let Some((kind, after)) = rest.split_first() else {
            break;
        };
        rest = after;
        match kind {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => rest = code_point(rest, &mut out),
            itself => out.push(*itself),
        }
    }
    out.extend_from_slice(rest);
    out
}

/// Appends the code point of the four digits, or the eight of a pair, that `rest` starts with.
fn code_point<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let (first, rest) = hex4(rest);
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = rest.strip_prefix(b"\\u")
        && let (low @ 0xdc00..0xe000, rest) = hex4(second)
    {
        push(out, 0x10000 + ((first - 0xd800) << 10) + (low - 0xdc00));
        return rest;
    }
    push(out, first);
    rest
}

fn push(out: &mut Vec<u8>, code: u32) {
    match char::from_u32(code) {
        Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        None => out.extend([
            0xe0 | (code >> 12) as u8,
            0x80 | (code >> 6 & 0x3f) as u8,
            0x80 | (code & 0x3f) as u8,
        ]),
    }
}

fn hex4(bytes: &[u8]) -> (u32, &[u8]) {
    let (digits, rest) = bytes.split_at(bytes.len().min(4));
    let value = digits.iter().fold(0, |value, digit| {
        value << 4 | (*digit as char).to_digit(16).unwrap_or(0)
    });
    (value, rest)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn frees_every_escape() {
        for (content, bytes) in [
            (r#"a\"b\\c\/d"#, b"a\"b\\c/d".as_slice()),
            (r"\b\f\n\r\t", b"\x08\x0c\n\r\t"),
            (r"\u0041\u00e9\u4e2d", "Aé中".as_bytes()),
            (r"\uD83D\uDE00!", "😀!".as_bytes()),
            (r"\ud83d", b"\xed\xa0\xbd"),
            (r"\ude00\ud83d", b"\xed\xb8\x80\xed\xa0\xbd"),
            (r"\ud83d\u0041", b"\xed\xa0\xbdA"),
            (r"\ud83d\ud83d\ude00", b"\xed\xa0\xbd\xf0\x9f\x98\x80"),
        ] {
            assert_eq!(unescape(content.as_bytes()), bytes, "{content}");
        }
    }
}
