//! The store as its users see it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use vodbridge_core::{Health, HealthCell};

use crate::damage;
use crate::error::SMALLEST;
use crate::later::Later;
use crate::level::{Held, Level};
use crate::lock::{Lock, make};
use crate::record::{Row, Settled, millis};
use crate::writer::{Append, Command, Order, Read, Taken, Writer};
use crate::{AccessError, Entry, Record, RecordId, StoreConfig, StoreError};

/// How many commands may wait for the writer; more wait in the calls.
const WAITING: usize = 1024;
/// The name of the file that holds everything.
pub(crate) const FILE: &str = "store.db";

/// Envelopes on a local disk, oldest first.
///
/// One thread has the file. It takes what waits, writes it with one fsync and only then answers.
/// A record is verified when it is read; one that is damaged is set aside, never served.
#[derive(Debug)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    level: Arc<Level>,
    health: Arc<HealthCell>,
    config: Arc<StoreConfig>,
}

/// What a store has done and holds. Totals count from its opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Records that wait.
    pub records: u64,
    /// Records that are damaged and were set aside.
    pub damaged: u64,
    /// Bytes of the file that hold something: what `max_bytes` limits.
    pub bytes: u64,
    /// When the oldest record came.
    pub oldest: Option<SystemTime>,
    /// Records that became durable.
    pub appended: u64,
    /// Records that were removed.
    pub removed: u64,
    /// Appends that the store was too full for.
    pub refused: u64,
    /// Writes and reads that the disk or the engine failed.
    pub failed: u64,
    /// Commits, each with one fsync for all that it holds.
    pub commits: u64,
}

