//! A disk that fails, and one that is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use vodbridge_core::State;
use vodbridge_store::{AccessError, Held, Store, StoreConfig};

use crate::common::{again, all, append, config, copy, entry, ids, open};

const CHILD: &str = "STORE_TEST_FAULTS";
/// The store tries a disk that failed again once a second.
const PATIENCE: Duration = Duration::from_secs(20);

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// This test again, with `fault.c` between it and the system.
fn with_faults(test: &str, directory: &Path) {
    fs::create_dir(directory.join("disk")).unwrap();
    let library = directory.join("fault.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fault.c");
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl"));
    run(again(test, CHILD, directory)
        .env("FAULTS", directory)
        .env("LD_PRELOAD", library));
}

/// This test again, with a file system of 64 MiB on `directory` that it alone sees.
fn with_small_disk(test: &str, directory: &Path) {
    let child = again(test, CHILD, directory);
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let script = r#"mount -t tmpfs -o size=64m none "$0" && exec "$@""#;
    command
        .args(["sh", "-c", script])
        .arg(directory)
        .arg(child.get_program())
        .args(child.get_args())
        .env(CHILD, directory);
    run(&mut command);
}

fn child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

fn block_on(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future);
}

async fn try_append(store: &Store, id: &str) -> Result<Held, AccessError> {
    store.append(&entry(id, Some(id), 2000)).await
}

