//! What a store promises while nothing goes wrong.

use std::time::{Duration, SystemTime};

use vodbridge_core::State;
use vodbridge_store::{AccessError, Entry, Store, StoreConfig, StoreError};

use crate::common::{all, append, append_entry, config, entry, ids, open};

#[tokio::test]
async fn an_envelope_comes_back_the_same_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut kept = entry("1", Some("file-1"), 20_000);
    kept.attempts = 3;
    kept.envelope = kept.envelope.with_topic("vod.other".into());
    drop(store.append(&kept).await.unwrap());
    store.close().await;

    let store = open(directory.path());
    let records = all(&store).await;
    let [record] = &records[..] else {
        panic!("{records:?}")
    };
    let (found, kept) = (&record.entry, &kept);
    assert_eq!(found.envelope.structured(), kept.envelope.structured());
    assert_eq!(found.envelope.data(), kept.envelope.data());
    assert_eq!(found.envelope.labels(), kept.envelope.labels());
    assert_eq!(found.envelope.topic(), Some("vod.other"));
    assert!(found.envelope.attributes().eq(kept.envelope.attributes()));
    assert_eq!(
        (&found.source, found.received, found.attempts),
        (&kept.source, kept.received, 3)
    );
}

#[tokio::test]
async fn records_come_oldest_first_and_removed_ones_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut numbers = Vec::new();
    for id in ["a", "b", "c", "d"] {
        numbers.push(append(&store, id).await);
    }
    store.remove(&numbers[1..2]).await.unwrap();
    assert_eq!(ids(&all(&store).await), ["a", "c", "d"]);
    let two = store.oldest(None, 2).await.unwrap();
    assert_eq!(ids(&two), ["a", "c"]);
    let rest = store.oldest(Some(two[1].id), 2).await.unwrap();
    assert_eq!(ids(&rest), ["d"]);
    store.close().await;
    assert_eq!(ids(&all(&open(directory.path())).await), ["a", "c", "d"]);
}

#[tokio::test]
async fn a_held_record_is_not_read_and_a_released_one_is_announced() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let held = store.append(&entry("1", None, 10)).await.unwrap();
    assert_eq!((store.len(), all(&store).await.len()), (1, 0));
    drop(held);
    store.changed().await;
    assert_eq!(ids(&all(&store).await), ["1"]);
    // What nobody waited for is there too.
    let append = entry("2", None, 10);
    let mut append = Box::pin(store.append(&append));
    assert!(futures_poll_once(&mut append).await.is_none());
    drop(append);
    append_entry(&store, &entry("3", None, 10)).await.unwrap();
    let found = all(&store).await;
    assert!(
        ids(&found).ends_with(&["3"]) && found.len() <= 3,
        "{found:?}"
    );
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn keys_are_known_as_long_as_a_record_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(!store.has_key("k"));
    let one = store.append(&entry("1", Some("k"), 10)).await.unwrap().id();
    let two = store.append(&entry("2", Some("k"), 10)).await.unwrap().id();
    drop(store.append(&entry("3", None, 10)).await.unwrap());
    assert!(store.has_key("k") && !store.has_key("other"));
    store.remove(&[one]).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(all(&store).await.len(), 2);
    assert!(store.has_key("k"));
    store.close().await;

    let store = open(directory.path());
    assert!(store.has_key("k") && !store.has_key("other"));
    store.remove(&[two]).await.unwrap();
    assert_eq!(all(&store).await.len(), 1);
    store.flush().await.unwrap();
    assert!(!store.has_key("k"));
}

#[tokio::test]
async fn a_full_store_says_so_at_once_and_drops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig {
        max_bytes: 2 << 20,
        ..config(directory.path())
    })
    .unwrap();
    let mut numbers = Vec::new();
    let error = loop {
        let id = numbers.len().to_string();
        match store.append(&entry(&id, Some(&id), 2000)).await {
            Ok(held) => numbers.push(held.id()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, AccessError::Full { .. }), "{error}");
    assert!(!store.has_key(&numbers.len().to_string()), "it is not kept");
    let stats = store.stats();
    assert_eq!((stats.records, stats.refused), (numbers.len() as u64, 1));
    assert!(stats.bytes <= 2 << 20 && stats.bytes > 1 << 20, "{stats:?}");
    assert!(numbers.len() > 600, "{} of 2,000 bytes fit", numbers.len());
    assert_eq!(all(&store).await.len(), numbers.len());

    store.remove(&numbers[..100]).await.unwrap();
    store.flush().await.unwrap();
    assert_eq!(all(&store).await.len(), numbers.len() - 100);
    append(&store, "again").await;
}

#[tokio::test]
async fn many_at_once_cannot_pass_the_limit_together() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(StoreConfig {
        max_bytes: 2 << 20,
        ..config(directory.path())
    })
    .unwrap();
    let entries: Vec<Entry> = (0..100)
        .map(|n| entry(&n.to_string(), None, 70_000))
        .collect();
    let results = std::thread::scope(|scope| {
        let appends: Vec<_> = entries
            .iter()
            .map(|entry| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .build()
                        .unwrap();
                    runtime.block_on(store.append(entry)).is_ok()
                })
            })
            .collect();
        appends
            .into_iter()
            .map(|a| a.join().unwrap())
            .collect::<Vec<_>>()
    });
    let kept = results.iter().filter(|kept| **kept).count();
    assert!((20..30).contains(&kept), "{kept}");
    assert!(store.bytes() <= 2 << 20, "{}", store.bytes());
}

