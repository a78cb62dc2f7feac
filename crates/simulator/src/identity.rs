//! Finds the ids in a sample, so that a copy of it can bear others.

use std::fmt::Write;
use std::ops::Range;

/// A body cut at its ids.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// Text up to an id, and which id it is.
    parts: Vec<(Box<str>, Id)>,
    tail: Box<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Id {
    Task,
    /// Equal files of one body share a slot.
    File {
        slot: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A task or a cast: what stands before the last `-` tells its kind and is kept.
    Task,
    /// A file: a number of 64 bits, most often in quotes.
    File,
}

impl Body {
    /// Cuts a body, which has to be JSON. Empty ids stay as they are.
    pub(crate) fn cut(json: &str) -> Self {
        let mut files = Vec::new();
        let mut parts = Vec::new();
        let mut done = 0;
        for (kind, range) in ids(json) {
            let value = &json[range.clone()];
            let (start, id) = match kind {
                Kind::Task => {
                    let kept = value.rfind('-').map_or(0, |dash| dash + 1);
                    (range.start + kept, Id::Task)
                }
                Kind::File => {
                    let known = files.iter().position(|file| *file == value);
                    let slot = known.unwrap_or(files.len());
                    if known.is_none() {
                        files.push(value);
                    }
                    (range.start, Id::File { slot })
                }
            };
            parts.push((json[done..start].into(), id));
            done = range.end;
        }
        let tail = json[done..].into();
        Self { parts, tail }
    }

    /// The body with the ids of notification `index` of a stream.
    pub(crate) fn numbered(&self, stream: u64, index: u64) -> String {
        let mut body = String::with_capacity(4096);
        self.write_numbered(stream, index, &mut body);
        body
    }

    /// Appends what [`numbered`](Self::numbered) returns.
    pub(crate) fn write_numbered(&self, stream: u64, index: u64, body: &mut String) {
        for (text, id) in &self.parts {
            body.push_str(text);
            match id {
                Id::Task => write!(body, "{stream:016x}{index:016x}"),
                // 19 digits, as real ones, and below 2^63.
                Id::File { slot } => {
                    let (stream, index) = (stream % 10_000, index % 1_000_000_000);
                    write!(body, "5285{stream:04}{index:09}{slot:02}")
                }
            }
            .expect("a String takes any text");
        }
        body.push_str(&self.tail);
    }
}

/// The ids of a body and where they stand, without quotes, in the order of the text.
fn ids(json: &str) -> Vec<(Kind, Range<usize>)> {
    let bytes = json.as_bytes();
    let mut found = Vec::new();
    // Of the member whose value is being read, elements of an array included.
    let mut member = None;
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, start);
                at = end + 1;
                if next_is_colon(&bytes[at..]) {
                    member = kind_of(&json[start + 1..end]);
                } else if let Some(kind) = member.filter(|_| end > start + 1) {
                    found.push((kind, start + 1..end));
                }
            }
            b'0'..=b'9' => {
                while bytes.get(at).is_some_and(u8::is_ascii_digit) {
                    at += 1;
                }
                found.extend(member.map(|kind| (kind, start..at)));
            }
            _ => at += 1,
        }
    }
    found
}

fn kind_of(key: &str) -> Option<Kind> {
    match key {
        "TaskId" | "vodTaskId" | "CastId" => Some(Kind::Task),
        "FileId" | "FileIdSet" | "SrcFileId" | "fileId" | "srcFileId" => Some(Kind::File),
        _ => None,
    }
}

/// The place of the quote that closes the string opened at `open`.
fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

fn next_is_colon(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_ids_and_nothing_else() {
        let body = Body::cut(
            r#"{"FileIdSet": ["11", "12"], "Info":[{"FileId":"12","Size":12,"N":"FileId"}],
            "A":{"FileId":"","TaskId":"7-Edit-ab","Text":"\"FileId\":\"13\"","CastId":null}}"#,
        );
        assert_eq!(
            body.numbered(10_002, 3),
            r#"{"FileIdSet": ["5285000200000000300", "5285000200000000301"], "Info":[{"FileId":"5285000200000000301","Size":12,"N":"FileId"}],
            "A":{"FileId":"","TaskId":"7-Edit-00000000000027120000000000000003","Text":"\"FileId\":\"13\"","CastId":null}}"#
        );
    }

    #[test]
    fn a_number_stays_a_number() {
        let body = Body::cut(r#"{"FileId":5285485487985271490,"Size":5}"#);
        assert_eq!(
            body.numbered(0, 1),
            r#"{"FileId":5285000000000000100,"Size":5}"#
        );
    }
}
