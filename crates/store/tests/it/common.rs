//! What the tests share.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use vodbridge_core::testing::event;
use vodbridge_store::{AccessError, Entry, Held, Record, RecordId, Store, StoreConfig, StoreError};

pub(crate) fn config(directory: &Path) -> StoreConfig {
    StoreConfig {
        directory: directory.to_owned(),
        max_bytes: 1 << 30,
        max_age: Duration::from_secs(3600),
    }
}

/// Opens a store that nobody holds. A child that another test has just forked holds a copy of every
/// lock until it runs its own program, which is a matter of milliseconds.
pub(crate) fn open(directory: &Path) -> Store {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match Store::open(config(directory)) {
            Err(StoreError::Locked { .. }) if Instant::now() < end => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// An event with this id and partition key, and data of about so many bytes that are a function of
/// its id.
pub(crate) fn entry(id: &str, key: Option<&str>, bytes: usize) -> Entry {
    let mut event = event(id, "FileDeleted");
    event.partition_key = key.map(str::to_owned);
    let mut random = fastrand::Rng::with_seed(id.bytes().map(u64::from).sum());
    Entry {
        source: "callback".to_owned(),
        received: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000),
        attempts: 0,
        settled: Vec::new(),
        envelope: event.encode(|data| {
            data.push(b'"');
            data.extend((0..bytes).map(|_| random.alphanumeric() as u8));
            data.push(b'"');
        }),
    }
}

pub(crate) async fn append(store: &Store, id: &str) -> RecordId {
    append_entry(store, &entry(id, Some("file-1"), 500))
        .await
        .unwrap()
        .id()
}

pub(crate) async fn append_entry(store: &Store, entry: &Entry) -> Result<Held, AccessError> {
    store.append(entry).await
}

/// Every readable record, a few at a time.
pub(crate) async fn all(store: &Store) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map(|record| record.id);
        let more = store.oldest(after, 7).await.unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

pub(crate) fn ids(records: &[Record]) -> Vec<&str> {
    records.iter().map(|r| r.entry.envelope.id()).collect()
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // What a machine that lost its power finds: the index of the log lives in memory.
        let name = file.file_name();
        if name != "store.db-shm" && name != "reserve" {
            fs::copy(file.path(), to.join(name)).unwrap();
        }
    }
}

/// This test binary again, for one test, which looks at `variable` to know what it is.
pub(crate) fn again(test: &str, variable: &str, value: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, value);
    command
}
