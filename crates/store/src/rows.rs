//! The statements over the store's tables.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::FromSql;
use rusqlite::{Error, OptionalExtension, Result, Row as Columns, Statement, ffi, params};

use crate::database::Database;
use crate::error::is_damage;
use crate::later::Later;
use crate::record::{Flaw, Row, Settled};

const ROWS: &str =
    "select seq, source, received, attempts, key, bytes, digest, damaged, settled from record";

/// What the store remembers of a record without asking the disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) key: Option<i64>,
    pub(crate) damaged: bool,
}

impl Database {
    /// Writes all or nothing, and returns once it is durable.
    pub(crate) fn write<'a>(
        &self,
        records: impl Iterator<Item = (i64, &'a Row, &'a [u8])>,
        later: &Later,
    ) -> Result<Vec<Known>> {
        self.write_with(records, later, |content, seq| {
            content.execute([seq]).map(|_| ())
        })
    }

    /// Writes it where pages of the contents cannot be read, at which the engine looks to remove
    /// what is beside them too: a content that cannot be removed is left, as nobody's.
    pub(crate) fn write_around_damage(&self, later: &Later) -> Result<Vec<Known>> {
        let mut left = BTreeSet::new();
        loop {
            let mut failed = None;
            let written = self.write_with(std::iter::empty(), later, |content, seq| {
                if left.contains(&seq) {
                    return Ok(());
                }
                let removed = content.execute([seq]).map(|_| ());
                removed.inspect_err(|_| failed = Some(seq))
            });
            match (written, failed) {
                (Err(error), Some(seq)) if error.sqlite_error_code().is_some_and(is_damage) => {
                    tracing::warn!(record = seq, %error, "the space of a removed record is lost");
                    left.insert(seq);
                }
                (written, _) => return written,
            }
        }
    }

    fn write_with<'a>(
        &self,
        records: impl Iterator<Item = (i64, &'a Row, &'a [u8])>,
        later: &Later,
        forget: impl FnMut(&mut Statement<'_>, i64) -> Result<()>,
    ) -> Result<Vec<Known>> {
        let transaction = self.connection.unchecked_transaction()?;
        let gone = self.remove(later.removed.iter(), forget)?;
        self.count_attempts(&later.attempted)?;
        self.settle(&later.settled)?;
        self.insert(records)?;
        transaction.commit()?;
        Ok(gone)
    }

    fn insert<'a>(&self, records: impl Iterator<Item = (i64, &'a Row, &'a [u8])>) -> Result<()> {
        let mut record = self.connection.prepare(
            "insert into record (seq, source, received, attempts, key, bytes, digest, damaged)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
        )?;
        let mut content = self
            .connection
            .prepare("insert into content (seq, kept) values (?1, ?2)")?;
        for (seq, row, kept) in records {
            record.execute(params![
                seq,
                row.source,
                row.received,
                row.attempts,
                row.key,
                row.bytes,
                row.digest
            ])?;
            content.execute(params![seq, kept])?;
        }
        Ok(())
    }

    fn remove<'a>(
        &self,
        numbers: impl Iterator<Item = &'a i64>,
        mut forget: impl FnMut(&mut Statement<'_>, i64) -> Result<()>,
    ) -> Result<Vec<Known>> {
        let mut record = self
            .connection
            .prepare("delete from record where seq = ?1 returning key, damaged")?;
        let mut content = self
            .connection
            .prepare("delete from content where seq = ?1")?;
        let mut removed = Vec::new();
        for seq in numbers {
            removed.extend(record.query_row([seq], |row| Ok(known(row))).optional()?);
            forget(&mut content, *seq)?;
        }
        Ok(removed)
    }

    fn count_attempts(&self, attempted: &BTreeMap<i64, u32>) -> Result<()> {
        let mut statement = self
            .connection
            .prepare("update record set attempts = attempts + ?2 where seq = ?1")?;
        for (seq, more) in attempted {
            statement.execute(params![seq, more])?;
        }
        Ok(())
    }

    fn settle(&self, settled: &BTreeMap<i64, Settled>) -> Result<()> {
        let mut statement = self
            .connection
            .prepare("update record set settled = ?2 where seq = ?1")?;
        for (seq, settled) in settled {
            statement.execute(params![seq, settled.0])?;
        }
        Ok(())
    }

    /// Marks a record as damaged.
    pub(crate) fn set_aside(&self, seq: i64) -> Result<()> {
        self.execute("update record set damaged = 1 where seq = ?1", seq)
    }

    /// Takes a record for whole and never tried.
    pub(crate) fn renew(&self, seq: i64) -> Result<()> {
        let update = "update record set damaged = 0, attempts = 0 where seq = ?1";
        self.execute(update, seq)
    }

    fn execute(&self, statement: &str, seq: i64) -> Result<()> {
        self.connection.execute(statement, [seq]).map(|_| ())
    }

    /// Shows every record's key and whether it is damaged.
    pub(crate) fn census(&self, mut each: impl FnMut(Known)) -> Result<()> {
        let mut statement = self.connection.prepare("select key, damaged from record")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(known(row));
        }
        Ok(())
    }

    /// When the oldest record came that is not damaged.
    pub(crate) fn oldest(&self) -> Result<Option<i64>> {
        let query = "select received from record where damaged = 0 order by seq limit 1";
        self.connection
            .query_row(query, [], |row| Ok(value(row, 0)))
            .optional()
    }

    /// Shows the records after a number, in their order, for as long as `each` says true.
    pub(crate) fn visit(&self, after: i64, mut each: impl FnMut(i64, Row) -> bool) -> Result<()> {
        let query = format!("{ROWS} where seq > ?1 order by seq");
        let mut statement = self.connection.prepare(&query)?;
        let mut rows = statement.query([after])?;
        let mut last = after;
        while let Some(columns) = rows.next()? {
            let seq = columns.get(0)?;
            // Whoever goes on from the last one would never come to an end.
            if seq <= last {
                return Err(out_of_order());
            }
            last = seq;
            if !each(seq, row(columns)) {
                break;
            }
        }
        Ok(())
    }

    /// Shows contents after a number, whatever the records say, for as long as they can be read.
    pub(crate) fn visit_contents(
        &self,
        after: i64,
        mut each: impl FnMut(i64, Vec<u8>) -> bool,
    ) -> Result<()> {
        let query = "select seq, kept from content where seq > ?1 order by seq";
        let mut statement = self.connection.prepare(query)?;
        let mut rows = statement.query([after])?;
        let mut last = after;
        while let Some(columns) = rows.next()? {
            let seq = columns.get(0)?;
            if seq <= last {
                return Err(out_of_order());
            }
            last = seq;
            if !each(seq, value(columns, 1)) {
                break;
            }
        }
        Ok(())
    }

    /// One record.
    pub(crate) fn find(&self, seq: i64) -> Result<Option<Row>> {
        let query = format!("{ROWS} where seq = ?1");
        self.connection
            .query_row(&query, [seq], |columns| Ok(row(columns)))
            .optional()
    }

    /// The content of a record, checked by nothing but the engine.
    pub(crate) fn content(&self, seq: i64) -> std::result::Result<Vec<u8>, Flaw> {
        let query = "select kept from content where seq = ?1";
        let content = self.connection.query_row(query, [seq], |row| row.get(0));
        let content = content.optional().map_err(Flaw::Unreadable)?;
        content.ok_or(Flaw::Gone)
    }
}

fn out_of_order() -> Error {
    let what = "records are not in their order".to_owned();
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(what))
}

/// A value that is not what was written makes the checksum wrong; it must not end a whole read.
fn value<T: FromSql + Default>(columns: &Columns<'_>, index: usize) -> T {
    columns.get(index).unwrap_or_default()
}

fn row(columns: &Columns<'_>) -> Row {
    Row {
        source: value(columns, 1),
        received: value(columns, 2),
        attempts: value(columns, 3),
        key: value(columns, 4),
        bytes: value(columns, 5),
        digest: value(columns, 6),
        damaged: value(columns, 7),
        settled: Settled(value(columns, 8)),
    }
}

fn known(columns: &Columns<'_>) -> Known {
    Known {
        key: value(columns, 0),
        damaged: value(columns, 1),
    }
}
