//! What the engine does not say: that its log broke off before its end.
//!
//! Opening a file, the engine replays its log up to the first frame whose checksum is wrong, and
//! takes the rest for a write that a crash cut short. It is, if at most the last commit is behind
//! the break: every commit was fsynced before the next began. With more behind it, records are lost
//! that were said to be durable.
//!
//! <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::database::PAGE;
use crate::lock::sync;
use crate::store::FILE;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The last bit says that checksums are over big-endian words.
const MAGIC: u32 = 0x377f_0682;

/// Looks at the log that the last owner left, and copies it if it breaks off before its end, since
/// the engine overwrites it. The file must not be open. Returns the last copy, old ones included:
/// it lies there until an operator has seen it.
pub(crate) fn look(directory: &Path) -> io::Result<Option<PathBuf>> {
    let mut copies = Vec::new();
    let copy = |number: usize| directory.join(format!("{FILE}-wal.damaged-{number}"));
    while copy(copies.len() + 1).exists() {
        copies.push(copy(copies.len() + 1));
    }
    let log = directory.join(format!("{FILE}-wal"));
    let commits = match File::open(&log) {
        Ok(file) => commits_behind_the_break(BufReader::with_capacity(1 << 20, file))?,
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    // The last may have been on its way to the disk.
    if commits >= 2 {
        let copy = copy(copies.len() + 1);
        fs::copy(&log, &copy)?;
        File::open(&copy)?.sync_all()?;
        sync(directory)?;
        tracing::error!(
            commits,
            copy = %copy.display(),
            "the log of the store breaks off before its end: records that were said to be durable are lost, or were removed and are back; keep the copy, look at the disk"
        );
        copies.push(copy);
    }
    Ok(copies.pop())
}

fn commits_behind_the_break(mut log: impl Read) -> io::Result<usize> {
    let mut header = [0; HEADER];
    if !fill(&mut log, &mut header)? {
        return Ok(0);
    }
    let mut sum = Sum {
        big_endian: word(&header, 0) & 1 == 1,
        words: (0, 0),
    };
    sum.add(&header[..24]);
    let mut whole = word(&header, 0) & !1 == MAGIC && sum.is(&header[24..]);
    let mut salt = header[16..24].to_owned();
    let mut trust_salt = whole;
    let mut commits = 0;
    let mut frame = vec![0; FRAME_HEADER + PAGE as usize];
    while fill(&mut log, &mut frame)? {
        if !trust_salt {
            salt.copy_from_slice(&frame[8..16]);
            trust_salt = true;
        }
        // Older frames, which a new round has not come to yet, have another salt.
        let ours = frame[8..16] == salt;
        if whole {
            sum.add(&frame[..8]);
            sum.add(&frame[FRAME_HEADER..]);
            whole = ours && sum.is(&frame[16..FRAME_HEADER]);
        }
        let ends_commit = word(&frame, 4) != 0;
        commits += usize::from(!whole && ours && ends_commit);
    }
    Ok(commits)
}

/// The running checksum of the log.
struct Sum {
    big_endian: bool,
    words: (u32, u32),
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        let read = if self.big_endian {
            u32::from_be_bytes
        } else {
            u32::from_le_bytes
        };
        let (mut a, mut b) = self.words;
        for pair in bytes.chunks_exact(8) {
            let (one, two) = pair.split_at(4);
            a = a
                .wrapping_add(read(one.try_into().unwrap_or_default()))
                .wrapping_add(b);
            b = b
                .wrapping_add(read(two.try_into().unwrap_or_default()))
                .wrapping_add(a);
        }
        self.words = (a, b);
    }

    fn is(&self, stored: &[u8]) -> bool {
        self.words == (word(stored, 0), word(stored, 4))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

/// False at the end, and for a rest that does not fill the buffer.
fn fill(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        done => done.map(|()| true),
    }
}
