//! What one reader has, no other gets.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::task::JoinSet;
use vodbridge_store::{Held, Order, Record};

use crate::common::{entry, open};

#[tokio::test]
async fn what_is_picked_is_read_by_nobody_else_and_keeps_behind_what_its_appender_holds() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut held = Vec::new();
    for (id, key) in [("a", "1"), ("b", "1"), ("c", "2"), ("d", "2")] {
        held.push(store.append(&entry(id, Some(key), 10)).await.unwrap());
    }
    // The appender still has the first, and has left the others.
    held.truncate(1);
    let picked = store.pick(None, 2, Order::ByKey).await.unwrap();
    let of = |picked: &[(Record, Held)]| {
        let records = picked.iter().map(|(r, _)| r.entry.envelope.id().to_owned());
        records.collect::<Vec<_>>()
    };
    assert_eq!(of(&picked), ["c", "d"]);
    assert!(store.pick(None, 9, Order::ByKey).await.unwrap().is_empty());
    assert_eq!(of(&store.pick(None, 9, Order::None).await.unwrap()), ["b"]);
    let after = Some(picked[1].0.id);
    drop((picked, held));
    // Newer ones of these keys, for a reader that has come by while the first was held.
    drop(store.append(&entry("e", Some("1"), 10)).await.unwrap());
    drop(store.append(&entry("f", Some("2"), 10)).await.unwrap());
    assert_eq!(
        of(&store.pick(after, 9, Order::ByKey).await.unwrap()),
        ["f"]
    );
    let all = store.pick(None, 9, Order::ByKey).await.unwrap();
    assert_eq!(of(&all), ["a", "b", "c", "d", "e", "f"]);
    assert!(store.oldest(None, 9).await.unwrap().is_empty());
}

/// A reader that begins anew at every turn, and others that take out what it has picked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_taken_out_is_never_picked_again() {
    const RECORDS: usize = 4000;
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()));
    let entries: Vec<_> = (0..RECORDS)
        .map(|number| entry(&number.to_string(), None, 10))
        .collect();
    let appends = entries.iter().map(|entry| store.append(entry));
    drop(join_all(appends).await);
    let (mut picked, mut taking) = (HashSet::new(), JoinSet::new());
    while !store.is_empty() {
        for (record, held) in store.pick(None, 16, Order::None).await.unwrap() {
            let id = record.entry.envelope.id().to_owned();
            assert!(picked.insert(id), "twice");
            let store = store.clone();
            taking.spawn(async move { store.take_out(held).await });
        }
        // Removals are written in groups; meanwhile nothing is left to pick.
        if picked.len() == RECORDS {
            while taking.join_next().await.is_some() {}
            store.flush().await.unwrap();
        }
    }
}
