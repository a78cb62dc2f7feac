//! The grammar of JSON (RFC 8259), held to serde_json by property tests.

use crate::Unparsable;
use crate::document::{Document, ESCAPED, OPENING, Token};

/// Deepest nesting that is taken; the top-level object is the first level.
pub(crate) const MAX_DEPTH: usize = 128;

/// Most members that an object may have. Sorting them for the id takes many times the memory of
/// the text, and no real notification has a hundred.
pub(crate) const MAX_MEMBERS: u32 = 100_000;

/// What may come next.
#[derive(Clone, Copy)]
enum Expect {
    Value,
    FirstElement,
    FirstKey,
    Key,
    Separator,
}

/// What is not closed yet.
#[derive(Clone, Copy)]
struct Open {
    /// The index of the opening token.
    token: u32,
    closing: u8,
    members: u32,
}

pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    open: Vec<Open>,
    compact: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, Unparsable> {
        if bytes.len() >= OPENING as usize {
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
                (Expect::Value | Expect::FirstElement, b'{') => {
                    self.open(b'}', Expect::FirstKey)?
                }
                (Expect::Value | Expect::FirstElement, b'[') => {
                    self.open(b']', Expect::FirstElement)?
                }
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

    fn push(&mut self, start: usize, end: usize, mark: u32) {
        // Both fit below the marks: the text is shorter than 1 GiB.
        self.tokens.push(Token {
            start: start as u32,
            reach: end as u32 | mark,
        });
    }

    fn open(&mut self, closing: u8, next: Expect) -> Result<Expect, Unparsable> {
        if self.open.len() == MAX_DEPTH {
            return Err(Unparsable::TooDeep { at: self.at });
        }
        // There are no more tokens than bytes.
        self.open.push(Open {
            token: self.tokens.len() as u32,
            closing,
            members: 0,
        });
        self.push(self.at, 0, OPENING);
        self.at += 1;
        Ok(next)
    }

    fn close(&mut self) -> Expect {
        if let Some(open) = self.open.pop() {
            self.tokens[open.token as usize].reach |= self.tokens.len() as u32;
        }
        self.push(self.at, self.at + 1, 0);
        self.at += 1;
        Expect::Separator
    }

    /// The bracket that closes what is open innermost.
    fn closing(&self) -> u8 {
        self.open.last().map_or(0, |open| open.closing)
    }

    fn after_comma(&self) -> Expect {
        match self.closing() {
            b'}' => Expect::Key,
            _ => Expect::Value,
        }
    }

    fn key(&mut self) -> Result<Expect, Unparsable> {
        if let Some(object) = self.open.last_mut() {
            object.members += 1;
            if object.members > MAX_MEMBERS {
                return Err(Unparsable::TooManyMembers { at: self.at });
            }
        }
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
        self.push(self.at, self.at + word.len(), 0);
        self.at += word.len();
        Ok(())
    }

    fn string(&mut self) -> Result<(), Unparsable> {
        let start = self.at;
        let mut escaped = 0;
        self.at += 1;
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.bytes.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => escaped = ESCAPED,
                _ => return Err(self.syntax()),
            }
            self.escape()?;
        }
        self.at += 1;
        self.push(start, self.at, escaped);
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
        self.push(start, self.at, 0);
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

/// How many bytes at the start of `text` stand for themselves in a string: all up to the first
/// quote, backslash or control character. Looks at eight at a time.
fn plain(text: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    // The high bit of each byte that is zero, exact up to and including the lowest such byte.
    let zeros = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
    let mut at = 0;
    while let Some(eight) = text[at..].first_chunk() {
        let eight = u64::from_le_bytes(*eight);
        let controls = eight.wrapping_sub(ONES * 0x20) & !eight & HIGHS;
        let quotes = zeros(eight ^ (ONES * u64::from(b'"')));
        let special = quotes | zeros(eight ^ (ONES * u64::from(b'\\'))) | controls;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = text[at..].iter();
    at + rest
        .take_while(|b| **b >= 0x20 && **b != b'"' && **b != b'\\')
        .count()
}