/// Appends until the disk takes it again.
async fn append_again(store: &Store, id: &str) {
    let started = Instant::now();
    while let Err(error) = try_append(store, id).await {
        assert!(started.elapsed() < PATIENCE, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a machine finds that lost its power just now.
async fn after_a_power_cut(directory: &Path) -> Vec<String> {
    let found = tempfile::tempdir().unwrap();
    copy(&directory.join("disk"), found.path());
    let store = open(found.path());
    let records = all(&store).await;
    store.close().await;
    ids(&records).into_iter().map(str::to_owned).collect()
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    let Some(directory) = child() else {
        let directory = tempfile::tempdir().unwrap();
        let test = "faults::what_was_acknowledged_survives_a_power_cut";
        return with_faults(test, directory.path());
    };
    block_on(async {
        let store = open(&directory.join("spool"));
        let mut expected = Vec::new();
        // Over several times that the log is written back and begun anew.
        for number in 0..600 {
            let id = number.to_string();
            drop(try_append(&store, &id).await.unwrap());
            expected.push(id);
            if number % 29 == 0 {
                assert_eq!(after_a_power_cut(&directory).await, expected);
            }
        }
        store.close().await;
        assert_eq!(after_a_power_cut(&directory).await, expected);
    });
}

#[test]
fn a_failed_fsync_is_an_error_and_no_record_after_it_builds_on_it() {
    let Some(directory) = child() else {
        let directory = tempfile::tempdir().unwrap();
        let test = "faults::a_failed_fsync_is_an_error_and_no_record_after_it_builds_on_it";
        return with_faults(test, directory.path());
    };
    let fault = directory.join("fsync");
    block_on(async {
        let store = open(&directory.join("spool"));
        let mut expected = Vec::new();
        for round in 0..5 {
            let before = format!("before-{round}");
            append_again(&store, &before).await;
            fs::write(&fault, "").unwrap();
            for attempt in 0..3 {
                let id = format!("failed-{round}-{attempt}");
                let error = try_append(&store, &id).await.unwrap_err();
                assert!(matches!(error, AccessError::Io { .. }), "{error}");
            }
            assert_eq!(store.health().state, State::Down);
            fs::remove_file(&fault).unwrap();
            // Such a write may have reached the log, but not the disk.
            let after = format!("after-{round}");
            append_again(&store, &after).await;
            assert_eq!(store.health().state, State::Up);
            expected.extend([before, after]);
            let mut found = after_a_power_cut(&directory).await;
            found.retain(|id| !id.starts_with("failed"));
            assert_eq!(found, expected);
        }
        assert!(store.stats().failed >= 5);
        store.close().await;
    });
}

#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let Some(directory) = child() else {
        let directory = tempfile::tempdir().unwrap();
        return with_faults(
            "faults::a_write_that_fails_leaves_nothing_behind",
            directory.path(),
        );
    };
    let fault = directory.join("write");
    let spool = directory.join("spool");
    block_on(async {
        let store = open(&spool);
        append(&store, "1").await;
        fs::write(&fault, "").unwrap();
        let error = try_append(&store, "2").await.unwrap_err();
        assert!(
            error.to_string().contains("free space on the disk"),
            "{error}"
        );
        assert!(!store.has_key("2") && store.has_key("file-1"));
        assert_eq!(ids(&all(&store).await), ["1"], "reading needs no space");
        fs::remove_file(&fault).unwrap();
        append_again(&store, "3").await;
        assert_eq!(ids(&all(&store).await), ["1", "3"]);
    });
}

#[test]
fn a_store_that_has_filled_its_disk_can_be_emptied_and_filled_again() {
    let Some(directory) = child() else {
        let directory = tempfile::tempdir().unwrap();
        let test = "faults::a_store_that_has_filled_its_disk_can_be_emptied_and_filled_again";
        return with_small_disk(test, directory.path());
    };
    block_on(async {
        let mut store = open(&directory);
        for round in 0..3 {
            let mut numbers = Vec::new();
            let error = loop {
                let id = format!("{round}-{}", numbers.len());
                match try_append(&store, &id).await {
                    Ok(held) => numbers.push(held.id()),
                    Err(error) => break error,
                }
            };
            assert!(
                error.to_string().contains("free space on the disk"),
                "{error}"
            );
            assert!(numbers.len() > 8000, "round {round}: {}", numbers.len());
            assert_eq!(store.health().state, State::Down);
            if round == 1 {
                store.close().await;
                store = open(&directory);
            }
            let found = all(&store).await;
            let found: Vec<_> = found.iter().map(|record| record.id).collect();
            assert_eq!(found, numbers, "round {round}");
            // One by one as they are delivered; no other space is freed.
            for numbers in numbers.chunks(100) {
                store.remove(numbers).await.unwrap();
            }
            assert!(all(&store).await.is_empty());
            append_again(&store, "again").await;
            let again = all(&store).await;
            assert_eq!(ids(&again), ["again"]);
            store.remove(&[again[0].id]).await.unwrap();
        }
    });
}

#[test]
fn a_disk_that_others_have_filled_refuses_records_until_there_is_space() {
    let Some(directory) = child() else {
        let directory = tempfile::tempdir().unwrap();
        let test = "faults::a_disk_that_others_have_filled_refuses_records_until_there_is_space";
        return with_small_disk(test, directory.path());
    };
    block_on(async {
        let spool = directory.join("spool");
        let mut store = open(&spool);
        let first = append(&store, "first").await;
        let ballast = directory.join("ballast");
        let fill = || {
            // Ends with an error, when the disk is full.
            let filled = std::io::copy(
                &mut std::io::repeat(1),
                &mut fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(&ballast)
                    .unwrap(),
            );
            assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        };
        fill();
        let mut count = 0;
        let error = loop {
            match try_append(&store, "more").await {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, AccessError::Io { .. }), "{error}");
        store.remove(&[first]).await.unwrap();
        let found = all(&store).await;
        assert_eq!(ids(&found), vec!["more"; count]);
        store.close().await;

        // Even what was kept back belongs to others now.
        fill();
        let error = Store::open(config(&spool)).unwrap_err();
        assert!(
            error.to_string().contains("free space on the disk"),
            "{error}"
        );
        fs::remove_file(&ballast).unwrap();
        store = open(&spool);
        append(&store, "last").await;
        assert_eq!(all(&store).await.len(), count + 1);
        store.close().await;

        // What is kept back is enough to open it, and to remove what is delivered.
        fill();
        store = open(&spool);
        let found = all(&store).await;
        let found: Vec<_> = found.iter().map(|record| record.id).collect();
        assert_eq!(found.len(), count + 1);
        store.remove(&found).await.unwrap();
        store.flush().await.unwrap();
        assert!(store.is_empty());
    });
}

#[test]
fn a_disk_smaller_than_the_reserve_refuses_every_record() {
    let Some(directory) = child() else {
        let directory = tempfile::tempdir().unwrap();
        let test = "faults::a_disk_smaller_than_the_reserve_refuses_every_record";
        return with_small_disk(test, directory.path());
    };
    fs::write(directory.join("ballast"), vec![1; 56 << 20]).unwrap();
    block_on(async {
        let store = Store::open(StoreConfig {
            max_bytes: 2 << 20,
            ..config(&directory)
        })
        .unwrap();
        let error = try_append(&store, "1").await.unwrap_err();
        assert!(
            error.to_string().contains("free space on the disk"),
            "{error}"
        );
        assert!(store.is_empty() && !store.has_key("1"));
    });
}
