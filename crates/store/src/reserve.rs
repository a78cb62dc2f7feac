//! Disk space that is kept back, so that a full disk can still be emptied.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use crate::lock::private;

/// Enough to write the log back into the file and to log some removals.
const BYTES: usize = 16 * 1024 * 1024;
const CHUNK: usize = 1024 * 1024;

/// A file of zeros. Removing records needs a little space first; where the disk is full, it is
/// given up for that, and no record is taken in until it is back.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    kept: bool,
}

impl Reserve {
    pub(crate) fn new(path: PathBuf) -> Self {
        let kept = fs::metadata(&path).is_ok_and(|file| file.len() == BYTES as u64);
        Self { path, kept }
    }

    /// Whether the space is there.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Takes the space. Where there is too little, none is taken.
    pub(crate) fn keep(&mut self) -> io::Result<()> {
        if self.kept {
            return Ok(());
        }
        let written = self.fill();
        match &written {
            Ok(()) => self.kept = true,
            Err(_) => self.give_up()?,
        }
        written
    }

    fn fill(&self) -> io::Result<()> {
        let mut file = private().create(true).truncate(true).open(&self.path)?;
        let zeros = vec![0; CHUNK];
        for _ in 0..BYTES / CHUNK {
            file.write_all(&zeros)?;
        }
        // Space that was promised only (delayed allocation) shows here to be missing.
        file.sync_data()
    }

    /// Gives the space back to the disk.
    pub(crate) fn give_up(&mut self) -> io::Result<()> {
        self.kept = false;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
