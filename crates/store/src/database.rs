//! The engine: SQLite with a write-ahead log, and an fsync of it in every commit.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, ffi};

use crate::error::Cause;
use crate::lock::{private, sync};

/// Marks the file as a store ("vodb").
const APPLICATION: i32 = 0x766f_6462;
/// Of the tables below.
const VERSION: i32 = 1;
/// Several records of the usual size share a page; a lone one does not cost much more.
pub(crate) const PAGE: u32 = 16 * 1024;
/// After so many pages the log is written back: 4 MiB.
const LOG_PAGES: u32 = 256;
const CACHE_KIB: i32 = 16 * 1024;
/// Another process that lists the store reads a page of records at a time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A number is used once: so many are set aside at a time.
const NUMBERS: i64 = 1_000_000;

/// What is small lies apart from the contents, so that a start reads the one and not the other.
const SCHEMA: &str = "
create table record (
    seq integer primary key, source text not null, received integer not null,
    attempts integer not null, key integer, bytes integer not null, digest blob not null,
    damaged integer not null, settled text not null default ''
);
create table content (seq integer primary key, kept blob not null);
create table numbers (next integer not null);
insert into numbers values (1);
";

/// An open store file.
pub(crate) struct Database {
    pub(crate) connection: Connection,
}

impl Database {
    /// Opens the file for its owner, and makes it where it is missing. Returns once everything
    /// that the log holds is in the file and fsynced: after a failed fsync the system may have
    /// pages of the log in memory that never reached the disk.
    pub(crate) fn open(file: &Path) -> Result<Self, Cause> {
        // The engine gives its other files the mode of this one.
        private().create(true).truncate(false).open(file)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Self::connect(file, flags)?;
        let empty = database.get("select count(*) from sqlite_schema")? == 0;
        if !empty {
            database.recognise()?;
        }
        database.set("page_size", PAGE)?;
        let wal = "pragma journal_mode = wal";
        let mode: String = database.connection.query_row(wal, [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(Cause::NoLog(mode));
        }
        database.set("synchronous", "full")?;
        database.set("wal_autocheckpoint", LOG_PAGES)?;
        // So that what one commit changes is not written to the log twice. Negative: in KiB.
        database.set("cache_size", -CACHE_KIB)?;
        database.set("cell_size_check", true)?;
        if empty {
            database.create()?;
        }
        database.write_back()?;
        database.check()?;
        if let Some(directory) = file.parent() {
            sync(directory)?;
        }
        Ok(database)
    }

    /// Opens the file to look at it, beside its owner if need be.
    pub(crate) fn read_only(file: &Path) -> Result<Self, Cause> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Self::connect(file, flags)?;
        database.recognise()?;
        Ok(database)
    }

    fn connect(file: &Path, flags: OpenFlags) -> Result<Self, Cause> {
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(PATIENCE)?;
        let database = Self { connection };
        // A root file system that is read-only has nowhere else to put them.
        database.set("temp_store", "memory")?;
        Ok(database)
    }

    fn create(&self) -> Result<(), Cause> {
        let transaction = self.connection.unchecked_transaction()?;
        transaction.execute_batch(SCHEMA)?;
        self.set("application_id", APPLICATION)?;
        self.set("user_version", VERSION)?;
        Ok(transaction.commit()?)
    }

    fn recognise(&self) -> Result<(), Cause> {
        let ours = self.get("pragma application_id")? == i64::from(APPLICATION)
            && self.get("pragma user_version")? == i64::from(VERSION);
        if ours { Ok(()) } else { Err(Cause::Foreign) }
    }

    /// Whether the table of records holds together: it says which contents there must be.
    fn check(&self) -> Result<(), Cause> {
        let check = "pragma quick_check(record)";
        let found: String = self.connection.query_row(check, [], |row| row.get(0))?;
        if found == "ok" {
            return Ok(());
        }
        let corrupt = ffi::Error::new(ffi::SQLITE_CORRUPT);
        Err(rusqlite::Error::SqliteFailure(corrupt, Some(found)).into())
    }

    /// Brings the log into the file, fsyncs it and empties the log.
    pub(crate) fn write_back(&self) -> Result<(), Cause> {
        let (log, written): (i64, i64) =
            self.connection
                .query_row("pragma wal_checkpoint(truncate)", [], |row| {
                    Ok((row.get(1)?, row.get(2)?))
                })?;
        // A reader can keep the log from being emptied, but not from being written back to where
        // that reader stands.
        if log == written {
            Ok(())
        } else {
            Err(Cause::Busy)
        }
    }

    /// Bytes of the file that hold something.
    pub(crate) fn used(&self) -> Result<u64, Cause> {
        let pages = self.get("pragma page_count")? - self.get("pragma freelist_count")?;
        Ok(pages.try_into().unwrap_or(0) * u64::from(PAGE))
    }

    /// Gives the space of an empty store back to the disk.
    pub(crate) fn shrink(&self) -> Result<(), Cause> {
        self.connection.execute_batch("vacuum")?;
        self.write_back()
    }

    /// Bytes of the file, those that hold nothing included.
    pub(crate) fn size(&self) -> Result<u64, Cause> {
        Ok(self.get("pragma page_count")?.try_into().unwrap_or(0) * u64::from(PAGE))
    }

    /// The first of [`NUMBERS`] numbers that no record has had, whatever became of the last ones.
    pub(crate) fn numbers(&self) -> Result<std::ops::Range<i64>, Cause> {
        let highest = "select coalesce(max(seq), 0) from";
        let first = self
            .get("select next from numbers")?
            .max(self.get(&format!("{highest} record"))? + 1)
            .max(self.get(&format!("{highest} content"))? + 1);
        let range = first..first + NUMBERS;
        self.connection
            .execute("update numbers set next = ?1", [range.end])?;
        Ok(range)
    }

    fn get(&self, query: &str) -> Result<i64, Cause> {
        Ok(self.connection.query_row(query, [], |row| row.get(0))?)
    }

    fn set(&self, pragma: &str, value: impl rusqlite::ToSql) -> Result<(), Cause> {
        Ok(self.connection.pragma_update(None, pragma, value)?)
    }
}
