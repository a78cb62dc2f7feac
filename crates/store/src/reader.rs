//! Looking at a store, beside the bridge that has it if need be.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use vodbridge_core::{Envelope, Label};

use crate::database::Database;
use crate::error::Cause;
use crate::record::{RecordId, Row, time};
use crate::store::FILE;
use crate::{AccessError, StoreError};

/// Records that are read at once: the owner's log is not kept from it for longer than that takes.
const AT_ONCE: usize = 64;
/// Their bytes, but for a single larger one.
const BYTES: i64 = 8 * 1024 * 1024;

/// A store that is looked at and not changed.
pub struct StoreReader {
    database: Database,
    directory: PathBuf,
}

/// A record as it is found on the disk.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its number.
    pub id: RecordId,
    /// The source that it came from.
    pub source: String,
    /// When it came.
    pub received: SystemTime,
    /// Deliveries that did not end well.
    pub attempts: u32,
    /// The sinks that have it already.
    pub settled: Vec<String>,
    /// How long its content is.
    pub bytes: u64,
    /// The event, or what is left of it.
    pub event: Result<Envelope, Remains>,
}

/// What is left of a record that is damaged.
#[derive(Debug, Clone)]
pub struct Remains {
    /// What is wrong with it.
    pub flaw: String,
    /// Its content, where it can be read at all.
    pub content: Option<Bytes>,
}

/// A line of an export.
#[derive(Serialize)]
struct Line<'a> {
    record: RecordId,
    source: &'a str,
    received_at: String,
    attempts: u32,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    settled: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a [Label]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flaw: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_base64: Option<String>,
}

/// What an export has written.
#[derive(Debug, Default)]
pub struct Exported {
    /// Lines, one a record.
    pub records: u64,
    /// Lines without a whole event among them.
    pub damaged: u64,
    /// Why what the store knew of its records could not be read to the end.
    pub broken_off: Option<AccessError>,
}

/// Why an export did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] AccessError),
    /// The output could not be written.
    #[error("cannot write the export")]
    Output(#[from] io::Error),
}

impl StoreReader {
    /// Opens the store in a directory.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let file = existing(directory)?;
        let database = Database::read_only(&file).map_err(|cause| cause.on_opening(directory))?;
        Ok(Self {
            database,
            directory: directory.to_owned(),
        })
    }

    /// The records after a number, oldest first: some of them, or none where there are no more.
    pub fn list(&self, after: Option<RecordId>) -> Result<Vec<Seen>, AccessError> {
        let after = after.map_or(0, |id| id.0);
        let (mut rows, mut bytes) = (Vec::new(), 0_i64);
        let visited = self.database.visit(after, |seq, row| {
            bytes = bytes.saturating_add(row.bytes);
            let fits = rows.is_empty() || (bytes <= BYTES && rows.len() < AT_ONCE);
            if fits {
                rows.push((seq, row));
            }
            fits
        });
        visited.map_err(|error| Cause::from(error).on_access(&self.directory))?;
        Ok(rows
            .into_iter()
            .map(|(seq, row)| self.see(seq, row))
            .collect())
    }

    fn see(&self, seq: i64, row: Row) -> Seen {
        let (found, content) = match self.database.content(seq).map(Bytes::from) {
            Ok(content) => (row.entry(seq, &content), Some(content)),
            Err(flaw) => (Err(flaw), None),
        };
        let event = match found {
            Ok(entry) if !row.damaged => Ok(entry.envelope),
            found => Err(Remains {
                flaw: found.err().map_or_else(
                    || "it was set aside, and is whole now: retry it".to_owned(),
                    |flaw| flaw.to_string(),
                ),
                content,
            }),
        };
        Seen {
            id: RecordId(seq),
            source: row.source,
            received: time(row.received),
            attempts: row.attempts,
            settled: row.settled.names(seq),
            bytes: row.bytes.try_into().unwrap_or_default(),
            event,
        }
    }

    /// Writes every record as a line of JSON: its event token for token, or what is left of it.
    /// Where the table of records breaks off, contents go on without what it knew of them.
    pub fn export(&self, mut out: impl Write) -> Result<Exported, ExportError> {
        let (mut exported, mut after) = (Exported::default(), None);
        loop {
            let seen = match self.list(after) {
                Ok(seen) => seen,
                Err(error) => {
                    exported.broken_off = Some(error);
                    self.list_contents(after)?
                }
            };
            let Some(last) = seen.last() else {
                out.flush()?;
                return Ok(exported);
            };
            after = Some(last.id);
            for record in &seen {
                exported.records += 1;
                exported.damaged += u64::from(record.event.is_err());
                record.write(&mut out)?;
            }
        }
    }

    fn list_contents(&self, after: Option<RecordId>) -> Result<Vec<Seen>, AccessError> {
        let mut seen = Vec::new();
        let visited = self
            .database
            .visit_contents(after.map_or(0, |id| id.0), |seq, content| {
                seen.push(Seen {
                    id: RecordId(seq),
                    source: String::new(),
                    received: time(0),
                    attempts: 0,
                    settled: Vec::new(),
                    bytes: content.len() as u64,
                    event: Err(Remains {
                        flaw: "what the store knew of it cannot be read, nor can it be verified"
                            .to_owned(),
                        content: Some(content.into()),
                    }),
                });
                false
            });
        visited.map_err(|error| Cause::from(error).on_access(&self.directory))?;
        Ok(seen)
    }
}

impl Seen {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let structured;
        let mut line = Line {
            record: self.id,
            source: &self.source,
            received_at: humantime::format_rfc3339_millis(self.received).to_string(),
            attempts: self.attempts,
            settled: &self.settled,
            labels: None,
            event: None,
            flaw: None,
            content: None,
            content_base64: None,
        };
        match &self.event {
            Ok(event) => {
                structured = event.structured();
                line.labels = Some(event.labels());
                line.event = Some(serde_json::from_slice(&structured)?);
            }
            Err(remains) => {
                line.flaw = Some(&remains.flaw);
                if let Some(content) = &remains.content {
                    line.content = std::str::from_utf8(content).ok();
                    let bytes = line.content.is_none().then(|| STANDARD.encode(content));
                    line.content_base64 = bytes;
                }
            }
        }
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")
    }
}

/// The store's file, which must be there: looking must not make one.
pub(crate) fn existing(directory: &Path) -> Result<PathBuf, StoreError> {
    let file = directory.join(FILE);
    if file.is_file() {
        return Ok(file);
    }
    Err(StoreError::Missing {
        directory: directory.to_owned(),
    })
}
