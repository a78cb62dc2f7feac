//! What is kept, and how it is known to be whole.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use thiserror::Error;
use vodbridge_core::{Envelope, RestoreError};

/// The number of a record: later records have higher ones, and none is given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RecordId(pub(crate) i64);

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RecordId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// An event that waits for its sinks.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The source that it came from, by the operator's name.
    pub source: String,
    /// When it came, kept to the millisecond.
    pub received: SystemTime,
    /// Deliveries that were tried and did not end well.
    pub attempts: u32,
    /// The sinks that have it already, by the operator's names.
    pub settled: Vec<String>,
    /// The event.
    pub envelope: Envelope,
}

/// An entry that the store holds.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its number.
    pub id: RecordId,
    /// What it is.
    pub entry: Entry,
}

/// Why a record cannot be delivered as it is on the disk.
#[derive(Debug, Error)]
pub(crate) enum Flaw {
    #[error("its content is gone")]
    Gone,
    #[error("its content cannot be read: {0}")]
    Unreadable(rusqlite::Error),
    #[error("its checksum does not match its content")]
    Checksum,
    #[error("its content is no event: {0}")]
    NoEvent(#[from] RestoreError),
}

/// What the table of records has of one, next to its content.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) source: String,
    pub(crate) received: i64,
    pub(crate) attempts: u32,
    /// Where there is a partition key.
    pub(crate) key: Option<i64>,
    pub(crate) bytes: i64,
    pub(crate) digest: [u8; 16],
    pub(crate) damaged: bool,
    pub(crate) settled: Settled,
}

/// The sinks that have a record, as one text; what it stood for cannot be told from it without the
/// record, so that a damaged one stands for none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settled(pub(crate) String);

impl Settled {
    pub(crate) fn new(names: &[String], seq: i64) -> Self {
        match names.is_empty() {
            true => Self::default(),
            false => Self(Self::with_check(&names.join(","), seq)),
        }
    }

    fn with_check(names: &str, seq: i64) -> String {
        let mut hash = Sha256::new();
        hash.update(seq.to_be_bytes());
        hash.update(names.as_bytes());
        let check = u64::from_be_bytes(first_bytes(&hash.finalize()));
        format!("{names} {check:016x}")
    }

    pub(crate) fn names(&self, seq: i64) -> Vec<String> {
        let names = self.0.split(' ').next().unwrap_or_default();
        if names.is_empty() || Self::with_check(names, seq) != self.0 {
            return Vec::new();
        }
        names.split(',').map(str::to_owned).collect()
    }
}

impl Row {
    /// The row and the content of an entry.
    pub(crate) fn of(entry: &Entry) -> (Self, Vec<u8>) {
        let content = entry.envelope.keep();
        let mut row = Self {
            source: entry.source.clone(),
            received: millis(entry.received),
            attempts: entry.attempts,
            key: entry.envelope.partition_key().map(key_hash),
            bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
            digest: [0; 16],
            damaged: false,
            settled: Settled::default(),
        };
        row.digest = row.digest_over(&content);
        (row, content)
    }

    /// The entry, if row and content are what was written.
    pub(crate) fn entry(&self, seq: i64, content: &Bytes) -> Result<Entry, Flaw> {
        if self.digest_over(content) != self.digest {
            return Err(Flaw::Checksum);
        }
        Ok(Entry {
            source: self.source.clone(),
            received: time(self.received),
            attempts: self.attempts,
            settled: self.settled.names(seq),
            envelope: Envelope::restore(content)?,
        })
    }

    /// Over everything but what may change.
    fn digest_over(&self, content: &[u8]) -> [u8; 16] {
        let mut hash = Sha256::new();
        hash.update(self.received.to_be_bytes());
        hash.update(self.key.unwrap_or_default().to_be_bytes());
        hash.update(self.bytes.to_be_bytes());
        hash.update(self.source.as_bytes());
        hash.update([0]);
        hash.update(content);
        first_bytes(&hash.finalize())
    }
}

/// Stands for a partition key, in memory and on the disk.
pub(crate) fn key_hash(key: &str) -> i64 {
    i64::from_be_bytes(first_bytes(&Sha256::digest(key)))
}

fn first_bytes<const N: usize>(digest: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.copy_from_slice(&digest[..N]);
    first
}

pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

pub(crate) fn time(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.try_into().unwrap_or_default())
}
