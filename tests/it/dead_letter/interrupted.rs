//! A replay that is killed half way is run again: nothing is missing, and at most what was under way
//! is there twice.

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

/// Runs until so many were replayed, and kills it then.
async fn kill_half_way(directory: &std::path::Path) -> Result<()> {
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
    process.kill()?;
    process.wait(PATIENCE).await?;
    let done = process.log().lines().count();
    ensure!(
        done < COUNT && !process.log().contains("summary"),
        "it was done: {done}"
    );
    Ok(())
}

async fn nothing_is_missing<K: Kind>(own: Own<K>, recognises_copies: bool) -> Result<()> {
    let bridge = own.setup(ROUTES)?.start().await?;
    let load = Load::start(bridge.webhook(), 64, COUNT - 1, notification);
    let tally = load.finish().await;
    assert_eq!(tally.confirmed.len(), COUNT, "{:?}", tally.refused);
    let directory = &bridge.directory();
    let records = list(directory, &["--reason", "unrouted"]).await?;
    assert_eq!(records.len(), COUNT);

    let sink = &own.sink;
    reconfigure(directory, &format!("sinks: {{ events: {{ {sink} }} }}"))?;
    kill_half_way(directory).await?;
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
    let most = if recognises_copies { 0 } else { CONCURRENCY };
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
    nothing_is_missing(own_kafka().await?, false).await
}

#[tokio::test]
async fn an_interrupted_replay_to_rabbitmq_is_repeated() -> Result<()> {
    nothing_is_missing(own_rabbitmq().await?, false).await
}

#[tokio::test]
async fn an_interrupted_replay_to_nats_is_repeated() -> Result<()> {
    nothing_is_missing(own_nats().await?, true).await
}
