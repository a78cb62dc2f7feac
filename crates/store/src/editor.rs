//! Changing a store that no bridge has.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::damage;
use crate::database::Database;
use crate::error::Cause;
use crate::later::Later;
use crate::lock::Lock;
use crate::reader::existing;
use crate::record::RecordId;
use crate::{AccessError, StoreError};

/// Records that are changed in one commit.
const AT_ONCE: usize = 256;

/// A store that is this process's alone while it changes it by hand.
pub struct StoreEditor {
    database: Database,
    directory: PathBuf,
    _lock: Lock,
}

/// Which records an operator means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// Those that are damaged and set aside.
    Damaged,
    /// These.
    These(Vec<RecordId>),
}

impl StoreEditor {
    /// Opens the store in a directory; fails where a bridge has it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let file = existing(directory)?;
        let lock = Lock::take(directory)?;
        damage::look(directory).map_err(|error| Cause::from(error).on_opening(directory))?;
        let database = Database::open(&file).map_err(|cause| cause.on_opening(directory))?;
        Ok(Self {
            database,
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// Has records delivered as if they had just come: attempts count from none, and what was set
    /// aside is taken back in where it is whole. Returns how many there are now.
    pub fn retry(&self, which: &Which) -> Result<u64, AccessError> {
        self.each(which, |numbers| {
            let transaction = self.database.connection.unchecked_transaction()?;
            let mut retried = 0;
            for seq in numbers {
                let Some(row) = self.database.find(*seq)? else {
                    continue;
                };
                let content = self.database.content(*seq).ok().map(Bytes::from);
                let whole = content.is_some_and(|content| row.entry(*seq, &content).is_ok());
                if whole {
                    self.database.renew(*seq)?;
                    retried += 1;
                }
            }
            transaction.commit()?;
            Ok(retried)
        })
    }

    /// Removes records for good. Returns how many there were.
    pub fn remove(&self, which: &Which) -> Result<u64, AccessError> {
        self.each(which, |numbers| {
            let later = Later {
                removed: numbers.iter().copied().collect(),
                ..Later::default()
            };
            Ok(self.database.write_around_damage(&later)?.len() as u64)
        })
    }

    fn each(
        &self,
        which: &Which,
        change: impl Fn(&[i64]) -> Result<u64, Cause>,
    ) -> Result<u64, AccessError> {
        let numbers = self.numbers(which).map_err(|cause| self.refused(cause))?;
        numbers.chunks(AT_ONCE).try_fold(0, |count, numbers| {
            let changed = change(numbers).map_err(|cause| self.refused(cause))?;
            Ok(count + changed)
        })
    }

    fn numbers(&self, which: &Which) -> Result<Vec<i64>, Cause> {
        let mut numbers = Vec::new();
        match which {
            Which::These(records) => numbers.extend(records.iter().map(|id| id.0)),
            Which::All | Which::Damaged => self.database.visit(0, |seq, row| {
                if row.damaged || *which == Which::All {
                    numbers.push(seq);
                }
                true
            })?,
        }
        Ok(numbers)
    }

    fn refused(&self, cause: Cause) -> AccessError {
        cause.on_access(&self.directory)
    }
}