#[tokio::test]
async fn one_fsync_serves_many() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let entries: Vec<Entry> = (0..500).map(|n| entry(&n.to_string(), None, 100)).collect();
    let mut appends = tokio::task::JoinSet::new();
    let store = std::sync::Arc::new(store);
    for entry in entries {
        let store = store.clone();
        appends.spawn(async move { store.append(&entry).await.map(drop) });
    }
    while let Some(append) = appends.join_next().await {
        append.unwrap().unwrap();
    }
    let stats = store.stats();
    assert_eq!((stats.appended, stats.records), (500, 500));
    assert!(stats.commits < 250, "{stats:?}");
}

#[tokio::test]
async fn removals_become_durable_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = append(&store, "1").await;
    store.remove(&[id]).await.unwrap();
    let settled = async {
        while store.stats().removed == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), settled)
        .await
        .unwrap();
    assert_eq!((store.len(), store.stats().oldest), (0, None));
}

#[tokio::test]
async fn only_what_is_older_than_max_age_is_expired() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let old = entry("old", None, 10);
    let new = Entry {
        received: old.received + Duration::from_secs(60),
        ..entry("new", None, 10)
    };
    drop(store.append(&old).await.unwrap());
    drop(store.append(&new).await.unwrap());
    let age = store.config().max_age;
    let expired = async |now: SystemTime| {
        let records = store.expired(now, 10).await.unwrap();
        ids(&records).join(" ")
    };
    assert_eq!(
        expired(old.received + age - Duration::from_millis(1)).await,
        ""
    );
    assert_eq!(expired(old.received + age).await, "old");
    assert_eq!(expired(new.received + age).await, "old new");
    let minute = Duration::from_secs(60);
    assert_eq!(store.oldest_age(old.received + minute), Some(minute));
    assert_eq!(
        store.oldest_age(old.received - minute),
        Some(Duration::ZERO)
    );
}

#[tokio::test]
async fn attempts_are_counted_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let id = append(&store, "1").await;
    store.attempted(&[id]).await.unwrap();
    store.attempted(&[id]).await.unwrap();
    assert_eq!(all(&store).await[0].entry.attempts, 2);
    store.attempted(&[id]).await.unwrap();
    store.close().await;
    assert_eq!(all(&open(directory.path())).await[0].entry.attempts, 3);
}

#[tokio::test]
async fn a_number_is_never_given_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut last = None;
    for round in 0..3 {
        let store = open(directory.path());
        let id = append(&store, &round.to_string()).await;
        assert!(Some(id) > last, "{id} after {last:?}");
        last = Some(id);
        store.remove(&[id]).await.unwrap();
        store.close().await;
    }
}

#[tokio::test]
async fn large_records_are_read_few_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for id in ["1", "2", "3"] {
        drop(store.append(&entry(id, None, 5 << 20)).await.unwrap());
    }
    assert_eq!(store.oldest(None, 10).await.unwrap().len(), 1);
    assert_eq!(ids(&all(&store).await), ["1", "2", "3"]);
}

#[tokio::test]
async fn an_empty_store_gives_its_space_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut numbers = Vec::new();
    for id in 0..20 {
        let entry = entry(&id.to_string(), None, 5 << 20);
        numbers.push(store.append(&entry).await.unwrap().id());
    }
    let size = || {
        let file = |name| std::fs::metadata(directory.path().join(name)).map_or(0, |f| f.len());
        file("store.db") + file("store.db-wal")
    };
    assert!(size() > 100 << 20, "{}", size());
    store.remove(&numbers).await.unwrap();
    assert!(all(&store).await.is_empty());
    store.flush().await.unwrap();
    assert!(size() < 1 << 20, "{}", size());
    append(&store, "again").await;
}

#[tokio::test]
async fn has_one_owner_at_a_time_who_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let error = Store::open(config(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }));
    let text = error.to_string();
    assert!(
        text.contains(&format!("process {}", std::process::id())) && text.contains("stop that"),
        "{text}"
    );
    store.close().await;
    let store = open(directory.path());
    assert_eq!(store.health().state, State::Up);
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    std::fs::write(&file, "something else, long enough to be no empty file").unwrap();
    let error = Store::open(config(directory.path())).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    let found = std::fs::read(&file).unwrap();
    assert!(found.starts_with(b"something else"));

    // A database of somebody else's.
    let theirs = tempfile::tempdir().unwrap();
    let file = theirs.path().join("store.db");
    rusqlite::Connection::open(&file)
        .unwrap()
        .execute_batch("create table t (x)")
        .unwrap();
    let before = std::fs::read(&file).unwrap();
    let error = Store::open(config(theirs.path())).unwrap_err();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);

    let too_small = StoreConfig {
        max_bytes: 1000,
        ..config(directory.path())
    };
    let error = Store::open(too_small).unwrap_err();
    assert!(matches!(error, StoreError::TooSmall { .. }), "{error}");
}

#[tokio::test]
async fn everything_fails_once_it_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.close().await;
    store.close().await;
    let append = store.append(&entry("1", None, 10)).await;
    assert!(matches!(append, Err(AccessError::Closed)));
    assert!(!store.has_key("file-1"));
    assert!(matches!(
        store.oldest(None, 1).await,
        Err(AccessError::Closed)
    ));
}

#[tokio::test]
async fn files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("a/spool");
    let store = open(&inner);
    append(&store, "1").await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inner), 0o700);
    let files: Vec<_> = std::fs::read_dir(&inner)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}
