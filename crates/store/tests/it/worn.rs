//! A page that cannot be read any more keeps nothing but its own records from being used.

use std::fs;
use std::path::Path;

use vodbridge_core::State;
use vodbridge_store::{RecordId, Store, StoreEditor, Which};

use crate::common::{all, append_entry, entry, ids, open};

const PAGE: usize = 16 * 1024;

/// Overwrites the page of the file in which these bytes are, if it is a leaf of the contents.
fn wear(directory: &Path, bytes: &[u8]) {
    let file = directory.join("store.db");
    let mut whole = fs::read(&file).unwrap();
    let at = whole.windows(bytes.len()).position(|w| w == bytes).unwrap();
    let page = at / PAGE * PAGE;
    whole[page..page + PAGE].fill(0xa5);
    fs::write(&file, whole).unwrap();
}

/// A store with so many records, closed.
async fn fill(directory: &Path, records: usize) {
    let store = open(directory);
    for number in 0..records {
        let id = number.to_string();
        let kept = append_entry(&store, &entry(&id, Some(&id), 2000)).await;
        drop(kept.unwrap());
    }
    store.close().await;
}

async fn remove(store: &Store, records: &[RecordId]) {
    store.remove(records).await.unwrap();
    store.flush().await.unwrap();
}

#[tokio::test]
async fn a_lost_page_stops_neither_what_comes_nor_what_goes() {
    const RECORDS: usize = 200;
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), RECORDS).await;
    let lost = entry("100", Some("100"), 2000).envelope.structured();
    wear(directory.path(), &lost);

    let store = open(directory.path());
    let found = all(&store).await;
    let damaged = store.stats().damaged as usize;
    assert_eq!(found.len() + damaged, RECORDS);
    assert!((1..20).contains(&damaged), "{damaged}");
    for record in &found {
        remove(&store, &[record.id]).await;
        drop(
            append_entry(&store, &entry("new", None, 2000))
                .await
                .unwrap(),
        );
    }
    let left = all(&store).await;
    assert!(ids(&left).iter().all(|id| *id == "new"));
    assert_eq!(left.len(), found.len());
    assert_eq!(store.stats().damaged as usize, damaged);
    store.close().await;
    let store = open(directory.path());
    assert_eq!(all(&store).await.len(), found.len());
    assert_eq!(store.stats().damaged as usize, damaged);
}

/// The page to which the next record would be added.
#[tokio::test]
async fn where_nothing_can_be_added_what_is_there_is_read_and_removed() {
    const RECORDS: usize = 50;
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), RECORDS).await;
    let lost = entry("49", Some("49"), 2000).envelope.structured();
    wear(directory.path(), &lost);

    let store = open(directory.path());
    let new = entry("new", None, 2000);
    append_entry(&store, &new).await.unwrap_err();
    let found = all(&store).await;
    let damaged = store.stats().damaged as usize;
    assert!(damaged > 0 && found.len() + damaged == RECORDS);
    for record in found {
        // One that comes all the time, and is refused.
        append_entry(&store, &new).await.unwrap_err();
        assert_eq!(store.health().state, State::Down);
        remove(&store, &[record.id]).await;
    }
    assert!(store.is_empty() && all(&store).await.is_empty());
    store.close().await;
    let editor = StoreEditor::open(directory.path()).unwrap();
    assert_eq!(editor.remove(&Which::Damaged).unwrap(), damaged as u64);
    drop(editor);
    assert_eq!(open(directory.path()).stats().damaged, 0);
}
