//! A file can be deleted twice, and the cloud tells it in the same words; it also tells one
//! happening three times if it hears nothing. No broker is to have it twice for that.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_tests::bridge::{Bridge, Setup, WEBHOOK_PATH};
use vodbridge_tests::brokers::{Broker, Kind};
use vodbridge_tests::http::{Connection, post};

use crate::destinations::Destinations;
use crate::own::{Own, own_kafka, own_nats, own_rabbitmq};

const PATIENCE: Duration = Duration::from_secs(20);

const DELETED: &[u8] = br#"{"EventType":"FileDeleted","FileDeleteEvent":{"FileIdSet":["1"]}}"#;

#[tokio::test]
async fn what_happens_twice_arrives_twice() -> Result<()> {
    let destinations = Destinations::new("twice").await?;
    let setup = Setup::new(&destinations.configuration("structured"))?;
    setup.run(&["provision"]).await?;
    let bridge = setup.start().await?;
    let mut answered = BTreeSet::new();
    for _ in 0..2 {
        let answer = bridge.post(DELETED, PATIENCE).await?;
        ensure!(answer.status == 200, "{}", answer.text());
        answered.insert(answer.json()?["id"].as_str().context("no id")?.to_owned());
    }
    assert_eq!(answered.len(), 2);
    let received = destinations.read(0, Duration::ZERO).await?;
    for messages in [received.kafka, received.rabbitmq, received.nats] {
        assert_eq!(messages.len(), 2, "{messages:?}");
        let ids = messages
            .iter()
            .map(|message| Ok(message.event()?.id.clone()));
        assert_eq!(ids.collect::<Result<BTreeSet<_>>>()?, answered);
    }
    Ok(())
}

const PULLED: &[u8] = br#"{"EventType":"PullComplete","PullCompleteEvent":{"TaskId":"replica"}}"#;

/// A copy that the balancer sends to another replica, which knows nothing of the first. What can
/// happen once only has the same id there, and JetStream stores no id twice.
#[tokio::test]
async fn a_copy_that_another_replica_gets_is_published_again() -> Result<()> {
    let destinations = Destinations::new("replicas").await?;
    let configuration = destinations.configuration("structured");
    let setup = Setup::new(&configuration)?;
    setup.run(&["provision"]).await?;
    let replicas = [setup.start().await?, Bridge::start(&configuration).await?];
    let mut ids = [BTreeSet::new(), BTreeSet::new()];
    for replica in &replicas {
        for (body, ids) in [PULLED, DELETED].into_iter().zip(&mut ids) {
            let answer = replica.post(body, PATIENCE).await?;
            ensure!(answer.status == 200, "{}", answer.text());
            ids.insert(answer.json()?["id"].as_str().context("no id")?.to_owned());
        }
    }
    let [once, repeatable] = ids.map(|ids| ids.len());
    assert_eq!((once, repeatable), (1, 2));
    let received = destinations.read(0, Duration::ZERO).await?;
    let counts = [received.kafka, received.rabbitmq, received.nats].map(|messages| {
        let of = |name: &str| {
            messages
                .iter()
                .filter(|it| it.topic.ends_with(name))
                .count()
        };
        (of("PullComplete"), of("FileDeleted"))
    });
    assert_eq!(counts, [(2, 2), (2, 2), (1, 2)]);
    Ok(())
}

const PATIENT: &str =
    "sources: { callback: { webhook: { patience: 30s } } }\ndrain: { timeout: 45s }";

/// Sends three copies, the first two of which the cloud gives up on, lets `broker` go on while
/// the third waits, and returns the id that it is answered with.
async fn third_copy_is_answered<K: Kind>(bridge: &Bridge, broker: &Broker<K>) -> Result<String> {
    for copy in ["first", "second"] {
        let mut connection = Connection::open(bridge.webhook()).await?;
        connection.send(&post(WEBHOOK_PATH, DELETED)).await?;
        // The cloud hangs up after 5 s.
        connection
            .silent_for(Duration::from_secs(5))
            .await
            .context(copy)?;
    }
    let mut third = Connection::open(bridge.webhook()).await?;
    third.send(&post(WEBHOOK_PATH, DELETED)).await?;
    third
        .silent_for(Duration::from_millis(500))
        .await
        .context("third")?;
    broker.resume()?;
    let answer = third.response(PATIENCE).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
}

async fn three_copies_arrive_as_one<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    let own = own?;
    let bridge = own.setup(PATIENT)?.start().await?;
    own.broker.pause()?;
    let id = third_copy_is_answered(&bridge, &own.broker).await?;
    // RabbitMQ may have taken an attempt that was given up; it is the same event.
    let ids: BTreeSet<String> = own.ids(Duration::ZERO).await?.into_iter().collect();
    assert_eq!(ids, BTreeSet::from([id]));
    Ok(())
}

#[tokio::test]
async fn three_copies_arrive_as_one_on_kafka() -> Result<()> {
    three_copies_arrive_as_one(own_kafka().await).await
}

#[tokio::test]
async fn three_copies_arrive_as_one_on_rabbitmq() -> Result<()> {
    three_copies_arrive_as_one(own_rabbitmq().await).await
}

#[tokio::test]
async fn three_copies_arrive_as_one_on_nats() -> Result<()> {
    three_copies_arrive_as_one(own_nats().await).await
}

/// Kafka is up and keeps whatever it gets; NATS is away.
#[tokio::test]
async fn copies_reach_the_healthy_sink_once() -> Result<()> {
    let (healthy, away) = tokio::join!(own_kafka(), own_nats());
    let (healthy, away) = (healthy?, away?);
    let both = format!(
        "{PATIENT}\ndead_letter: {{ sink: events }}\nroutes: {{ all: {{ to: {{ events: {{}}, other: {{}} }} }} }}"
    );
    let setup = healthy.setup_with(&format!("other: {{ {} }}", away.sink), &both)?;
    let bridge = setup.start().await?;
    away.broker.pause()?;
    let id = third_copy_is_answered(&bridge, &away.broker).await?;
    assert_eq!(healthy.ids(Duration::ZERO).await?, [id.as_str()]);
    let found: BTreeSet<String> = away.ids(Duration::ZERO).await?.into_iter().collect();
    assert_eq!(found, BTreeSet::from([id]));
    Ok(())
}
