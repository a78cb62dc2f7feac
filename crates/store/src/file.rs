//! The store's file through good and bad times: reopened after a failure, checked when read.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use vodbridge_core::{HealthCell, chain};

use crate::database::Database;
use crate::error::{Cause, remedy};
use crate::later::Later;
use crate::level::{Census, Holder, Level};
use crate::record::{Flaw, Record, RecordId, Row};
use crate::reserve::Reserve;
use crate::rows::Known;
use crate::store::{FILE, doing};
use crate::writer::{Append, Order, Read, Taken};
use crate::{AccessError, StoreConfig, StoreError};

/// An empty store larger than this gives its space back.
const SHRINK: u64 = 64 * 1024 * 1024;
/// Records that are read at once, but for a single larger one.
const READ_BYTES: i64 = 8 * 1024 * 1024;
/// Between two attempts to get a failed store going again.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);

/// Knows after every failure that it knows nothing: the file is closed, and opened anew before it
/// is used again. A failed fsync is never repeated on the same pages.
pub(crate) struct StoreFile {
    config: Arc<StoreConfig>,
    database: Option<Database>,
    /// Numbers for records to come.
    numbers: Range<i64>,
    reserve: Reserve,
    stuck: Option<(Instant, AccessError)>,
    /// Keys of records that their appenders held when the reader came by, since it began at the
    /// oldest: what is newer waits until it begins there again.
    blocked: HashSet<i64>,
    level: Arc<Level>,
    health: Arc<HealthCell>,
    damaged_log: Option<PathBuf>,
}

impl StoreFile {
    pub(crate) fn open(
        config: Arc<StoreConfig>,
        level: Arc<Level>,
        health: Arc<HealthCell>,
        damaged_log: Option<PathBuf>,
    ) -> Result<Self, StoreError> {
        let mut file = Self {
            reserve: Reserve::new(config.directory.join("reserve")),
            config,
            database: None,
            numbers: 0..0,
            stuck: None,
            blocked: HashSet::new(),
            level,
            health,
            damaged_log,
        };
        file.open_database()
            .map_err(|cause| cause.on_opening(&file.config.directory))?;
        file.show_health();
        Ok(file)
    }

    fn open_database(&mut self) -> Result<(), Cause> {
        let path = self.config.directory.join(FILE);
        let database = match Database::open(&path) {
            Err(cause) if cause.is_no_space() && self.reserve.is_kept() => {
                self.reserve.give_up()?;
                Database::open(&path)?
            }
            opened => opened?,
        };
        let mut census = Census::default();
        database.census(|known| census.count(known))?;
        self.level.used.store(database.used()?, Relaxed);
        self.level.set_oldest(database.oldest()?);
        self.level.replace(census);
        self.numbers = 0..0;
        self.database = Some(database);
        Ok(())
    }

    /// Makes sure that records can be taken in: the file is open, and there will be space left to
    /// remove them.
    pub(crate) fn make_room(&mut self) -> Result<(), AccessError> {
        self.pause()?;
        self.ensure_open()?;
        if self.reserve.is_kept() {
            return Ok(());
        }
        let emptied = self.database().and_then(Database::write_back);
        let kept = emptied.and_then(|()| Ok(self.reserve.keep()?));
        kept.map_err(|cause| {
            let error = self.fail(cause);
            self.stuck = Some((Instant::now(), error.clone()));
            error
        })
    }

    /// Fails for a while as the last attempt to get going did.
    fn pause(&mut self) -> Result<(), AccessError> {
        match &self.stuck {
            Some((since, error)) if since.elapsed() < PAUSE => Err(error.clone()),
            _ => {
                self.stuck = None;
                Ok(())
            }
        }
    }

    /// Opens the file again if it has failed.
    fn ensure_open(&mut self) -> Result<(), AccessError> {
        if self.database.is_some() {
            return Ok(());
        }
        self.pause()?;
        self.open_database().map_err(|cause| self.fail(cause))?;
        self.show_health();
        Ok(())
    }

    fn database(&self) -> Result<&Database, Cause> {
        let closed = || Cause::System(std::io::Error::other("the file is closed"));
        self.database.as_ref().ok_or_else(closed)
    }

