//! Bytes that are not what was written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bytes::Bytes;
use tokio::runtime::Runtime;
use vodbridge_core::State;
use vodbridge_store::{Store, StoreError};

use crate::common::{all, config, copy, entry, open};

/// Relatively prime to every size in the files.
const STEP: usize = 7919;

const PAGE: usize = 16 * 1024;

/// Hundreds of copies need no disk.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn log(directory: &Path) -> std::path::PathBuf {
    directory.join("store.db-wal")
}

/// A store with a log, and how long that was when each record had become durable.
struct Written {
    directory: tempfile::TempDir,
    store: Store,
    records: Vec<(String, Bytes, usize)>,
}

fn write(runtime: &Runtime, count: usize) -> Written {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut records = Vec::new();
    for number in 0..count {
        let id = number.to_string();
        let entry = entry(&id, Some(&id), [100, 2000, 40_000][number % 3]);
        drop(runtime.block_on(store.append(&entry)).unwrap());
        let length = fs::metadata(log(directory.path())).unwrap().len() as usize;
        records.push((id, entry.envelope.structured(), length));
    }
    Written {
        directory,
        store,
        records,
    }
}

/// The records that a store serves, each as it was written, and no other.
fn served(runtime: &Runtime, store: &Store, records: &[(String, Bytes, usize)]) -> Vec<String> {
    let written: BTreeMap<&str, &Bytes> = records
        .iter()
        .map(|(id, bytes, _)| (&**id, bytes))
        .collect();
    let found = runtime.block_on(all(store)).into_iter();
    found
        .map(|record| {
            let envelope = record.entry.envelope;
            assert_eq!(&envelope.structured(), written[envelope.id()]);
            envelope.id().to_owned()
        })
        .collect()
}

#[test]
fn what_was_durable_before_a_torn_write_is_there() {
    let runtime = Runtime::new().unwrap();
    let written = write(&runtime, 45);
    let whole = fs::read(log(written.directory.path())).unwrap();
    assert_eq!(
        whole.len(),
        written.records[44].2,
        "the log was not begun anew"
    );
    // All through it, and around the end of each commit.
    let ends = written.records.iter().map(|(.., length)| *length);
    let around = ends.flat_map(|end| [end - 1, end, end + 1]);
    let cuts: BTreeSet<_> = (0..whole.len()).step_by(STEP).chain(around).collect();
    for cut in cuts.into_iter().filter(|cut| *cut <= whole.len()) {
        let torn = in_memory();
        copy(written.directory.path(), torn.path());
        fs::write(log(torn.path()), &whole[..cut]).unwrap();
        let store = open(torn.path());
        let durable = written.records.iter().filter(|(.., length)| *length <= cut);
        let durable: Vec<_> = durable.map(|(id, ..)| id.clone()).collect();
        assert_eq!(
            served(&runtime, &store, &written.records),
            durable,
            "cut at {cut}"
        );
        assert_eq!(store.health().state, State::Up, "cut at {cut}");
    }
    runtime.block_on(written.store.close());
}

#[test]
fn a_log_that_is_damaged_in_its_middle_is_reported() {
    let runtime = Runtime::new().unwrap();
    let written = write(&runtime, 45);
    let whole = fs::read(log(written.directory.path())).unwrap();
    let mut reported = 0;
    for at in (0..whole.len() - 16).step_by(STEP) {
        let garbled = in_memory();
        copy(written.directory.path(), garbled.path());
        let mut bytes = whole.clone();
        bytes[at..at + 16].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(log(garbled.path()), &bytes).unwrap();
        let store = open(garbled.path());
        let before = written.records.iter().filter(|(.., length)| *length <= at);
        let before: Vec<_> = before.map(|(id, ..)| id.clone()).collect();
        let served = served(&runtime, &store, &written.records);
        assert!(served.starts_with(&before), "garbled at {at}: {served:?}");
        // The last commit may have been on its way to the disk: nobody can tell.
        if written.records.len() - served.len() < 2 {
            continue;
        }
        reported += 1;
        let health = store.health();
        assert_eq!(health.state, State::Degraded, "garbled at {at}");
        let kept = garbled.path().join("store.db-wal.damaged-1");
        let problem = health.problem.unwrap();
        assert!(
            problem.remedy.contains(kept.to_str().unwrap()),
            "{problem:?}"
        );
        assert_eq!(fs::read(&kept).unwrap(), bytes);
        runtime.block_on(store.close());
        let state = || {
            let store = open(garbled.path());
            let state = store.health().state;
            runtime.block_on(store.close());
            state
        };
        assert_eq!(state(), State::Degraded, "until somebody has seen it");
        fs::remove_file(kept).unwrap();
        assert_eq!(state(), State::Up);
    }
    assert!(reported > 100, "{reported}");
    runtime.block_on(written.store.close());
}

#[test]
fn a_garbled_file_is_refused_or_its_damaged_records_set_aside() {
    let runtime = Runtime::new().unwrap();
    let written = write(&runtime, 45);
    runtime.block_on(written.store.close());
    let file = |directory: &Path| directory.join("store.db");
    let whole = fs::read(file(written.directory.path())).unwrap();
    let (mut refused, mut set_aside) = (0, 0);
    // Page headers and cell pointers one by one, what is behind them here and there.
    let places = (0..whole.len()).filter(|at| match at % PAGE {
        0..=200 => *at < 4 * PAGE,
        _ => at % STEP == 0,
    });
    for at in places {
        let garbled = in_memory();
        let mut bytes = whole.clone();
        bytes[at] ^= 0x5a;
        fs::write(file(garbled.path()), &bytes).unwrap();
        let store = match Store::open(config(garbled.path())) {
            Ok(store) => store,
            Err(StoreError::Damaged { .. } | StoreError::Foreign { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("garbled at {at}: {error}"),
        };
        let served = served(&runtime, &store, &written.records).len();
        let damaged = store.stats().damaged as usize;
        assert_eq!(served + damaged, written.records.len(), "garbled at {at}");
        assert_eq!(store.health().state == State::Degraded, damaged > 0);
        set_aside += damaged;
    }
    assert!(refused > 10 && set_aside > 10, "{refused} {set_aside}");
}
