//! A process that is killed while it appends.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use crate::common::{again, all, entry, ids, open};

const CHILD: &str = "STORE_TEST_KILL";
const ROUNDS: usize = 40;

#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(directory) = std::env::var_os(CHILD) {
        append_for_ever(directory.into());
    }
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut expected = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut child = again(
            "kill::what_was_acknowledged_survives_a_kill",
            CHILD,
            directory.path(),
        )
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map(Result::unwrap);
        // Now here, now there: some rounds end in the first commits, some in a write back.
        let wanted = fastrand::usize(1..400);
        let mut said = 0;
        let mut take = |line: String| match line.split_once(' ') {
            Some(("acked", id)) => {
                expected.insert(id.to_owned());
                true
            }
            Some(("removing", id)) => {
                // From here on it may be there or not.
                expected.remove(id);
                true
            }
            _ => false,
        };
        while said < wanted {
            said += usize::from(take(lines.next().expect("the child goes on")));
        }
        child.kill().unwrap();
        for line in lines {
            take(line);
        }
        child.wait().unwrap();

        let store = open(directory.path());
        let found = runtime.block_on(all(&store));
        assert_eq!(store.stats().damaged, 0);
        runtime.block_on(store.close());
        let found: BTreeSet<String> = ids(&found).into_iter().map(str::to_owned).collect();
        let missing: Vec<_> = expected.difference(&found).collect();
        assert!(missing.is_empty(), "round {round}: {missing:?}");
    }
    assert!(expected.len() > ROUNDS, "{}", expected.len());
}

/// Sixteen writers; each says what is durable, and removes every third record again.
fn append_for_ever(directory: PathBuf) -> ! {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Arc::new(open(&directory));
    let run = fastrand::u64(..);
    for writer in 0..16 {
        let store = store.clone();
        runtime.spawn(async move {
            for number in 0_u64.. {
                let id = format!("{run:016x}-{writer}-{number}");
                let key = format!("file-{}", number % 5);
                let bytes = [100, 2000, 30_000][number as usize % 3];
                let held = store.append(&entry(&id, Some(&key), bytes)).await.unwrap();
                println!("acked {id}");
                if number % 3 == 0 {
                    println!("removing {id}");
                    store.remove(&[held.id()]).await.unwrap();
                }
            }
        });
    }
    loop {
        std::thread::park();
    }
}
