//! What one reader has, no other gets.

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
    drop((picked, held));
    let all = store.pick(None, 9, Order::ByKey).await.unwrap();
    assert_eq!(of(&all), ["a", "b", "c", "d"]);
    assert!(store.oldest(None, 9).await.unwrap().is_empty());
}