    /// Writes all or nothing. Returns the number of the first record; the others follow it.
    pub(crate) fn write(&mut self, appends: &[Append], later: &Later) -> Result<i64, AccessError> {
        self.ensure_open()?;
        let first = self.commit(appends, later).or_else(|cause| {
            if cause.is_damage() {
                let gone = self.database()?.write_around_damage(later)?;
                self.count_removed(&gone);
                return self.commit(appends, &Later::default());
            }
            if !cause.is_no_space() {
                return Err(cause);
            }
            // It may be the log that fills the disk.
            self.database()?.write_back()?;
            self.commit(appends, later)
        });
        let first = first.map_err(|cause| match cause.is_damage() {
            true => self.refuse(cause),
            false => self.fail(cause),
        })?;
        // What follows cannot take back what is durable.
        if let Err(cause) = self.take_stock() {
            self.fail(cause);
        } else {
            self.show_health();
        }
        Ok(first)
    }

    fn commit(&mut self, appends: &[Append], later: &Later) -> Result<i64, Cause> {
        let count = i64::try_from(appends.len()).unwrap_or(i64::MAX);
        if self.numbers.end - self.numbers.start < count {
            self.numbers = self.database()?.numbers()?;
        }
        let first = self.numbers.start;
        let records = appends.iter().map(|a| (&a.row, &a.content[..]));
        let records = (first..)
            .zip(records)
            .map(|(seq, (row, kept))| (seq, row, kept));
        let gone = self.database()?.write(records, later)?;
        self.numbers.start += count;
        self.count_removed(&gone);
        let level = &self.level;
        appends.iter().for_each(|append| level.add(append.row.key));
        level.appended.fetch_add(appends.len() as u64, Relaxed);
        level.commits.fetch_add(1, Relaxed);
        Ok(first)
    }

    fn count_removed(&self, gone: &[Known]) {
        gone.iter().for_each(|gone| self.level.subtract(*gone));
        self.level.removed.fetch_add(gone.len() as u64, Relaxed);
    }

    fn take_stock(&mut self) -> Result<(), Cause> {
        let database = self.database()?;
        let records = self.level.records.load(Relaxed) + self.level.damaged.load(Relaxed);
        if records == 0 && database.size()? > SHRINK {
            match database.shrink() {
                // It is only larger than it needs to be.
                Err(cause) if cause.is_damage() || matches!(cause, Cause::Busy) => {}
                shrunk => shrunk?,
            }
        }
        self.level.used.store(database.used()?, Relaxed);
        self.level.set_oldest(database.oldest()?);
        Ok(())
    }

    /// Reads records that can be delivered, without those that are held, or as good as removed.
    /// What cannot be delivered is set aside.
    pub(crate) fn read(&mut self, read: &Read, later: &Later) -> Result<Vec<Taken>, AccessError> {
        self.ensure_open()?;
        let mut after = read.after;
        if after == 0 && read.picks == Some(Order::ByKey) {
            self.blocked.clear();
        }
        loop {
            let rows = self.rows(read, after, later);
            let rows = rows.map_err(|cause| self.fail(cause))?;
            let Some((last, _)) = rows.last() else {
                return Ok(Vec::new());
            };
            after = *last;
            let mut records = Vec::with_capacity(rows.len());
            for (seq, row) in rows {
                match self.entry(seq, &row).map_err(|cause| self.fail(cause))? {
                    Ok(record) => {
                        let hold = || self.level.hold(seq, Holder::Reader);
                        records.push((record, read.picks.map(|_| hold())));
                    }
                    Err(flaw) => self.set_aside(seq, &row, &flaw)?,
                }
            }
            if !records.is_empty() {
                return Ok(records);
            }
        }
    }

