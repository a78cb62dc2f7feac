//! Every sample by queue and by webhook: the same event, but for how it came.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_simulator::cloud::Recorded;
use vodbridge_simulator::{Sample, samples};
use vodbridge_tests::bridge::Setup;
use vodbridge_tests::clients::{Event, Message};
use vodbridge_tests::tokens::tokens;

use crate::destinations::{Destinations, Received};
use crate::main_job::{data, payload};
use crate::queue::Pulled;

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_sample_is_the_same_event_in_structured_mode() -> Result<()> {
    every_sample_is_the_same_event("structured").await
}

#[tokio::test]
async fn every_sample_is_the_same_event_in_binary_mode() -> Result<()> {
    every_sample_is_the_same_event("binary").await
}

async fn every_sample_is_the_same_event(mode: &str) -> Result<()> {
    let by_webhook = Destinations::new(&format!("webhook-{mode}")).await?;
    let by_queue = Destinations::new(&format!("queue-{mode}")).await?;
    let setup = Setup::new(&by_webhook.configuration(mode))?;
    setup.run(&["provision"]).await?;
    let bridge = setup.start().await?;
    for sample in samples() {
        let answer = bridge.post(sample.body.as_bytes(), PATIENCE).await?;
        ensure!(answer.status == 200, "{}: {}", sample.name, answer.text());
    }
    let pulled = Pulled::new(|_| {}).await?;
    let source = pulled.source("");
    let setup = Setup::new(&format!("{}\n{source}\n", by_queue.configuration(mode)))?;
    setup.run(&["provision"]).await?;
    let bridge = setup.start().await?;
    for sample in samples() {
        pulled
            .queue
            .issue_recorded(Recorded::read(sample.body.as_bytes())?);
    }
    pulled.finished(&bridge).await?;

    let (posted, pulled) = tokio::join!(
        by_webhook.read(0, Duration::ZERO),
        by_queue.read(0, Duration::ZERO)
    );
    let (posted, pulled) = (posted?, pulled?);
    for (broker, messages) in brokers(&pulled) {
        let (_, others) = brokers(&posted)
            .into_iter()
            .find(|(name, _)| *name == broker)
            .context("the same broker")?;
        for sample in samples() {
            compare(sample, messages, others, mode)
                .with_context(|| format!("{} on {broker}", sample.name))?;
        }
        // Two documents print one happening: in flight together, one joins the other.
        assert_eq!(ids(messages)?.len(), ids(others)?.len(), "{broker}");
    }
    Ok(())
}

fn ids(messages: &[Message]) -> Result<BTreeSet<&str>> {
    messages
        .iter()
        .map(|message| Ok(&*message.event()?.id))
        .collect()
}

fn brokers(received: &Received) -> [(&'static str, &[Message]); 3] {
    [
        ("Kafka", &received.kafka),
        ("RabbitMQ", &received.rabbitmq),
        ("NATS", &received.nats),
    ]
}

fn compare(sample: &Sample, pulled: &[Message], posted: &[Message], mode: &str) -> Result<()> {
    let payload = payload(sample)?;
    let expected = tokens(&payload)?;
    let find = |messages: &[Message]| -> Result<Option<usize>> {
        for (at, message) in messages.iter().enumerate() {
            let of = format!("com.tencent.cloud.vod.{}", sample.event_type);
            if message.event()?.ty == of && data(message, mode)? == expected {
                return Ok(Some(at));
            }
        }
        Ok(None)
    };
    // On NATS, of two spellings of one happening only the first is kept.
    let Some(there) = find(posted)? else {
        ensure!(find(pulled)?.is_none(), "pulled only");
        return Ok(());
    };
    let here = find(pulled)?.context("not pulled")?;
    let (here, there) = (pulled[here].event()?, posted[there].event()?);
    assert_eq!(here.extensions["vodsource"], "queue");
    assert_eq!(there.extensions["vodsource"], "webhook");
    // A repeatable event's id takes in how it came.
    assert_eq!(
        here.id != there.id,
        is_repeatable(sample, here),
        "{}",
        sample.name
    );
    assert_eq!(here.subject, there.subject);
    Ok(())
}

/// Whether two genuine notifications of this type can be equal, and this one names no task.
fn is_repeatable(sample: &Sample, event: &Event) -> bool {
    const TYPES: [&str; 7] = [
        "FileDeleted",
        "RestoreMediaComplete",
        "RestoreCompleteEvent",
        "PersistenceComplete",
        "MediaCastStatusChanged",
        "v2.FileDeleted",
        "ProcessImageAsyncCompleteEvent",
    ];
    TYPES.contains(&sample.event_type) && !event.extensions.contains_key("vodtaskid")
}
