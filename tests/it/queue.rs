//! Reliable callbacks: events are pulled from the cloud, published, and confirmed only then.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::timeout;
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Cloud, CloudConfig, Limits, Queue, Recorded, TimeScale};
use vodbridge_tests::bridge::{Bridge, SUB_APP_ID};
use vodbridge_tests::brokers::Kind;
use vodbridge_tests::clients::Message;

use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq};

/// For many events on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);

/// A cloud with one application, and the source `reliable` that pulls from it.
pub(crate) struct Pulled {
    pub(crate) cloud: Cloud,
    pub(crate) queue: Queue,
}

impl Pulled {
    pub(crate) async fn new(change: impl FnOnce(&mut CloudConfig)) -> Result<Self> {
        let mut config = CloudConfig::new("AKIDtest", Secret::new("key"), [SUB_APP_ID]);
        change(&mut config);
        let cloud = Cloud::bind(([127, 0, 0, 1], 0).into(), config).await?;
        let queue = cloud.queue(SUB_APP_ID).context("no such application")?;
        Ok(Self { cloud, queue })
    }

    /// The source alone, with more settings in one line.
    pub(crate) fn source(&self, more: &str) -> String {
        self.source_beside("null", more)
    }

    /// The source, and what the webhook `callback` is to be.
    pub(crate) fn source_beside(&self, callback: &str, more: &str) -> String {
        format!(
            "sources: {{ callback: {callback}, reliable: {{ queue: {{ sub_app_id: {SUB_APP_ID}, \
             endpoint: \"{}\", credentials: {{ secret_id: AKIDtest, secret_key: key }}{more} }} }} }}",
            self.cloud.endpoint()
        )
    }

    /// Issues so many notifications, whose subjects are their numbers.
    pub(crate) fn issue(&self, mut numbers: std::ops::Range<usize>) -> Result<()> {
        numbers.try_for_each(|number| self.issue_one(&notification(number)))
    }

    /// Issues this notification.
    pub(crate) fn issue_one(&self, body: &[u8]) -> Result<()> {
        self.queue.issue_recorded(Recorded::read(body)?);
        Ok(())
    }

    /// How many events are confirmed.
    pub(crate) fn confirmed(&self) -> u64 {
        self.queue.stats().counts.confirmed
    }

    /// Resolves once every event is confirmed.
    pub(crate) async fn finished(&self, bridge: &Bridge) -> Result<()> {
        timeout(PATIENCE, self.queue.finished())
            .await
            .with_context(|| format!("{:?}\n{}", self.queue.stats(), bridge.log()))
    }
}

/// How often each number is on the broker.
pub(crate) fn counts(messages: &[Message]) -> Result<BTreeMap<usize, usize>> {
    let mut counts = BTreeMap::new();
    for message in messages {
        let subject = message.event()?.subject.as_ref().context("no subject")?;
        *counts.entry(subject.parse()?).or_default() += 1;
    }
    Ok(counts)
}

/// Nothing is missing; gives the number of messages too many.
pub(crate) fn none_missing(messages: &[Message], issued: usize) -> Result<usize> {
    let counts = counts(messages)?;
    let missing = (0..issued).filter(|n| !counts.contains_key(n)).count();
    ensure!(missing == 0, "{missing} of {issued} are missing");
    ensure!(counts.len() == issued, "events that nobody issued");
    Ok(messages.len() - issued)
}

async fn all_of_a_hundred_thousand<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    const ISSUED: usize = 100_000;
    let own = own?;
    let pulled = Pulled::new(|config| config.limits = Limits::NONE).await?;
    let source = pulled.source(", pullers: 8, calls_per_second: 100000");
    let bridge = own.setup(&source)?.start().await?;
    pulled.issue(0..ISSUED)?;
    pulled.finished(&bridge).await?;
    let counts = pulled.queue.stats().counts;
    let duplicates = none_missing(&own.read().await?, ISSUED)?;
    assert_eq!(counts.confirmed, ISSUED as u64);
    // Only what came back after its lease may be there twice.
    ensure!(
        duplicates as u64 <= counts.redeliveries,
        "{duplicates} twice, {counts:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_hundred_thousand_events_reach_kafka() -> Result<()> {
    all_of_a_hundred_thousand(own_kafka().await).await
}

#[tokio::test]
async fn a_hundred_thousand_events_reach_rabbitmq() -> Result<()> {
    all_of_a_hundred_thousand(own_rabbitmq().await).await
}

#[tokio::test]
async fn a_hundred_thousand_events_reach_nats() -> Result<()> {
    all_of_a_hundred_thousand(own_nats().await).await
}

/// What the cloud allows an account, and 16 events a pull.
#[tokio::test]
async fn at_the_clouds_cap_no_lease_expires() -> Result<()> {
    const ISSUED: usize = 16_000;
    let own = own_kafka().await?;
    let pulled = Pulled::new(|_| {}).await?;
    let bridge = own.setup(&pulled.source(", pullers: 4"))?.start().await?;
    pulled.issue(0..ISSUED)?;
    pulled.finished(&bridge).await?;
    let counts = pulled.queue.stats().counts;
    assert_eq!((counts.leases_expired, counts.redeliveries), (0, 0));
    assert_eq!(none_missing(&own.read().await?, ISSUED)?, 0);
    Ok(())
}

/// An hour of an empty queue, at 120 times the speed.
#[tokio::test]
async fn an_empty_queue_is_no_trouble() -> Result<()> {
    let pulled = Pulled::new(|config| config.time_scale = TimeScale::new(120.0).expect("a scale"));
    let pulled = pulled.await?;
    let sinks =
        "sinks: { events: { file: { directory: \"{directory}/out\", ephemeral: true } } }\n";
    let bridge = Bridge::start(&format!("{sinks}{}", pulled.source(", pullers: 3"))).await?;
    let empty = |metrics: &vodbridge_tests::metrics::Metrics| {
        metrics.sum("vodbridge_queue_pulls_total", &[("result", "empty")])
    };
    tokio::time::sleep(Duration::from_secs(30)).await;
    let metrics = bridge.metrics().await?;
    ensure!(empty(&metrics) >= 30.0, "{} pulls", empty(&metrics));
    // One pull at a time for each puller: each takes the long poll's time at least.
    ensure!(
        empty(&metrics) <= 3.0 * 30.0 / (5.0 / 120.0),
        "{} pulls",
        empty(&metrics)
    );
    let all = metrics.sum("vodbridge_queue_pulls_total", &[]);
    assert_eq!(all, empty(&metrics));
    for line in bridge.logs() {
        ensure!(line["level"] != "ERROR", "{line}");
        // But for the word on plain HTTP, at the start.
        ensure!(
            line["level"] != "WARN" || line["endpoint"].is_string(),
            "{line}"
        );
    }
    let health = bridge.admin("/healthz").await?.json()?;
    assert_eq!(health["sources"]["reliable"]["state"], "up", "{health}");
    Ok(())
}