    fn rows(&mut self, read: &Read, after: i64, later: &Later) -> Result<Vec<(i64, Row)>, Cause> {
        let mut rows = Vec::new();
        let mut bytes = 0_i64;
        let by_key = read.picks == Some(Order::ByKey);
        let mut blocked = std::mem::take(&mut self.blocked);
        let visited = self.database()?.visit(after, |seq, mut row| {
            if rows.len() == read.limit || read.until.is_some_and(|until| row.received > until) {
                return false;
            }
            if row.damaged || later.removed.contains(&seq) {
                return true;
            }
            let holder = self.level.holder(seq);
            if holder == Some(Holder::Appender) && by_key {
                blocked.extend(row.key);
            }
            let is_blocked = by_key && row.key.is_some_and(|key| blocked.contains(&key));
            if holder.is_some() || is_blocked {
                return true;
            }
            row.attempts += later.attempted.get(&seq).unwrap_or(&0);
            if let Some(settled) = later.settled.get(&seq) {
                row.settled = settled.clone();
            }
            bytes = bytes.saturating_add(row.bytes);
            let fits = bytes <= READ_BYTES || rows.is_empty();
            if fits {
                rows.push((seq, row));
            }
            fits
        });
        self.blocked = blocked;
        visited?;
        Ok(rows)
    }

    fn entry(&self, seq: i64, row: &Row) -> Result<Result<Record, Flaw>, Cause> {
        let content = self.database()?.content(seq);
        Ok(content.and_then(|content| {
            let id = RecordId(seq);
            let entry = row.entry(seq, &content.into())?;
            Ok(Record { id, entry })
        }))
    }

    fn set_aside(&mut self, seq: i64, row: &Row, flaw: &Flaw) -> Result<(), AccessError> {
        tracing::error!(
            record = seq,
            source = row.source,
            flaw = %flaw,
            "a record of the store is damaged and is set aside: look at it with `vodbridge spool list`"
        );
        let marked = self.database().and_then(|d| Ok(d.set_aside(seq)?));
        marked.map_err(|cause| self.fail(cause))?;
        self.level.set_aside(row.key);
        self.show_health();
        Ok(())
    }

    /// Closes the file for a while, but where it was only too large to be written: that was taken
    /// back whole. And gives up the reserve: whatever went wrong, space can only help.
    fn fail(&mut self, cause: Cause) -> AccessError {
        if let Err(error) = self.reserve.give_up() {
            tracing::debug!(%error, "cannot give up the reserve of the store");
        }
        let closes = !cause.is_no_space();
        let error = self.report(cause);
        if closes || self.database.is_none() {
            self.database = None;
            self.stuck = Some((Instant::now(), error.clone()));
        }
        error
    }

    /// Takes no record in for a while. The file stays open: what it holds can be read and removed.
    fn refuse(&mut self, cause: Cause) -> AccessError {
        let error = self.report(cause);
        self.stuck = Some((Instant::now(), error.clone()));
        error
    }

    fn report(&self, cause: Cause) -> AccessError {
        self.level.failed.fetch_add(1, Relaxed);
        let directory = self.config.directory.clone();
        let remedy = remedy(&cause);
        let what = format!(
            "cannot use the store in {}: {}",
            directory.display(),
            chain(&cause)
        );
        if self.health.down(what.clone(), remedy) {
            tracing::error!("{what}; {remedy}");
        }
        AccessError::Io {
            directory,
            source: Arc::new(cause),
        }
    }

    /// Up, or what an operator should look at; nothing while records are refused.
    fn show_health(&self) {
        if self.stuck.is_some() {
            return;
        }
        let damaged = self.level.damaged.load(Relaxed);
        let (what, remedy) = if let Some(copy) = &self.damaged_log {
            let copy = copy.display();
            (
                "the log of the store broke off before its end: records are lost, or are back"
                    .to_owned(),
                format!("look at the disk, and restart once you have moved {copy} away"),
            )
        } else if damaged > 0 {
            (
                format!("{damaged} records are damaged and set aside"),
                "look at them with `vodbridge spool list`, and drop them when they are settled"
                    .to_owned(),
            )
        } else {
            self.show_up();
            return;
        };
        self.health.degraded(what, remedy);
    }

    fn show_up(&self) {
        let doing = doing(&self.config.directory);
        if self.health.up(doing.clone()) {
            tracing::info!("{doing}");
        }
    }

    /// Writes the log back and closes the file.
    pub(crate) fn close(&mut self) {
        let Some(database) = self.database.take() else {
            return;
        };
        if let Err(cause) = database.write_back() {
            // The next owner does.
            tracing::warn!(error = chain(&cause), "cannot empty the log of the store");
        }
    }
}

impl fmt::Debug for StoreFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreFile").finish_non_exhaustive()
    }
}
