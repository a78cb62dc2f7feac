//! One pass over a JSON text into a flat tape of tokens that borrow from it.
//!
//! The tape checks what serde_json's own types do not decide together: grammar, UTF-8 and depth,
//! while duplicate keys, number spellings and escapes stay as they came.

use std::borrow::Cow;

use crate::Unparsable;
use crate::scanner::Scanner;
use crate::unescape;

/// A token of the tape: where it starts, and how far it reaches. 8 bytes, so that the worst text
/// (`[[],[],…`) costs less than six times its size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) start: u32,
    /// Of an opening bracket the index of its closing token, marked with [`OPENING`]; of anything
    /// else the offset of its end, with [`ESCAPED`] in a string that has a backslash.
    pub(crate) reach: u32,
}

/// Marks a string that cannot be read without unescaping.
pub(crate) const ESCAPED: u32 = 1 << 31;

/// Marks the opening bracket of an object or array.
pub(crate) const OPENING: u32 = 1 << 30;

impl Token {
    fn is(self, mark: u32) -> bool {
        self.reach & mark != 0
    }

    fn unmarked(self) -> usize {
        (self.reach & !(ESCAPED | OPENING)) as usize
    }

    fn end(self) -> usize {
        if self.is(OPENING) {
            self.start as usize + 1
        } else {
            self.unmarked()
        }
    }
}

/// A JSON text whose top level is an object.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) text: &'a str,
    pub(crate) tokens: Vec<Token>,
    /// No white space stands between the tokens.
    pub(crate) compact: bool,
}

impl<'a> Document<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Unparsable> {
        Scanner::new(bytes)?.document()
    }

    pub(crate) fn root(&self) -> Value<'_> {
        Value {
            document: self,
            at: 0,
        }
    }
}

/// One value of a document: copied freely, owns nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'d> {
    document: &'d Document<'d>,
    at: usize,
}

impl<'d> Value<'d> {
    fn token(self) -> Token {
        self.document.tokens[self.at]
    }

    fn first_byte(self) -> u8 {
        self.document.text.as_bytes()[self.token().start as usize]
    }

    pub(crate) fn is_object(self) -> bool {
        self.first_byte() == b'{'
    }

    pub(crate) fn is_array(self) -> bool {
        self.first_byte() == b'['
    }

    pub(crate) fn is_null(self) -> bool {
        self.first_byte() == b'n'
    }

    pub(crate) fn is_string(self) -> bool {
        self.first_byte() == b'"'
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self.first_byte(), b'-' | b'0'..=b'9')
    }

    /// The index of the last token that belongs to the value.
    fn last(self) -> usize {
        let token = self.token();
        if token.is(OPENING) {
            token.unmarked()
        } else {
            self.at
        }
    }

    /// The value as it stands in the text.
    pub(crate) fn raw(self) -> &'d str {
        let end = self.document.tokens[self.last()].end();
        &self.document.text[self.token().start as usize..end]
    }

    /// The bytes of [`raw`](Self::raw).
    #[inline]
    pub(crate) fn raw_bytes(self) -> &'d [u8] {
        let end = self.document.tokens[self.last()].end();
        &self.document.text.as_bytes()[self.token().start as usize..end]
    }

    /// Whether the value is a string with a backslash in it.
    pub(crate) fn is_escaped(self) -> bool {
        self.token().is(ESCAPED)
    }

    /// The value of the member that this is the key of.
    pub(crate) fn member_value(self) -> Self {
        Self {
            at: self.at + 1,
            ..self
        }
    }

    /// The content of a string, unescaped, as bytes: UTF-8, in which a lone surrogate takes the
    /// three bytes of its code point. Empty for what is no string.
    pub(crate) fn string_bytes(self) -> Cow<'d, [u8]> {
        if !self.is_string() {
            return Cow::Borrowed(b"");
        }
        let raw = self.raw_bytes();
        let content = &raw[1..raw.len() - 1];
        if self.is_escaped() {
            Cow::Owned(unescape::unescape(content))
        } else {
            Cow::Borrowed(content)
        }
    }

    /// A string unescaped (a lone surrogate becomes U+FFFD), a number as it is spelled, nothing
    /// of any other value.
    pub(crate) fn text(self) -> Option<Cow<'d, str>> {
        if self.is_number() {
            return Some(Cow::Borrowed(self.raw()));
        }
        if !self.is_string() {
            return None;
        }
        if self.is_escaped() {
            let bytes = self.string_bytes();
            return Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()));
        }
        let raw = self.raw();
        Some(Cow::Borrowed(&raw[1..raw.len() - 1]))
    }

    /// Whether the value is a string that reads `name`.
    pub(crate) fn reads(self, name: &str) -> bool {
        if self.is_escaped() {
            return *self.string_bytes() == *name.as_bytes();
        }
        self.plain_content(name.len()) == Some(name.as_bytes())
    }

    /// Whether the value is a string that reads `name`, its first letter in either case: some of
    /// the vendor's pages print `fileId` for `FileId`.
    pub(crate) fn reads_like(self, name: &str) -> bool {
        let Some((first, rest)) = name.as_bytes().split_first() else {
            return false;
        };
        self.plain_content(name.len())
            .is_some_and(|content| content[1..] == *rest && content[0].eq_ignore_ascii_case(first))
    }

    /// The content of a string without escapes that has this length. Of most strings the tape
    /// alone tells that they have another.
    fn plain_content(self, length: usize) -> Option<&'d [u8]> {
        let token = self.token();
        let start = token.start as usize;
        if token.reach as usize != start + length + 2 || !self.is_string() {
            return None;
        }
        Some(&self.document.text.as_bytes()[start + 1..start + 1 + length])
    }

    /// Key and value of each member, in document order, duplicates included. Empty for what is
    /// no object.
    pub(crate) fn members(self) -> impl Iterator<Item = (Value<'d>, Value<'d>)> {
        let mut tokens = self.inside(self.is_object());
        std::iter::from_fn(move || Some((tokens.next()?, tokens.next()?)))
    }

    /// The elements of an array; empty for what is none.
    pub(crate) fn elements(self) -> impl Iterator<Item = Value<'d>> {
        self.inside(self.is_array())
    }

    fn inside(self, within: bool) -> impl Iterator<Item = Value<'d>> {
        let (mut at, end) = if within {
            (self.at + 1, self.last())
        } else {
            (0, 0)
        };
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let value = Value { at, ..self };
                at = value.last() + 1;
                value
            })
        })
    }

    /// Appends the value token for token, without white space between the tokens.
    pub(crate) fn write_compact(self, out: &mut Vec<u8>) {
        let document = self.document;
        if document.compact {
            out.extend_from_slice(self.raw_bytes());
            return;
        }
        let text = document.text.as_bytes();
        let is_separator = |byte: &u8| matches!(byte, b',' | b':');
        let tokens = &document.tokens[self.at..=self.last()];
        for pair in tokens.windows(2) {
            let (end, next) = (pair[0].end(), pair[1].start as usize);
            // The separator mostly stands right behind its token and is copied with it.
            if is_separator(&text[end]) {
                out.extend_from_slice(&text[pair[0].start as usize..=end]);
            } else {
                out.extend_from_slice(&text[pair[0].start as usize..end]);
                out.extend(text[end..next].iter().find(|byte| is_separator(byte)));
            }
        }
        if let Some(last) = tokens.last() {
            out.extend_from_slice(&text[last.start as usize..last.end()]);
        }
    }
}
