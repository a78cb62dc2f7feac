//! While a broker is away the cloud hears nothing, since any answer would be a confirm: its copies
//! join the first, and one of them is answered when the broker has the event.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_tests::bridge::{Bridge, WEBHOOK_PATH};
use vodbridge_tests::brokers::{Broker, Kind};
use vodbridge_tests::http::{Connection, post};

use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq};

/// The cloud gives up after 5 s; only then may it be told anything but 200.
const SILENCE: Duration = Duration::from_millis(5_450);

/// From the return of a broker to the answer that waits for it: the longest back-off, and room
/// for a machine with other work.
const RECOVERY: Duration = Duration::from_secs(15);

/// How a broker goes away and comes back.
trait Outage<K: Kind> {
    async fn begin(broker: &mut Broker<K>) -> Result<()>;
    async fn end(broker: &mut Broker<K>) -> Result<()>;
}

/// Connections stay open, nothing is answered.
struct Frozen;

/// Connections are closed, new ones refused.
struct Stopped;

impl<K: Kind> Outage<K> for Frozen {
    async fn begin(broker: &mut Broker<K>) -> Result<()> {
        broker.pause()
    }
    async fn end(broker: &mut Broker<K>) -> Result<()> {
        broker.resume()
    }
}

impl<K: Kind> Outage<K> for Stopped {
    async fn begin(broker: &mut Broker<K>) -> Result<()> {
        broker.stop().await
    }
    async fn end(broker: &mut Broker<K>) -> Result<()> {
        broker.restart().await
    }
}

async fn send(bridge: &Bridge, body: &[u8]) -> Result<Connection> {
    let mut connection = Connection::open(bridge.webhook()).await?;
    connection.send(&post(WEBHOOK_PATH, body)).await?;
    Ok(connection)
}

async fn is_ready(bridge: &Bridge) -> Result<()> {
    let status = bridge.admin("/readyz").await?.status;
    ensure!(status == 200, "/readyz says {status} because of a broker");
    Ok(())
}

async fn copies_wait_for_the_broker<K: Kind, O: Outage<K>>(own: Result<Own<K>>) -> Result<()> {
    let mut own = own?;
    let bridge = own
        .setup("sources: { callback: { webhook: { patience: 30s } } }\ndrain: { timeout: 45s }")?
        .start()
        .await?;
    let before = bridge.post(&notification(0), RECOVERY).await?;
    ensure!(before.status == 200, "{}", before.text());

    O::begin(&mut own.broker).await?;
    let body = notification(1);
    let mut first = send(&bridge, &body).await?;
    first.silent_for(SILENCE).await.context("the first copy")?;
    is_ready(&bridge).await?;

    let mut second = send(&bridge, &body).await?;
    second
        .silent_for(Duration::from_secs(1))
        .await
        .context("the second copy")?;
    O::end(&mut own.broker).await?;
    let mut answer = second.response(RECOVERY).await?;
    if answer.status == 503 {
        // The broker took longer to start than the cloud waits; its third copy comes.
        answer = send(&bridge, &body).await?.response(RECOVERY).await?;
    }
    ensure!(
        answer.status == 200,
        "{} {}\n{}",
        answer.status,
        answer.text(),
        bridge.log()
    );
    is_ready(&bridge).await?;

    let id = answer.json()?["id"].as_str().context("no id")?.to_owned();
    let first_id = before.json()?["id"].as_str().context("no id")?.to_owned();
    let mut ids = own.ids(Duration::ZERO).await?;
    ids.retain(|found| *found != first_id);
    // A dropped attempt may land too, and is the same event.
    ensure!(
        !ids.is_empty() && ids.iter().all(|found| *found == id),
        "{id}, but {ids:?}"
    );
    Ok(())
}

async fn what_no_broker_takes_is_kept<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    let own = own?;
    let bridge = own
        .setup("sources: { callback: { webhook: { patience: 7s } } }")?
        .start()
        .await?;
    own.broker.pause()?;
    let mut connection = send(&bridge, &notification(1)).await?;
    connection.silent_for(SILENCE).await?;

    let undelivered = "vodbridge_events_undelivered_total";
    let deadline = tokio::time::Instant::now() + RECOVERY;
    while bridge.metrics().await?.sum(undelivered, &[]) < 1.0 {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "nothing is undelivered\n{}",
            bridge.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    is_ready(&bridge).await?;
    let kept = std::fs::read_to_string(bridge.directory().join("state/undelivered.ndjson"))?;
    ensure!(
        kept.contains("upload 1") && kept.ends_with('\n'),
        "not in the file: {kept}"
    );
    ensure!(
        bridge.logs().iter().any(|line| line["level"] == "ERROR"),
        "no error is logged"
    );

    own.broker.resume()?;
    for message in own.read().await? {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        ensure!(
            message.topic.ends_with("NewFileUpload"),
            "on {}: {body}",
            message.topic
        );
    }
    Ok(())
}

#[tokio::test]
async fn copies_wait_for_a_frozen_kafka() -> Result<()> {
    copies_wait_for_the_broker::<_, Frozen>(own_kafka().await).await
}

#[tokio::test]
async fn copies_wait_for_a_stopped_kafka() -> Result<()> {
    copies_wait_for_the_broker::<_, Stopped>(own_kafka().await).await
}

#[tokio::test]
async fn copies_wait_for_a_frozen_rabbitmq() -> Result<()> {
    copies_wait_for_the_broker::<_, Frozen>(own_rabbitmq().await).await
}

#[tokio::test]
async fn copies_wait_for_a_stopped_rabbitmq() -> Result<()> {
    copies_wait_for_the_broker::<_, Stopped>(own_rabbitmq().await).await
}

#[tokio::test]
async fn copies_wait_for_a_frozen_nats() -> Result<()> {
    copies_wait_for_the_broker::<_, Frozen>(own_nats().await).await
}

#[tokio::test]
async fn copies_wait_for_a_stopped_nats() -> Result<()> {
    copies_wait_for_the_broker::<_, Stopped>(own_nats().await).await
}

#[tokio::test]
async fn what_kafka_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept(own_kafka().await).await
}

#[tokio::test]
async fn what_rabbitmq_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept(own_rabbitmq().await).await
}

#[tokio::test]
async fn what_nats_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept(own_nats().await).await
}
