//! How many records a second become durable, at 1, 16, 256 and 1,024 writers, and how many are
//! read and removed again; and how long it takes to open: `cargo run -p vodbridge-store --profile ci --example throughput`.
//!
//! Options: a directory to write in (the current one), and seconds a row (5).

#![allow(clippy::print_stdout, reason = "it prints a table")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use vodbridge_core::testing::event;
use vodbridge_store::{Entry, Store, StoreConfig};

const WRITERS: [usize; 4] = [1, 16, 256, 1024];
/// Of an event's data.
const BYTES: usize = 2048;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().unwrap_or_else(|| ".".to_owned());
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    for writers in WRITERS {
        let directory = tempfile::tempdir_in(Path::new(&base))?;
        let store = Arc::new(Store::open(config(directory.path()))?);
        let started = Instant::now();
        append(&store, writers, Duration::from_secs(seconds)).await?;
        let took = started.elapsed().as_secs_f64();
        let stats = store.stats();
        let disk = disk_use(directory.path())?;
        println!(
            "{writers:>5} writers: {:>7.0} appends/s, {:>5.0} fsyncs/s, {:>4.0} appends a fsync; {:.2} bytes of disk a byte",
            stats.appended as f64 / took,
            stats.commits as f64 / took,
            stats.appended as f64 / stats.commits as f64,
            disk as f64 / (stats.appended as f64 * BYTES as f64),
        );
        store.close().await;
        let started = Instant::now();
        let store = Store::open(config(directory.path()))?;
        println!(
            "      opened with {} records in {:.1?}",
            store.len(),
            started.elapsed()
        );
        let (records, started) = (store.len(), Instant::now());
        drain(&store).await?;
        let took = started.elapsed().as_secs_f64();
        store.close().await;
        println!(
            "      drained: {:>7.0} records/s; {} MiB of disk when empty",
            records as f64 / took,
            disk_use(directory.path())? >> 20,
        );
    }
    Ok(())
}

fn config(directory: &Path) -> StoreConfig {
    StoreConfig {
        directory: directory.to_owned(),
        max_bytes: 64 << 30,
        max_age: Duration::from_secs(3600),
    }
}

/// Each writer appends, waits until that is durable, and appends again.
async fn append(store: &Arc<Store>, writers: usize, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let mut event = event(&format!("{writer:064x}"), "NewFileUpload");
            event.partition_key = Some(format!("528589078427{writer}"));
            let entry = Entry {
                source: "callback".to_owned(),
                received: SystemTime::now(),
                attempts: 0,
                settled: Vec::new(),
                envelope: event.encode(|data| {
                    data.push(b'"');
                    data.extend((2..BYTES).map(|_| fastrand::alphanumeric() as u8));
                    data.push(b'"');
                }),
            };
            while Instant::now() < end {
                store.append(&entry).await?;
            }
            Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

/// Reads and removes, as whoever delivers would.
async fn drain(store: &Store) -> Result<()> {
    let mut after = None;
    loop {
        let records = store.oldest(after, 256).await?;
        let ids: Vec<_> = records.iter().map(|record| record.id).collect();
        let Some(last) = ids.last() else {
            return Ok(store.flush().await?);
        };
        after = Some(*last);
        store.remove(&ids).await?;
    }
}

fn disk_use(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut blocks = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() != "reserve" {
            blocks += entry.metadata()?.blocks();
        }
    }
    Ok(blocks * 512)
}
