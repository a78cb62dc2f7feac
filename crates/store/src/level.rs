//! What the store holds, known without asking the disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::atomic::{
    AtomicI64, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::database::PAGE;
use crate::record::{RecordId, key_hash, time};
use crate::rows::Known;

/// Shared between the store's users and its writer.
#[derive(Debug, Default)]
pub(crate) struct Level {
    /// Of the file, those that hold something.
    pub(crate) used: AtomicU64,
    claimed: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) damaged: AtomicU64,
    /// Milliseconds; [`NONE`] without a record.
    oldest: AtomicI64,
    keys: Mutex<Keys>,
    held: Mutex<HashMap<i64, Holder>>,
    pub(crate) changed: Notify,
    pub(crate) commits: AtomicU64,
    pub(crate) appended: AtomicU64,
    pub(crate) removed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) failed: AtomicU64,
}

const NONE: i64 = i64::MIN;

/// How many records there are of each partition key, 16 bytes a key: of those in the file, and of
/// those on their way into it.
#[derive(Debug, Default)]
struct Keys {
    kept: HashMap<i64, u32>,
    claimed: HashMap<i64, u32>,
}

fn add(keys: &mut HashMap<i64, u32>, key: i64) {
    *keys.entry(key).or_default() += 1;
}

fn subtract(keys: &mut HashMap<i64, u32>, key: i64) {
    if let Slot::Occupied(mut slot) = keys.entry(key) {
        *slot.get_mut() -= 1;
        if *slot.get() == 0 {
            slot.remove();
        }
    }
}

impl Level {
    /// Whether an older event of the key is kept, or about to be.
    pub(crate) fn has_key(&self, key: &str) -> bool {
        // In this order: a claim ends only after its record is counted.
        if self.claimed.load(Acquire) == 0 && self.records.load(Relaxed) == 0 {
            return false;
        }
        let key = key_hash(key);
        let keys = lock(&self.keys);
        keys.kept.contains_key(&key) || keys.claimed.contains_key(&key)
    }

    /// When the oldest record came.
    pub(crate) fn oldest(&self) -> Option<SystemTime> {
        match self.oldest.load(Relaxed) {
            NONE => None,
            _ if self.records.load(Relaxed) == 0 => None,
            millis => Some(time(millis)),
        }
    }

    pub(crate) fn set_oldest(&self, millis: Option<i64>) {
        self.oldest.store(millis.unwrap_or(NONE), Relaxed);
    }

    /// Takes note of a record that is in the file now.
    pub(crate) fn add(&self, key: Option<i64>) {
        self.records.fetch_add(1, Relaxed);
        if let Some(key) = key {
            add(&mut lock(&self.keys).kept, key);
        }
    }

    /// Takes note of a record that is no longer there.
    pub(crate) fn subtract(&self, gone: Known) {
        if gone.damaged {
            self.damaged.fetch_sub(1, Relaxed);
            return;
        }
        self.records.fetch_sub(1, Relaxed);
        if let Some(key) = gone.key {
            subtract(&mut lock(&self.keys).kept, key);
        }
    }

    /// Takes note of a record that is there, and will not be delivered.
    pub(crate) fn set_aside(&self, key: Option<i64>) {
        let damaged = false;
        self.subtract(Known { key, damaged });
        self.damaged.fetch_add(1, Relaxed);
    }

    /// Takes over what a file was found to hold.
    pub(crate) fn replace(&self, census: Census) {
        self.records.store(census.records, Relaxed);
        self.damaged.store(census.damaged, Relaxed);
        lock(&self.keys).kept = census.keys;
    }

    /// Room for a record, if there is any left of `max_bytes`.
    pub(crate) fn claim(
        self: &Arc<Self>,
        key: Option<i64>,
        length: usize,
        max_bytes: u64,
    ) -> Option<Claim> {
        let bytes = room(length as u64);
        let claimed = self.claimed.fetch_add(bytes, Relaxed) + bytes;
        let claim = Claim {
            level: self.clone(),
            key,
            bytes,
        };
        if let Some(key) = key {
            add(&mut lock(&self.keys).claimed, key);
        }
        if self.used.load(Relaxed) + claimed > max_bytes {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        Some(claim)
    }

    /// Keeps a record from being read until what is returned is dropped.
    pub(crate) fn hold(self: &Arc<Self>, seq: i64, holder: Holder) -> Held {
        lock(&self.held).insert(seq, holder);
        Held {
            id: RecordId(seq),
            level: self.clone(),
        }
    }

    pub(crate) fn holder(&self, seq: i64) -> Option<Holder> {
        lock(&self.held).get(&seq).copied()
    }
}

/// Who keeps a record from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Whoever appended it.
    Appender,
    /// A reader that has it.
    Reader,
}

/// What a file holds, as it is counted.
#[derive(Debug, Default)]
pub(crate) struct Census {
    records: u64,
    damaged: u64,
    keys: HashMap<i64, u32>,
}

impl Census {
    pub(crate) fn count(&mut self, found: Known) {
        if found.damaged {
            self.damaged += 1;
            return;
        }
        self.records += 1;
        if let Some(key) = found.key {
            add(&mut self.keys, key);
        }
    }
}

/// What a record of this length takes of the file, at most.
fn room(length: u64) -> u64 {
    // Its row, and its share of the pages above.
    let length = length + length / 64 + 256;
    if length * 2 <= u64::from(PAGE) {
        return length + length / 4;
    }
    length.next_multiple_of(PAGE.into())
}

/// Room for a record that is not in the file yet.
#[derive(Debug)]
pub(crate) struct Claim {
    level: Arc<Level>,
    key: Option<i64>,
    bytes: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            subtract(&mut lock(&self.level.keys).claimed, key);
        }
        self.level.claimed.fetch_sub(self.bytes, Release);
    }
}

/// A record that is durable, and is not read while this lives: whoever has it is delivering it.
/// Dropped, it is left to the readers.
#[derive(Debug)]
pub struct Held {
    id: RecordId,
    level: Arc<Level>,
}

impl Held {
    /// The record.
    pub fn id(&self) -> RecordId {
        self.id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.level.held).remove(&self.id.0);
        self.level.changed.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
