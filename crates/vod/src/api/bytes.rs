//! Just enough of JSON to find where values begin and end, over bytes that need not be JSON inside.

/// The bytes of a value whose text may be anything between its brackets or quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Where the structure ends to make sense, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub(super) usize);

impl Broken {
    /// Where the `part` of a `whole` begins.
    pub(super) fn at(part: &[u8], whole: &[u8]) -> Self {
        Self(part.as_ptr() as usize - whole.as_ptr() as usize)
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn broken<T>(&self) -> Result<T, Broken> {
        Err(Broken(self.at))
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Result<u8, Broken> {
        let rest = &self.bytes[self.at..];
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        self.at += rest.iter().take_while(blank).count();
        self.bytes.get(self.at).copied().ok_or(Broken(self.at))
    }

    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.peek()? != byte {
            return self.broken();
        }
        self.at += 1;
        Ok(())
    }

    /// Nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => self.broken(),
        }
    }

    /// Hands every member of an object to `each`, which takes its value off the cursor: its key,
    /// between the quotes. Gives the whole object.
    pub(super) fn members(
        &mut self,
        mut each: impl FnMut(&'a [u8], &mut Self) -> Result<(), Broken>,
    ) -> Result<&'a [u8], Broken> {
        self.expect(b'{')?;
        let start = self.at - 1;
        self.list(b'}', |cursor| {
            cursor.peek()?;
            let key = cursor.string()?;
            cursor.expect(b':')?;
            each(&key[1..key.len() - 1], cursor)
        })?;
        Ok(&self.bytes[start..self.at])
    }

    /// The elements of an array, `most` of them at most; none where null stands in its place.
    pub(super) fn elements(&mut self, most: usize) -> Result<Vec<&'a [u8]>, Broken> {
        let mut elements = Vec::new();
        if self.peek()? != b'[' {
            return match self.value()? {
                b"null" => Ok(elements),
                other => Err(Broken::at(other, self.bytes)),
            };
        }
        self.at += 1;
        self.list(b']', |cursor| {
            if elements.len() == most {
                return cursor.broken();
            }
            elements.push(cursor.value()?);
            Ok(())
        })?;
        Ok(elements)
    }

    fn list(
        &mut self,
        closing: u8,
        mut item: impl FnMut(&mut Self) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        if self.peek()? == closing {
            self.at += 1;
            return Ok(());
        }
        loop {
            item(self)?;
            let next = self.peek()?;
            if next != closing && next != b',' {
                return self.broken();
            }
            self.at += 1;
            if next == closing {
                return Ok(());
            }
        }
    }

    /// One value, of any depth and whatever its strings hold.
    pub(super) fn value(&mut self) -> Result<&'a [u8], Broken> {
        match self.peek()? {
            b'"' => self.string(),
            b'{' | b'[' => self.brackets(),
            _ => self.scalar(),
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<&'a [u8], Broken> {
        let start = self.at;
        if self.bytes.get(start) != Some(&b'"') {
            return self.broken();
        }
        self.at += 1;
        loop {
            match memchr::memchr2(b'"', b'\\', &self.bytes[self.at..]) {
                None => return Err(Broken(self.bytes.len())),
                Some(plain) => self.at += plain,
            }
            if self.bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(&self.bytes[start..self.at]);
            }
            // What is escaped belongs to the string, a quote too.
            self.at = (self.at + 2).min(self.bytes.len());
        }
    }

    /// All up to the bracket that closes the first one. Which kind it is does not count: what is
    /// inside is somebody else's to judge.
    fn brackets(&mut self) -> Result<&'a [u8], Broken> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.bytes.get(self.at) {
                None => return self.broken(),
                Some(b'"') => {
                    self.string()?;
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') => depth -= 1,
                Some(_) => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(&self.bytes[start..self.at]);
            }
        }
    }

    /// A number, a word, or what stands in their place.
    fn scalar(&mut self) -> Result<&'a [u8], Broken> {
        let rest = &self.bytes[self.at..];
        let delimiter = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b':' | b'"' | b'{' | b'[');
        let length = rest.iter().position(delimiter).unwrap_or(rest.len());
        let text = rest[..length].trim_ascii_end();
        if text.is_empty() {
            return self.broken();
        }
        self.at += length;
        Ok(text)
    }
}
