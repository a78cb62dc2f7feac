//! Records that this source has: under way, or behind an older one of the same partition key.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::record::Picked;

/// Keeps records of one key one behind the other, and what was passed over out of the way.
#[derive(Default)]
pub(super) struct Queue {
    /// Of keys whose first record is under way, those behind it.
    behind: HashMap<String, VecDeque<Picked>>,
    /// Keys of which a record was left in the spool: nothing newer overtakes it until the spool
    /// is gone through anew. By their hashes: there may be as many as the spool has.
    passed: HashSet<u64>,
    hasher: RandomState,
    records: usize,
    bytes: usize,
}

impl Queue {
    /// Records that this source has.
    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// Bytes of their events.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a record in. Returns it where it may be delivered now; else it waits, or is left in
    /// the spool.
    pub(super) fn enter(&mut self, picked: Picked, key: Option<&str>) -> Option<Picked> {
        if let Some(key) = key {
            if self.passed.contains(&self.hasher.hash_one(key)) {
                return None;
            }
            if let Some(behind) = self.behind.get_mut(key) {
                self.records += 1;
                self.bytes += picked.bytes;
                behind.push_back(picked);
                return None;
            }
            self.behind.insert(key.to_owned(), VecDeque::new());
        }
        self.records += 1;
        self.bytes += picked.bytes;
        Some(picked)
    }

    /// A record has been delivered: the next one of its key.
    pub(super) fn settled(&mut self, key: Option<&str>, bytes: usize) -> Option<Picked> {
        self.gone(bytes);
        let key = key?;
        let next = self.behind.get_mut(key)?.pop_front();
        if next.is_none() {
            self.behind.remove(key);
        }
        next
    }

    /// A record is left in the spool, and those behind it with it.
    pub(super) fn left(&mut self, key: Option<&str>, bytes: usize) {
        self.gone(bytes);
        let Some(key) = key else { return };
        for picked in self.behind.remove(key).into_iter().flatten() {
            self.gone(picked.bytes);
        }
        self.passed.insert(self.hasher.hash_one(key));
    }

    fn gone(&mut self, bytes: usize) {
        self.records -= 1;
        self.bytes -= bytes;
    }

    /// The spool is gone through anew.
    pub(super) fn begin_anew(&mut self) {
        self.passed.clear();
    }

    /// Leaves everything that is not under way.
    pub(super) fn leave_waiting(&mut self) {
        let behind = self.behind.values_mut().flat_map(|b| b.drain(..));
        let waiting: Vec<_> = behind.map(|picked| picked.bytes).collect();
        waiting.into_iter().for_each(|bytes| self.gone(bytes));
    }
}
