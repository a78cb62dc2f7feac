//! `cargo run --release -- WHAT ENGINE DIRECTORY`, where WHAT is
//!
//! - `append`: durable appends at 1, 16, 256 and 1,024 writers, one thread committing for all;
//! - `churn`: a million appends, and deletions that leave at most 20,000 records;
//! - `abort`: a million appends, then the process aborts; `reopen` after it opens, scans, deletes;
//! - `full`: appends until the disk is full, then deletes; for a small file system.

mod engines;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engines::{Engine, Result, open};
use tokio::sync::{mpsc, oneshot};

const BYTES: usize = 2048;
const MILLION: u64 = 1_000_000;
const GROUP: u64 = 256;
const ROW: Duration = Duration::from_secs(6);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, engine, directory] = &arguments[..] else {
        return Err("three arguments: WHAT ENGINE DIRECTORY".into());
    };
    let directory = PathBuf::from(directory);
    match &**what {
        "append" => append(engine, &directory),
        "churn" => churn(engine, &directory),
        "abort" => {
            // Open until the end: an engine that is closed has nothing to recover.
            let mut store = open(engine, &directory)?;
            fill(&mut *store)?;
            println!("{engine}: filled, {} MiB", disk(&directory)? >> 20);
            std::process::abort()
        }
        "reopen" => reopen(engine, &directory),
        "full" => full(engine, &directory),
        other => Err(format!("nothing is called {other}").into()),
    }
}

fn append(engine: &str, base: &Path) -> Result<()> {
    for writers in [1, 16, 256, 1024] {
        let directory = base.join(format!("{engine}-{writers}"));
        std::fs::create_dir(&directory)?;
        let store = open(engine, &directory)?;
        let (sender, receiver) = mpsc::channel(1024);
        let committer = std::thread::spawn(move || commit(store, receiver));
        let started = Instant::now();
        let runtime = tokio::runtime::Runtime::new()?;
        for writer in 0..writers {
            let sender: mpsc::Sender<Job> = sender.clone();
            runtime.spawn(async move {
                let value = value(writer);
                while started.elapsed() < ROW {
                    let (done, durable) = oneshot::channel();
                    let sent = sender.send((value.clone(), done)).await;
                    if sent.is_err() || durable.await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (count, commits) = committer.join().map_err(|_| "the committer panicked")??;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{engine}, {writers} writers: {:.0} appends/s, {:.0} commits/s, {:.2} bytes of disk a byte",
            count as f64 / seconds,
            commits as f64 / seconds,
            disk(&directory)? as f64 / (count * BYTES as u64) as f64,
        );
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

type Job = (Vec<u8>, oneshot::Sender<()>);

fn commit(mut store: Box<dyn Engine>, mut jobs: mpsc::Receiver<Job>) -> Result<(u64, u64)> {
    let (mut count, mut commits) = (0, 0);
    let mut group = Vec::new();
    while jobs.blocking_recv_many(&mut group, 1024) > 0 {
        let (values, answers): (Vec<_>, Vec<_>) = group.drain(..).unzip();
        store.append(count + 1, &values)?;
        count += values.len() as u64;
        commits += 1;
        for answer in answers {
            answer.send(()).unwrap_or(());
        }
    }
    Ok((count, commits))
}

fn churn(engine: &str, directory: &Path) -> Result<()> {
    let mut store = open(engine, directory)?;
    let (mut next, mut oldest, mut most) = (1, 1, 0);
    let started = Instant::now();
    while next <= MILLION {
        store.append(next, &values(next))?;
        next += GROUP;
        if next - oldest > 20_000 {
            store.delete(oldest, oldest + GROUP)?;
            oldest += GROUP;
        }
        if next / GROUP % 200 == 0 {
            most = most.max(disk(directory)?);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{engine}: {seconds:.1} s, at most {} MiB for 39 MiB",
        most >> 20
    );
    while oldest < next {
        store.delete(oldest, oldest + GROUP)?;
        oldest += GROUP;
    }
    println!("{engine}: empty, {} MiB", disk(directory)? >> 20);
    Ok(())
}

fn fill(store: &mut dyn Engine) -> Result<()> {
    for next in (1..=MILLION).step_by(GROUP as usize) {
        store.append(next, &values(next))?;
    }
    Ok(())
}

fn reopen(engine: &str, directory: &Path) -> Result<()> {
    let started = Instant::now();
    let mut store = open(engine, directory)?;
    println!("{engine}: opened in {:.1?}", started.elapsed());
    let started = Instant::now();
    let mut count = 0;
    store.scan(&mut |value| {
        assert_eq!(value.len(), BYTES);
        count += 1;
    })?;
    println!("{engine}: scanned {count} in {:.1?}", started.elapsed());
    let started = Instant::now();
    for from in (1..=count).step_by(GROUP as usize) {
        store.delete(from, from + GROUP)?;
    }
    println!("{engine}: deleted in {:.1?}", started.elapsed());
    let status = std::fs::read_to_string("/proc/self/status")?;
    let memory = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{engine}: {}", memory.unwrap_or_default());
    Ok(())
}

fn full(engine: &str, directory: &Path) -> Result<()> {
    let ballast = directory.join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20])?;
    let mut store = open(engine, directory)?;
    let mut next = 1;
    let error = loop {
        match store.append(next, &values(next)) {
            Ok(()) => next += GROUP,
            Err(error) => break error,
        }
    };
    println!("{engine}: full after {}: {error}", next - 1);
    println!("{engine}: delete half: {:?}", store.delete(1, next / 2));
    std::fs::remove_file(&ballast)?;
    println!(
        "{engine}: append with space: {:?}",
        store.append(next + GROUP, &values(next))
    );
    println!("{engine}: delete half: {:?}", store.delete(1, next / 2));
    Ok(())
}

fn values(first: u64) -> Vec<Vec<u8>> {
    (first..first + GROUP).map(value).collect()
}

/// Bytes that do not compress.
fn value(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(byte).take(BYTES).collect()
}

fn disk(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let file = entry.metadata()?;
        bytes += if file.is_dir() {
            disk(&entry.path())?
        } else {
            file.blocks() * 512
        };
    }
    Ok(bytes)
}
