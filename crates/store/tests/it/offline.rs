//! What an operator does by hand.

use std::path::Path;

use serde_json::Value;
use vodbridge_core::State;
use vodbridge_store::{StoreEditor, StoreError, StoreReader, Which};

use crate::common::{all, append, entry, ids, open};

fn export(directory: &Path) -> Vec<Value> {
    let mut out = Vec::new();
    let exported = StoreReader::open(directory)
        .unwrap()
        .export(&mut out)
        .unwrap();
    assert!(exported.broken_off.is_none());
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn change(directory: &Path, statement: &str) {
    let connection = rusqlite::Connection::open(directory.join("store.db")).unwrap();
    connection.execute_batch(statement).unwrap();
}

#[tokio::test]
async fn a_store_is_listed_beside_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let first = append(&store, "1").await;
    let reader = StoreReader::open(directory.path()).unwrap();
    let held = store.append(&entry("2", None, 10)).await.unwrap();
    let seen = reader.list(None).unwrap();
    let events = seen
        .iter()
        .map(|seen| seen.event.as_ref().unwrap().id().to_owned());
    assert_eq!(events.collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((seen[0].id, seen[1].id), (first, held.id()));
    assert_eq!(reader.list(Some(held.id())).unwrap().len(), 0);
    // It does not stand in the owner's way.
    append(&store, "3").await;
    store.close().await;
    assert_eq!(reader.list(Some(first)).unwrap().len(), 2);
}

#[tokio::test]
async fn an_export_has_every_event_token_for_token() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..150 {
        append(&store, &number.to_string()).await;
    }
    let records = all(&store).await;
    store.close().await;
    let mut out = Vec::new();
    StoreReader::open(directory.path())
        .unwrap()
        .export(&mut out)
        .unwrap();
    let text = String::from_utf8(out).unwrap();
    for (line, record) in text.lines().zip(&records) {
        let structured = record.entry.envelope.structured();
        assert!(
            line.contains(std::str::from_utf8(&structured).unwrap()),
            "{line}"
        );
    }
    let lines = export(directory.path());
    assert_eq!(lines.len(), 150);
    assert_eq!(lines[0]["received_at"], "2027-01-15T08:00:00.000Z");
    assert_eq!(lines[0]["labels"][0]["value"], "FileDeleted");
    assert_eq!(lines[149]["source"], "callback");
}

#[tokio::test]
async fn a_damaged_record_is_set_aside_reported_and_taken_back_when_whole() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for id in ["1", "2", "3"] {
        drop(store.append(&entry(id, Some(id), 100)).await.unwrap());
    }
    store.close().await;
    let second = "where seq = (select seq from content order by seq limit 1 offset 1)";
    change(
        directory.path(),
        &format!("create table whole as select kept from content {second};
                  update content set kept = cast(replace(kept, 'FileDeleted', 'FileDelete!') as blob) {second}"),
    );

    let store = open(directory.path());
    assert!(store.has_key("2"), "nobody has looked yet");
    assert_eq!(ids(&all(&store).await), ["1", "3"]);
    let stats = store.stats();
    assert_eq!((stats.records, stats.damaged), (2, 1));
    assert!(!store.has_key("2"), "it would be waited for in vain");
    assert_eq!(store.health().state, State::Degraded);
    let lines = export(directory.path());
    assert!(
        lines[1]["flaw"].as_str().unwrap().contains("checksum"),
        "{}",
        lines[1]
    );
    assert!(
        lines[1]["content"]
            .as_str()
            .unwrap()
            .contains("FileDelete!")
    );
    store.close().await;

    let editor = StoreEditor::open(directory.path()).unwrap();
    assert_eq!(editor.retry(&Which::Damaged).unwrap(), 0, "still damaged");
    drop(editor);
    change(
        directory.path(),
        &format!("update content set kept = (select kept from whole) {second}; drop table whole"),
    );
    let flaw = &export(directory.path())[1]["flaw"];
    assert!(flaw.as_str().unwrap().contains("retry"), "{flaw}");
    let editor = StoreEditor::open(directory.path()).unwrap();
    assert_eq!(editor.retry(&Which::Damaged).unwrap(), 1);
    drop(editor);
    let store = open(directory.path());
    assert_eq!(ids(&all(&store).await), ["1", "2", "3"]);
    assert_eq!(store.health().state, State::Up);
}

#[tokio::test]
async fn a_damaged_record_in_front_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..20 {
        append(&store, &number.to_string()).await;
    }
    store.close().await;
    change(
        directory.path(),
        "update content set kept = x'00' where seq < 19; delete from content where seq = 19",
    );
    let store = open(directory.path());
    assert_eq!(ids(&store.oldest(None, 3).await.unwrap()), ["19"]);
    assert_eq!(store.stats().damaged, 19);
    store.close().await;
    assert_eq!(open(directory.path()).stats().damaged, 19, "remembered");
}

#[tokio::test]
async fn records_are_removed_and_retried_by_hand_while_no_bridge_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut numbers = Vec::new();
    for id in ["1", "2", "3"] {
        numbers.push(append(&store, id).await);
    }
    store.attempted(&numbers).await.unwrap();
    assert!(matches!(
        StoreEditor::open(directory.path()),
        Err(StoreError::Locked { .. })
    ));
    store.close().await;

    let editor = StoreEditor::open(directory.path()).unwrap();
    let number = numbers[1].to_string().parse().unwrap();
    assert_eq!(editor.retry(&Which::These(vec![numbers[0]])).unwrap(), 1);
    assert_eq!(
        editor.remove(&Which::These(vec![number, number])).unwrap(),
        1
    );
    drop(editor);
    let store = open(directory.path());
    let records = all(&store).await;
    assert_eq!(ids(&records), ["1", "3"]);
    assert_eq!(
        (records[0].entry.attempts, records[1].entry.attempts),
        (0, 1)
    );
    store.close().await;
    let editor = StoreEditor::open(directory.path()).unwrap();
    assert_eq!(editor.remove(&Which::All).unwrap(), 2);
    assert_eq!(editor.remove(&Which::All).unwrap(), 0);
}

#[test]
fn looking_makes_no_store() {
    let directory = tempfile::tempdir().unwrap();
    let missing = |error| matches!(error, StoreError::Missing { .. });
    assert!(StoreReader::open(directory.path()).is_err_and(missing));
    assert!(StoreEditor::open(directory.path()).is_err_and(missing));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn an_export_goes_on_where_the_table_of_records_breaks_off() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..300 {
        append(&store, &number.to_string()).await;
    }
    store.close().await;
    let file = directory.path().join("store.db");
    let mut bytes = std::fs::read(&file).unwrap();
    let connection = rusqlite::Connection::open(&file).unwrap();
    let root = "select rootpage from sqlite_schema where name = 'record'";
    let root: u32 = connection.query_row(root, [], |row| row.get(0)).unwrap();
    drop(connection);
    bytes[(root as usize - 1) * 16 * 1024] ^= 0xff;
    std::fs::write(&file, &bytes).unwrap();
    let mut out = Vec::new();
    let reader = StoreReader::open(directory.path()).unwrap();
    let exported = reader.export(&mut out).unwrap();
    assert!(exported.broken_off.is_some());
    assert_eq!((exported.records, exported.damaged), (300, 300));
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().all(|line| line.contains("FileDeleted")));
}