impl Store {
    /// Opens the store, or makes it, and takes it for this process alone.
    ///
    /// Reads one small row of every record, so that [`has_key`](Self::has_key) knows them all, and
    /// blocks for as long as that takes.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let max_bytes = config.max_bytes;
        if max_bytes < SMALLEST {
            return Err(StoreError::TooSmall { max_bytes });
        }
        let directory = &config.directory;
        make(directory).map_err(|source| StoreError::Directory {
            directory: directory.clone(),
            source,
        })?;
        let lock = Lock::take(directory)?;
        let damaged_log = damage::look(directory).map_err(|source| io(directory, source))?;
        let level = Arc::new(Level::default());
        let health = Arc::new(HealthCell::starting(doing(directory)));
        let config = Arc::new(config);
        let (commands, waiting) = mpsc::channel(WAITING);
        let writer = Writer::open(
            config.clone(),
            level.clone(),
            health.clone(),
            lock,
            damaged_log,
        )?;
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(waiting))
            .map_err(StoreError::Thread)?;
        Ok(Self {
            commands,
            level,
            health,
            config,
        })
    }

    /// Resolves once the record is durable. It is not read while the answer is held.
    ///
    /// Fails at once where the store is full. Dropping the future means "not appended"; the record
    /// may be kept nevertheless, and is then delivered like any other. So may one whose append
    /// failed on the disk.
    pub async fn append(&self, entry: &Entry) -> Result<Held, AccessError> {
        let (row, content) = Row::of(entry);
        let max_bytes = self.config.max_bytes;
        let claim = self.level.claim(row.key, content.len(), max_bytes);
        let claim = claim.ok_or(AccessError::Full { max_bytes })?;
        self.ask(|answer| {
            Command::Append(Append {
                row,
                content,
                claim,
                answer,
            })
        })
        .await
    }

    /// Removes records: they are not read any more. Resolves once that is on its way to the disk:
    /// after a crash within the next moment they are there again. See [`flush`](Self::flush). Of
    /// one that is held, [`take_out`](Self::take_out).
    pub async fn remove(&self, records: &[RecordId]) -> Result<(), AccessError> {
        self.later(Later {
            removed: numbers(records).collect(),
            ..Later::default()
        })
        .await
    }

    /// Counts one more delivery of these records that did not end well; on its way like
    /// [`remove`](Self::remove).
    pub async fn attempted(&self, records: &[RecordId]) -> Result<(), AccessError> {
        self.later(Later {
            attempted: numbers(records).map(|seq| (seq, 1)).collect(),
            ..Later::default()
        })
        .await
    }

    /// Removes a record that is held, like [`remove`](Self::remove). Nobody reads it in between.
    pub async fn take_out(&self, held: Held) -> Result<(), AccessError> {
        let later = Later {
            removed: [held.id().0].into(),
            ..Later::default()
        };
        self.later_held(later, held).await
    }

    /// Leaves a record that is held to others: counts one more delivery that did not end well, and
    /// takes note of the sinks that have it, by the operator's names, which are letters, digits and
    /// `_`. On its way like [`remove`](Self::remove); nobody reads it in between.
    pub async fn leave(&self, held: Held, settled: &[String]) -> Result<(), AccessError> {
        let seq = held.id().0;
        let mut later = Later {
            attempted: [(seq, 1)].into(),
            ..Later::default()
        };
        if !settled.is_empty() {
            later.settled.insert(seq, Settled::new(settled, seq));
        }
        self.later_held(later, held).await
    }

    /// Resolves once every removal and every attempt so far is durable. That happens by itself
    /// within 50 ms, or as soon as the disk allows.
    pub async fn flush(&self) -> Result<(), AccessError> {
        self.ask(Command::Flush).await
    }

    async fn later(&self, later: Later) -> Result<(), AccessError> {
        let sent = self.commands.send(Command::Later(later, None)).await;
        sent.map_err(|_| AccessError::Closed)
    }

    /// The writer lets go of the record once it knows what is to be written: a reader that came
    /// before would find it as it was.
    async fn later_held(&self, later: Later, held: Held) -> Result<(), AccessError> {
        let sent = self.commands.send(Command::Later(later, Some(held))).await;
        sent.map_err(|_| AccessError::Closed)
    }

    /// The oldest records after `after`, at most `limit`, those left out that are held. Fewer
    /// where they are large: together at most 8 MiB, but always one.
    pub async fn oldest(
        &self,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<Record>, AccessError> {
        let read = self.read(after, limit, None, None).await?;
        Ok(read.into_iter().map(|(record, _)| record).collect())
    }

    /// The oldest records after `after`, like [`oldest`](Self::oldest), which nobody else reads
    /// for as long as they are held. For one reader: where there is an order, it is kept from one
    /// call without `after` to the next.
    pub async fn pick(
        &self,
        after: Option<RecordId>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<(Record, Held)>, AccessError> {
        let picked = self.read(after, limit, None, Some(order)).await?;
        let held = picked.into_iter();
        Ok(held.filter_map(|(r, held)| Some((r, held?))).collect())
    }

    /// The oldest records for as long as they are older than `max_age` at `now`, like
    /// [`oldest`](Self::oldest). A record that came with a clock set back waits for those before
    /// it.
    pub async fn expired(&self, now: SystemTime, limit: usize) -> Result<Vec<Record>, AccessError> {
        let until = now.checked_sub(self.config.max_age);
        match self.level.oldest() {
            Some(oldest) if until.is_some_and(|until| oldest <= until) => {
                let read = self.read(None, limit, until.map(millis), None).await?;
                Ok(read.into_iter().map(|(record, _)| record).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    async fn read(
        &self,
        after: Option<RecordId>,
        limit: usize,
        until: Option<i64>,
        picks: Option<Order>,
    ) -> Result<Vec<Taken>, AccessError> {
        self.ask(|answer| {
            Command::Read(Read {
                after: after.map_or(0, |id| id.0),
                limit,
                until,
                picks,
                answer,
            })
        })
        .await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, AccessError>>) -> Command,
    ) -> Result<T, AccessError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.commands.send(command(answer)).await;
        sent.map_err(|_| AccessError::Closed)?;
        answered.await.unwrap_or(Err(AccessError::Closed))
    }

    /// Whether an event of this partition key is kept, or on its way: a newer one that must not
    /// overtake it follows it through the store. Asks no disk. Says true of another key now and
    /// then (one in 2^64), and of what was removed for a moment more.
    pub fn has_key(&self, key: &str) -> bool {
        self.level.has_key(key)
    }

    /// Resolves when a record may have become readable since the last time; for one waiter.
    pub async fn changed(&self) {
        self.level.changed.notified().await;
    }

    /// How many records wait.
    pub fn len(&self) -> u64 {
        self.level.records.load(Relaxed)
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the file that hold something: what `max_bytes` limits.
    pub fn bytes(&self) -> u64 {
        self.level.used.load(Relaxed)
    }

    /// For how long the oldest record has waited at `now`.
    pub fn oldest_age(&self, now: SystemTime) -> Option<Duration> {
        let oldest = self.level.oldest()?;
        Some(now.duration_since(oldest).unwrap_or_default())
    }

    /// What it has done and holds.
    pub fn stats(&self) -> Stats {
        let level = &self.level;
        Stats {
            records: self.len(),
            damaged: level.damaged.load(Relaxed),
            bytes: self.bytes(),
            oldest: level.oldest(),
            appended: level.appended.load(Relaxed),
            removed: level.removed.load(Relaxed),
            refused: level.refused.load(Relaxed),
            failed: level.failed.load(Relaxed),
            commits: level.commits.load(Relaxed),
        }
    }

    /// What it does, and what is wrong.
    pub fn health(&self) -> Health {
        self.health.get()
    }

    /// What the operator wrote.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// Ends the writer after what waits, removals included, and unlocks the directory. Everything
    /// fails from then on. A store that is dropped ends like that too, but who knows when.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            // An error here says that the writer has ended already, as was wanted.
            closed.await.unwrap_or(());
        }
    }
}

/// What a store does, for `/healthz`.
pub(crate) fn doing(directory: &Path) -> String {
    format!("keeping records in {}", directory.display())
}

fn io(directory: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io {
        directory: directory.to_owned(),
        source: source.into(),
    }
}

fn numbers(records: &[RecordId]) -> impl Iterator<Item = i64> {
    records.iter().map(|id| id.0)
}
