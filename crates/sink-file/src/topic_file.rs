//! The file of one topic: whole lines, each durable before it is acknowledged.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bytes::Bytes;

use crate::directory::{Directory, private};

const CHUNK: usize = 64 * 1024;

/// An open file whose first `length` bytes are whole lines. After an error it must be dropped: the
/// kernel may report a failed write-back once only, so a second fsync on the same handle proves
/// nothing.
pub(crate) struct TopicFile {
    file: File,
    length: u64,
}

impl TopicFile {
    /// Opens or makes the file of a topic; an incomplete last line, which nobody was told about,
    /// is set aside. What this changes in the directory is durable when it returns.
    pub(crate) fn open(directory: &Directory, topic: &str) -> io::Result<Self> {
        let path = directory.file(topic);
        let file = match private().create_new(true).open(&path) {
            Ok(file) => {
                directory.sync_file(&file)?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => private().open(&path)?,
            Err(error) => return Err(error),
        };
        let length = whole_lines(&file)?;
        if length < file.metadata()?.len() {
            set_torn_aside(directory, topic, &file, length)?;
        }
        // Also for a file that was there: whoever made it may have died before this.
        directory.sync()?;
        Ok(Self { file, length })
    }

    /// Whether the topic's name still stands for this file, as long as it was left: somebody may
    /// have moved, removed or cut it.
    pub(crate) fn is_in_place(&self, directory: &Directory, topic: &str) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        Ok(match fs::metadata(directory.file(topic)) {
            Ok(named) => {
                (named.dev(), named.ino()) == (ours.dev(), ours.ino()) && named.len() == self.length
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        })
    }

    /// How long it is.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Appends the lines and makes them durable, with one fsync. On failure what was written is
    /// taken back where that is possible, so that a disk that is full does not fill with copies.
    pub(crate) fn append<'a>(
        &mut self,
        directory: &Directory,
        lines: impl Iterator<Item = &'a Bytes>,
    ) -> io::Result<()> {
        let appended = write(&self.file, lines).and_then(|written| {
            directory.sync_file(&self.file)?;
            Ok(written)
        });
        match appended {
            Ok(written) => {
                self.length += written;
                Ok(())
            }
            Err(error) => {
                if let Err(error) = self.file.set_len(self.length) {
                    tracing::debug!(%error, "the next opening has to set the torn line aside");
                }
                Err(error)
            }
        }
    }

    /// Renames the full file and opens a new one in its place.
    pub(crate) fn rotate(self, directory: &Directory, topic: &str) -> io::Result<Self> {
        fs::rename(directory.file(topic), directory.rotated(topic)?)?;
        Self::open(directory, topic)
    }
}

/// Writes the lines; returns the number of bytes.
fn write<'a>(file: &File, lines: impl Iterator<Item = &'a Bytes>) -> io::Result<u64> {
    let mut written = 0;
    let mut out = BufWriter::with_capacity(CHUNK, file);
    let result = lines
        .into_iter()
        .try_for_each(|line| {
            written += line.len() as u64 + 1;
            out.write_all(line)?;
            out.write_all(b"\n")
        })
        .and_then(|()| out.flush());
    // Taken apart, for dropped whole it would write the rest after a failure.
    drop(out.into_parts());
    result.map(|()| written)
}

/// The length of the file up to and with its last newline.
fn whole_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = [0; CHUNK];
    while end > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let part = &mut chunk[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Moves what follows `length` into a file of its own.
fn set_torn_aside(directory: &Directory, topic: &str, file: &File, length: u64) -> io::Result<()> {
    let (aside, path) = directory.create_torn(topic)?;
    let copied = copy_from(file, length, &aside).and_then(|()| directory.sync_file(&aside));
    if let Err(error) = copied {
        remove(&path);
        return Err(error);
    }
    directory.sync()?;
    file.set_len(length)?;
    directory.sync_file(file)?;
    tracing::warn!(topic, aside = %path.display(), "set an incomplete last line aside");
    Ok(())
}

fn copy_from(file: &File, mut start: u64, mut to: &File) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        let read = file.read_at(&mut chunk, start)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&chunk[..read])?;
        start += read as u64;
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "cannot remove an unfinished copy");
    }
}
