//! A spool under load: not touched while the broker works, and emptied fast when it is back.

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;

use crate::load::{Load, Tally, numbers};
use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq};
use crate::refusals::task;
use crate::spool::{RECOVERY, SPOOL, records};

/// When each file of a directory was written last, and its length.
fn written(directory: &Path) -> Result<Vec<(String, SystemTime, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let (entry, name) = entry.map(|e| (e.metadata(), e.file_name()))?;
        let entry = entry?;
        let name = name.to_string_lossy().into_owned();
        files.push((name, entry.modified()?, entry.len()));
    }
    files.sort();
    Ok(files)
}

/// For how long no ack came, at most, while callbacks waited for one: from the last look before an
/// ack to the first one after the next.
async fn longest_silence(bridge: &Bridge, ended: impl Fn() -> bool) -> Result<Duration> {
    let (mut longest, mut acked) = (Duration::ZERO, 0.0);
    let (mut before, mut last) = (Instant::now(), Instant::now());
    while !ended() {
        let asked = Instant::now();
        let metrics = bridge.metrics().await?;
        let now = metrics.sum("vodbridge_publishes_acked_total", &[]);
        longest = longest.max(before.elapsed());
        if now > acked {
            (acked, before) = (now, last);
        }
        last = asked;
        sleep(Duration::from_millis(20)).await;
    }
    Ok(longest)
}

/// Of several types, so that each broker has as many topics to serve.
fn of_many_types(number: usize) -> Vec<u8> {
    const TYPES: [&str; 7] = [
        "ClipComplete",
        "ConcatComplete",
        "CreateImageSpriteComplete",
        "EditMediaComplete",
        "PullComplete",
        "SplitMediaComplete",
        "TranscodeComplete",
    ];
    match TYPES.get(number % (TYPES.len() + 1)) {
        Some(event_type) => task(event_type, number, ""),
        None => notification(number),
    }
}

/// However many callers there are, nobody takes the broker for one that is away.
#[allow(
    clippy::print_stdout,
    reason = "shown where a test is asked for its output"
)]
async fn while_the_broker_works_nothing_touches_the_disk<K: Kind>(
    own: Result<Own<K>>,
) -> Result<()> {
    let own = own?;
    let bridge = own.setup(SPOOL)?.start().await?;
    let spool = bridge.directory().join("spool");
    let before = written(&spool)?;
    let mut next = 0;
    for callers in [1, 64, 1024] {
        let count = 200 + callers * 40;
        let these = next..next + count;
        next = these.end;
        let load = Load::start_at(bridge.webhook(), callers, these, of_many_types);
        let load = tokio::spawn(load.finish());
        let silence = longest_silence(&bridge, || load.is_finished()).await?;
        println!(
            "{} with {callers} callers was silent for at most {silence:.0?}",
            K::NAME
        );
        assert_eq!(load.await?.confirmed.len(), count);
    }
    assert_eq!(before, written(&spool)?);
    Ok(())
}

#[tokio::test]
async fn while_kafka_works_nothing_touches_the_disk() -> Result<()> {
    while_the_broker_works_nothing_touches_the_disk(own_kafka().await).await
}

#[tokio::test]
async fn while_rabbitmq_works_nothing_touches_the_disk() -> Result<()> {
    while_the_broker_works_nothing_touches_the_disk(own_rabbitmq().await).await
}

#[tokio::test]
async fn while_nats_works_nothing_touches_the_disk() -> Result<()> {
    while_the_broker_works_nothing_touches_the_disk(own_nats().await).await
}

/// Bytes of memory that a process has.
fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next());
    Ok(kilobytes.context("no VmRSS")?.parse::<u64>()? << 10)
}

/// Numbers of notifications that come before those of the outage.
const BEFORE: Range<usize> = 0..20_000;
const OUTAGE: Range<usize> = 20_000..120_000;

async fn post_at_once(bridge: &Bridge, numbers: &Range<usize>) -> Result<(Tally, f64)> {
    let start = Instant::now();
    let load = Load::start_at(bridge.webhook(), 256, numbers.clone(), notification);
    let tally = load.finish().await;
    ensure!(
        tally.refused.is_empty(),
        "{:?}",
        tally.refused.first_key_value()
    );
    ensure!(tally.broken.is_empty(), "{:?}", tally.broken.first());
    Ok((tally, numbers.len() as f64 / start.elapsed().as_secs_f64()))
}

#[allow(
    clippy::print_stdout,
    reason = "shown where a test is asked for its output"
)]
#[tokio::test]
async fn a_hundred_thousand_events_come_back_with_flat_memory() -> Result<()> {
    let mut own = own_kafka().await?;
    let bridge = own.setup(SPOOL)?.start().await?;
    let (direct, direct_rate) = post_at_once(&bridge, &BEFORE).await?;
    let before = resident(bridge.id())?;

    own.broker.stop().await?;
    let (spooled, spooled_rate) = post_at_once(&bridge, &OUTAGE).await?;
    let outage = resident(bridge.id())?;
    let waiting = records(&bridge).await?;
    ensure!(
        waiting >= 0.9 * OUTAGE.len() as f64,
        "only {waiting} waited"
    );

    own.broker.restart().await?;
    let (mut most, mut first, start) = (0, None, Instant::now());
    loop {
        let left = records(&bridge).await?;
        if left < waiting {
            first.get_or_insert_with(Instant::now);
        }
        if left == 0.0 {
            break;
        }
        most = most.max(resident(bridge.id())?);
        ensure!(
            start.elapsed() < 2 * RECOVERY,
            "{left} left\n{}",
            bridge.log()
        );
        sleep(Duration::from_millis(100)).await;
    }
    let delivering = first.unwrap_or(start).elapsed().as_secs_f64();
    println!(
        "events/s: {direct_rate:.0} directly, {spooled_rate:.0} into the spool ({:.0} %), {:.0} out of it; \
         resident MiB: {} before, {} in the outage, at most {} after it",
        100.0 * spooled_rate / direct_rate,
        waiting / delivering,
        before >> 20,
        outage >> 20,
        most >> 20
    );
    for resident in [outage, most] {
        ensure!(resident < before + (128 << 20), "{before} {outage} {most}");
    }
    let found = numbers(&own.read().await?)?;
    direct.loss(&found).none("Kafka works")?;
    spooled
        .loss(&found)
        .none("Kafka stopped for 100,000 events")
}
