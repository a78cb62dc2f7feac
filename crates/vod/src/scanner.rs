//! The grammar of JSON (RFC 8259), held to serde_json by property tests.

use crate::Unparsable;
use crate::document::{Document, ESCAPED, Token};

/// Deepest nesting that is taken; the top-level object is the first level.
pub(crate) const MAX_DEPTH: usize = 128;

/// What may come next.
#[derive(Clone, Copy)]
enum Expect {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Separator,
}

pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    /// The index of each opening token that is not closed yet.
    open: Vec<u32>,
    compact: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Unparsable> {
        if bytes.len() >= ESCAPED as usize {
            return Err(Unparsable::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|e| Unparsable::Utf8 {
            at: e.valid_up_to(),
        })?;
        Ok(Self {
            text,
            bytes,
            at: 0,
            tokens: Vec::with_capacity(bytes.len() / 8 + 8),
            open: Vec::with_capacity(16),
            compact: true,
        })
    }

    pub(crate) fn document(mut self) -> Result<Document<'a>, Unparsable> {
        if !matches!(self.peek(), Ok(b'{')) {
            return Err(Unparsable::NotAnObject);
        }
        let mut expect = Expect::Value;
        loop {
            let byte = self.peek()?;
            expect = match (expect, byte) {
                (Expect::FirstKey, b'}') | (Expect::FirstElement, b']') => self.close(),
                (Expect::Separator, b'}' | b']') if byte == self.closing() => self.close(),
                (Expect::Separator, b',') => {
                    self.at += 1;
                    self.after_comma()
                }
                (Expect::Value | Expect::FirstElement, b'{') => self.open(Expect::FirstKey)?,
                (Expect::Value | Expect::FirstElement, b'[') => self.open(Expect::FirstElement)?,
                (Expect::Value | Expect::FirstElement, _) => self.scalar(byte)?,
                (Expect::FirstKey | Expect::Key, b'"') => self.key()?,
                _ => return Err(self.syntax()),
            };
            if self.open.is_empty() {
                break;
            }
        }
        if self.peek().is_ok() {
            return Err(self.syntax());
        }
        Ok(Document {
            text: self.text,
            tokens: self.tokens,
            compact: self.compact,
        })
    }

    fn syntax(&self) -> Unparsable {
        Unparsable::Syntax { at: self.at }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Result<u8, Unparsable> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.compact = false,
                Some(byte) => return Ok(*byte),
                None => return Err(self.syntax()),
            }
            self.at += 1;
        }
    }

    fn push(&mut self, start: usize, reach: usize) {
        // Both fit: the text is shorter than 2 GiB, and it has no more tokens than bytes.
        self.tokens.push(Token {
            start: start as u32,
            reach: reach as u32,
        });
    }

    fn open(&mut self, next: Expect) -> Result<Expect, Unparsable> {
        if self.open.len() == MAX_DEPTH {
            return Err(Unparsable::TooDeep { at: self.at });
        }
        self.open.push(self.tokens.len() as u32);
        self.push(self.at, 0);
        self.at += 1;
        Ok(next)
    }

    fn close(&mut self) -> Expect {
        if let Some(open) = self.open.pop() {
            self.tokens[open as usize].reach = self.tokens.len() as u32;
        }
        self.push(self.at, 0);
        self.at += 1;
        Expect::Separator
    }

    fn in_object(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| self.bytes[self.tokens[*open as usize].start as usize] == b'{')
    }

    fn closing(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }

    fn after_comma(&self) -> Expect {
        if self.in_object() {
            Expect::Key
        } else {
            Expect::Value
        }
    }

    fn key(&mut self) -> Result<Expect, Unparsable> {
        self.string()?;
        if self.peek()? != b':' {
            return Err(self.syntax());
        }
        self.at += 1;
        Ok(Expect::Value)
    }

    fn scalar(&mut self, first: u8) -> Result<Expect, Unparsable> {
        match first {
            b'"' => self.string()?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        Ok(Expect::Separator)
    }

    fn word(&mut self, word: &str) -> Result<(), Unparsable> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.syntax());
        }
        self.push(self.at, self.at + word.len());
        self.at += word.len();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Unparsable> {
        let start = self.at;
        let mut escaped = 0;
        self.at += 1;
        loop {
            let rest = &self.bytes[self.at..];
            let plain = rest.iter().position(|b| !PLAIN[*b as usize]);
            self.at += plain.unwrap_or(rest.len());
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => escaped = ESCAPED,
                _ => return Err(self.syntax()),
            }
            self.escape()?;
        }
        self.at += 1;
        self.push(start, self.at | escaped as usize);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Unparsable> {
        let length = match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => match self.bytes.get(self.at + 2..self.at + 6) {
                Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => 6,
                _ => return Err(self.syntax()),
            },
            _ => return Err(self.syntax()),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Unparsable> {
        let start = self.at;
        self.skip(b"-");
        if !self.skip(b"0") {
            self.digits()?;
        }
        if self.skip(b".") {
            self.digits()?;
        }
        if self.skip(b"eE") {
            self.skip(b"+-");
            self.digits()?;
        }
        self.push(start, self.at);
        Ok(())
    }

    fn skip(&mut self, any: &[u8]) -> bool {
        let found = self.bytes.get(self.at).is_some_and(|b| any.contains(b));
        self.at += usize::from(found);
        found
    }

    fn digits(&mut self) -> Result<(), Unparsable> {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.syntax());
        }
        self.at += count;
        Ok(())
    }
}

/// The bytes that stand for themselves in a string.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    plain
};
