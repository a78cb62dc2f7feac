//! Random schedules against a list in memory.

use proptest::prelude::*;
use vodbridge_store::{Held, RecordId, Store};

use crate::common::{all, entry, open};

#[derive(Debug, Clone)]
enum Step {
    /// A record with this key and length; whether it stays held.
    Append(Option<u8>, usize, bool),
    /// The n-th record there is.
    Remove(usize),
    Attempt(usize),
    /// The n-th that is held.
    Release(usize),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let length = prop_oneof![4 => 0..3000_usize, 1 => 10_000..60_000_usize];
    prop_oneof![
        6 => (proptest::option::of(0..4_u8), length, any::<bool>())
            .prop_map(|(key, length, held)| Step::Append(key, length, held)),
        4 => any::<usize>().prop_map(Step::Remove),
        1 => any::<usize>().prop_map(Step::Attempt),
        2 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::Reopen),
    ]
}

struct Expected {
    number: RecordId,
    id: String,
    key: Option<u8>,
    attempts: u32,
    held: Option<Held>,
}

fn key_name(key: u8) -> String {
    format!("file-{key}")
}

async fn compare(store: &Store, expected: &[Expected]) {
    let found = all(store).await;
    let found: Vec<_> = found
        .iter()
        .map(|record| (record.id, record.entry.envelope.id(), record.entry.attempts))
        .collect();
    let readable: Vec<_> = expected
        .iter()
        .filter(|expected| expected.held.is_none())
        .map(|expected| (expected.number, &*expected.id, expected.attempts))
        .collect();
    assert_eq!(found, readable);
    store.flush().await.unwrap();
    assert_eq!(store.len(), expected.len() as u64);
    assert_eq!(store.stats().oldest.is_some(), !expected.is_empty());
    for key in 0..4 {
        let has = expected.iter().any(|expected| expected.key == Some(key));
        assert_eq!(store.has_key(&key_name(key)), has, "{key}");
    }
}

async fn run(steps: Vec<Step>) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let mut expected: Vec<Expected> = Vec::new();
    for (count, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append(key, length, keep_held) => {
                let id = count.to_string();
                let entry = entry(&id, key.map(key_name).as_deref(), length);
                let held = store.append(&entry).await.unwrap();
                expected.push(Expected {
                    number: held.id(),
                    id,
                    key,
                    attempts: 0,
                    held: keep_held.then_some(held),
                });
            }
            Step::Remove(n) if !expected.is_empty() => {
                let gone = expected.remove(n % expected.len());
                store.remove(&[gone.number, gone.number]).await.unwrap();
            }
            Step::Attempt(n) if !expected.is_empty() => {
                let n = n % expected.len();
                expected[n].attempts += 1;
                store.attempted(&[expected[n].number]).await.unwrap();
            }
            Step::Release(n) if !expected.is_empty() => {
                let n = n % expected.len();
                expected[n].held = None;
            }
            Step::Reopen => {
                store.close().await;
                store = open(directory.path());
                expected
                    .iter_mut()
                    .for_each(|expected| expected.held = None);
            }
            Step::Remove(_) | Step::Attempt(_) | Step::Release(_) => {}
        }
        compare(&store, &expected).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_store_is_a_list_that_survives(steps in proptest::collection::vec(step(), 1..40)) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps));
    }
}
