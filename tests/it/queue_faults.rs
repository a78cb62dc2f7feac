//! The queue source in bad times: calls that fail, brokers that go away, a bridge that is killed.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{Instant, sleep, timeout};
use vodbridge_simulator::cloud::{Action, CloudConfig, Fault, Limits};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;

use crate::own::{Own, own_kafka, own_nats, own_rabbitmq};
use crate::queue::{Pulled, none_missing};

/// The shortest lease that the bridge accepts, so that what comes again comes soon.
const LEASE: Duration = Duration::from_secs(13);
const SHORT: &str = ", lease: 13s, lease_margin: 3s";
const PATIENCE: Duration = Duration::from_secs(60);

fn short(config: &mut CloudConfig) {
    (config.lease, config.limits) = (LEASE, Limits::NONE);
}

fn faults(all: &[&str]) -> Result<Vec<Fault>> {
    let fault = |text: &&str| text.parse().with_context(|| text.to_string());
    all.iter().map(fault).collect()
}

/// Resolves once `holds` says so.
async fn until<F: Future<Output = Result<bool>>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn faults_lose_nothing<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    const ISSUED: usize = 100_000;
    let mut own = own?;
    let pulled = Pulled::new(short).await?;
    pulled.cloud.set_faults(faults(&[
        "error:InternalError:5%",
        "error:500:1%",
        "drop-before:1%",
        "drop-after:1%",
        "slow:500ms:1%",
        "duplicate:1%",
        "shared-handle:2%",
        "reorder:100",
    ])?);
    let source = pulled.source(&format!(", pullers: 8, calls_per_second: 100000{SHORT}"));
    let bridge = own.setup(&source)?.start().await?;
    pulled.issue(0..ISSUED)?;
    let confirmed = || pulled.queue.stats().counts.confirmed as usize;
    let past = |n| {
        until("events are confirmed", move || async move {
            Ok(confirmed() > n)
        })
    };
    past(ISSUED / 10).await?;
    own.broker.pause()?;
    sleep(Duration::from_secs(2)).await;
    own.broker.resume()?;
    past(ISSUED / 5).await?;
    own.broker.stop().await?;
    own.broker.restart().await?;
    pulled.finished(&bridge).await?;

    let counts = pulled.queue.stats().counts;
    let metrics = bridge.metrics().await?;
    let failed = metrics.sum("vodbridge_publishes_failed_total", &[]) as usize;
    let duplicates = none_missing(&own.read().await?, ISSUED)?;
    assert_eq!(counts.confirmed, ISSUED as u64);
    // A publish whose ack was lost is made again; so is an event whose entry was used up.
    let explained = failed + counts.redeliveries as usize;
    ensure!(
        duplicates <= explained,
        "{duplicates} twice, {explained} explained: {counts:?}"
    );
    Ok(())
}

#[tokio::test]
async fn faults_lose_nothing_on_kafka() -> Result<()> {
    faults_lose_nothing(own_kafka().await).await
}

#[tokio::test]
async fn faults_lose_nothing_on_rabbitmq() -> Result<()> {
    faults_lose_nothing(own_rabbitmq().await).await
}

#[tokio::test]
async fn faults_lose_nothing_on_nats() -> Result<()> {
    faults_lose_nothing(own_nats().await).await
}

/// Fifty times the broker has acked a batch, and the bridge dies before the cloud hears of it.
#[tokio::test]
async fn killed_between_ack_and_confirm() -> Result<()> {
    const ROUNDS: usize = 50;
    const BATCH: usize = 16;
    let own = own_kafka().await?;
    let pulled = Pulled::new(|config| {
        (config.lease, config.limits) = (Duration::from_secs(2), Limits::NONE);
    });
    let pulled = pulled.await?;
    let source = pulled.source("");
    let refused = || {
        pulled
            .cloud
            .answered(Action::ConfirmEvents, "InternalError")
    };
    pulled
        .cloud
        .set_faults(faults(&["error:InternalError:100%:ConfirmEvents"])?);
    for round in 0..ROUNDS {
        let bridge = own.setup(&source)?.start().await?;
        let before = refused();
        pulled.issue(round * BATCH..(round + 1) * BATCH)?;
        // A confirm was tried, so a broker has acked.
        until("a confirm is tried", || async { Ok(refused() > before) }).await?;
        bridge.kill()?;
        bridge.wait(PATIENCE).await?;
        assert_eq!(pulled.queue.stats().counts.confirmed, 0);
    }
    pulled.cloud.set_faults(Vec::new());
    let bridge = own.setup(&source)?.start().await?;
    pulled.finished(&bridge).await?;
    let duplicates = none_missing(&own.read().await?, ROUNDS * BATCH)?;
    let counts = pulled.queue.stats().counts;
    ensure!(duplicates as u64 <= counts.redeliveries);
    Ok(())
}

/// What the process holds of the machine's memory, in bytes.
fn resident(bridge: &Bridge) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bridge.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmRSS")?.trim().parse::<u64>()? * 1024)
}

/// Ten leases long, which are five of the cloud's minutes.
#[tokio::test]
async fn a_broker_that_is_away_slows_pulling_down() -> Result<()> {
    const ISSUED: usize = 5_000;
    let mut own = own_kafka().await?;
    let pulled = Pulled::new(short).await?;
    let bridge = own.setup(&pulled.source(SHORT))?.start().await?;
    pulled.issue(0..100)?;
    pulled.finished(&bridge).await?;
    own.broker.stop().await?;
    pulled.issue(100..ISSUED)?;
    let slow = || async {
        let health = bridge.admin("/healthz").await?.json()?;
        Ok(health["sources"]["reliable"]["state"] == "degraded")
    };
    until("pulling slows down", slow).await?;
    sleep(LEASE * 2).await;
    let (deliveries, memory) = (pulled.queue.stats().counts.deliveries, resident(&bridge)?);
    const LEASES: u32 = 7;
    sleep(LEASE * LEASES).await;
    let counts = pulled.queue.stats().counts;
    let (pulled_since, grown) = (
        counts.deliveries - deliveries,
        resident(&bridge)?.saturating_sub(memory),
    );
    ensure!(
        pulled_since <= 16 * u64::from(LEASES + 1),
        "{pulled_since} events"
    );
    ensure!(pulled_since >= 16, "{pulled_since} events");
    ensure!(grown < 8 << 20, "{grown} bytes more");
    assert_eq!(counts.confirmed, 100);
    own.broker.restart().await?;
    timeout(PATIENCE * 2, pulled.queue.finished())
        .await
        .with_context(|| bridge.log())?;
    none_missing(&own.read().await?, ISSUED)?;
    until("pulling is fast again", || async { Ok(!slow().await?) }).await
}
