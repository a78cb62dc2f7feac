//! A replay that is ended half way is run again: nothing is missing, and at most what was under way
//! is there twice; nothing is, where it was asked to end.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};
use vodbridge_tests::brokers::Kind;
use vodbridge_tests::process::Process;

use super::{PATIENCE, command, list, reconfigure, replay};
use crate::load::Load;
use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq};

const COUNT: usize = 3_000;
/// When it is killed.
const REPLAYED: usize = 300;
/// Under way at once.
const CONCURRENCY: usize = 4;

/// Everything but this type is unrouted.
const ROUTES: &str = "routes: { pulled: { match: { event_type: PullComplete }, to: { events: {} } } }\n\
     dead_letter: { sink: events }";

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGKILL.
    Killed,
    /// SIGTERM, as Ctrl-C.
    Asked,
}

/// Runs until so many were replayed, and ends it then.
async fn end_half_way(directory: &std::path::Path, how: End) -> Result<()> {
    let concurrency = CONCURRENCY.to_string();
    let arguments = [
        "replay",
        "--yes",
        "--output",
        "json",
        "--concurrency",
        &concurrency,
    ];
    let replay = command(directory, &arguments)?;
    let process = Process::start("replay", replay, &directory.join("replay.log")).await?;
    let deadline = Instant::now() + 3 * PATIENCE;
    while process.log().lines().count() < REPLAYED {
        ensure!(Instant::now() < deadline, "{}", process.log_tail());
        sleep(Duration::from_millis(5)).await;
    }
    match how {
        End::Killed => process.kill()?,
        End::Asked => process.terminate()?,
    }
    let status = process.wait(PATIENCE).await?;
    let (log, done) = (process.log(), process.log().lines().count());
    ensure!(done < COUNT, "it was done: {done}");
    match how {
        End::Killed => ensure!(!log.contains("summary"), "{log}"),
        End::Asked => ensure!(
            status.code() == Some(1) && log.contains(r#""complete":false"#),
            "{status}: {}",
            process.log_tail()
        ),
    }
    Ok(())
}

/// `most`: how many may be there twice.
async fn nothing_is_missing<K: Kind>(own: Own<K>, how: End, most: usize) -> Result<()> {
    let bridge = own.setup(ROUTES)?.start().await?;
    let load = Load::start(bridge.webhook(), 64, COUNT - 1, notification);
    let tally = load.finish().await;
    assert_eq!(tally.confirmed.len(), COUNT, "{:?}", tally.refused);
    let directory = &bridge.directory();
    let records = list(directory, &["--reason", "unrouted"]).await?;
    assert_eq!(records.len(), COUNT);

    let sink = &own.sink;
    reconfigure(directory, &format!("sinks: {{ events: {{ {sink} }} }}"))?;
    end_half_way(directory, how).await?;
    let (_, sum) = replay(directory, 0, &[]).await?;
    let counts = ["replayed", "replayed_before"].map(|name| sum[name].as_u64().unwrap_or(0));
    assert_eq!(counts.iter().sum::<u64>(), COUNT as u64, "{sum}");
    ensure!(counts[1] >= (REPLAYED - 1) as u64, "{sum}");

    let mut found = BTreeMap::<_, usize>::new();
    for message in own.read().await? {
        if message.topic == "vod.NewFileUpload" {
            *found.entry(message.event()?.id.clone()).or_default() += 1;
        }
    }
    for record in &records {
        let id = record["id"].as_str().unwrap_or_default();
        ensure!(found.contains_key(id), "{id} is missing");
    }
    assert_eq!(found.len(), COUNT);
    let copies = found.values().sum::<usize>() - COUNT;
    ensure!(copies <= most, "{copies} are there twice");

    let (_, sum) = replay(directory, 0, &[]).await?;
    assert_eq!(
        (&sum["replayed"], &sum["replayed_before"]),
        (&0.into(), &COUNT.into())
    );
    Ok(())
}

#[tokio::test]
async fn an_interrupted_replay_to_kafka_is_repeated() -> Result<()> {
    nothing_is_missing(own_kafka().await?, End::Killed, CONCURRENCY).await
}

#[tokio::test]
async fn an_interrupted_replay_to_rabbitmq_is_repeated() -> Result<()> {
    nothing_is_missing(own_rabbitmq().await?, End::Killed, CONCURRENCY).await
}

#[tokio::test]
async fn an_interrupted_replay_to_nats_is_repeated() -> Result<()> {
    nothing_is_missing(own_nats().await?, End::Killed, 0).await
}

#[tokio::test]
async fn a_replay_that_is_asked_to_end_repeats_nothing() -> Result<()> {
    nothing_is_missing(own_kafka().await?, End::Asked, 0).await
}
