//! While a broker is away the cloud hears nothing, since any answer would be a confirm: its copies
//! join the first, and one of them is answered when the broker has the event.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use vodbridge_tests::bridge::{Bridge, Setup, WEBHOOK_PATH};
use vodbridge_tests::brokers::cluster::Cluster;
use vodbridge_tests::brokers::{Broker, Kind};
use vodbridge_tests::http::{Connection, post};
use vodbridge_tests::ports::free_port;

use crate::own::{
    Owned, notification, own_kafka, own_kafka_cluster, own_nats, own_nats_cluster, own_rabbitmq,
    own_rabbitmq_cluster,
};

/// The cloud gives up after 5 s; only then may it be told anything but 200.
pub(crate) const SILENCE: Duration = Duration::from_millis(5_450);

/// From the return of a broker to the answer that waits for it: the longest back-off, and room
/// for a machine with other work.
const RECOVERY: Duration = Duration::from_secs(20);

/// How long a client may still send what the bridge has given up: with a patience of 9 s librdkafka
/// keeps a message for 5.5 s, looks once a second, and tells nobody of one that was given up.
const ABANDONED: Duration = Duration::from_secs(7);

/// How a broker goes away and comes back.
trait Outage<B> {
    /// Whether attempts that the bridge has given up can still reach the broker.
    const ATTEMPTS_LAND: bool;
    async fn begin(broker: &mut B) -> Result<()>;
    async fn end(broker: &mut B) -> Result<()>;
}

/// Connections stay open, nothing is answered.
struct Frozen;

/// Connections are closed, new ones refused.
struct Stopped;

/// Most of a cluster's members are dead: the rest may take an event, but must not ack it.
struct Outvoted;

/// One member of a cluster is dead, which matters to what asks for all.
struct Incomplete;

impl<K: Kind> Outage<Broker<K>> for Frozen {
    const ATTEMPTS_LAND: bool = true;
    async fn begin(broker: &mut Broker<K>) -> Result<()> {
        broker.pause()
    }
    async fn end(broker: &mut Broker<K>) -> Result<()> {
        broker.resume()
    }
}

impl<K: Kind> Outage<Broker<K>> for Stopped {
    const ATTEMPTS_LAND: bool = false;
    async fn begin(broker: &mut Broker<K>) -> Result<()> {
        broker.stop().await
    }
    async fn end(broker: &mut Broker<K>) -> Result<()> {
        broker.restart().await
    }
}

impl<K: Kind> Outage<Cluster<K>> for Outvoted {
    const ATTEMPTS_LAND: bool = true;
    async fn begin(cluster: &mut Cluster<K>) -> Result<()> {
        for member in &cluster.members[1..] {
            member.kill().await?;
        }
        Ok(())
    }
    async fn end(cluster: &mut Cluster<K>) -> Result<()> {
        // Together: each may wait for the other.
        let (two, three) = cluster.members.split_at_mut(2);
        tokio::try_join!(two[1].restart(), three[0].restart())?;
        Ok(())
    }
}

impl<K: Kind> Outage<Cluster<K>> for Incomplete {
    const ATTEMPTS_LAND: bool = true;
    async fn begin(cluster: &mut Cluster<K>) -> Result<()> {
        cluster.members[0].kill().await
    }
    async fn end(cluster: &mut Cluster<K>) -> Result<()> {
        cluster.members[0].restart().await
    }
}

pub(crate) async fn send(bridge: &Bridge, body: &[u8]) -> Result<Connection> {
    let mut connection = Connection::open(bridge.webhook()).await?;
    connection.send(&post(WEBHOOK_PATH, body)).await?;
    Ok(connection)
}

/// Does `work` and fails as soon as a balancer would be told to send callbacks elsewhere.
async fn ready_all_the_while<T>(
    bridge: &Bridge,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let watch = async {
        loop {
            let status = bridge.admin("/readyz").await?.status;
            ensure!(status == 200, "/readyz says {status} because of a broker");
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        done = work => done,
        failed = watch => failed,
    }
}

async fn copies_wait_for_the_broker<B, O: Outage<B>>(own: Result<Owned<B>>) -> Result<()> {
    let mut own = own?;
    let bridge = own
        .setup("sources: { callback: { webhook: { patience: 45s } } }\ndrain: { timeout: 60s }")?
        .start()
        .await?;
    let before = bridge.post(&notification(0), RECOVERY).await?;
    ensure!(before.status == 200, "{}", before.text());

    O::begin(&mut own.broker).await?;
    let copies = three_copies::<_, O>(&bridge, &mut own.broker);
    let id = ready_all_the_while(&bridge, copies)
        .await
        .with_context(|| bridge.log())?;
    bridge.until_sink_is("events", "up", "").await?;
    let joined = bridge
        .metrics()
        .await?
        .sum("vodbridge_copies_joined_total", &[]);
    ensure!(joined >= 2.0, "only {joined} copies joined the first");

    let first_id = before.json()?["id"].as_str().context("no id")?.to_owned();
    let mut ids = own.ids(Duration::ZERO).await?;
    ids.retain(|found| *found != first_id);
    if O::ATTEMPTS_LAND {
        ids.dedup();
    }
    assert_eq!(ids, [id]);
    Ok(())
}

/// Sends three copies, ends the outage while the third waits, and returns the id that it is
/// answered with.
async fn three_copies<B, O: Outage<B>>(bridge: &Bridge, broker: &mut B) -> Result<String> {
    let body = notification(1);
    for copy in ["first", "second"] {
        let mut connection = send(bridge, &body).await?;
        connection.silent_for(SILENCE).await.context(copy)?;
    }
    let (state, problem) = bridge.sink("events").await?;
    ensure!(state != "up" && !problem.is_empty(), "{state}: {problem}");
    let mut third = send(bridge, &body).await?;
    let silence = third.silent_for(Duration::from_millis(500)).await;
    silence.context("third")?;
    let (ended, id) = tokio::join!(O::end(broker), confirmed(bridge, third, &body));
    ended?;
    id
}

/// The id that a caller gets with its 200. A broker may take longer to come back than the cloud
/// waits; then another copy comes.
pub(crate) async fn confirmed(
    bridge: &Bridge,
    mut caller: Connection,
    body: &[u8],
) -> Result<String> {
    let mut answer = caller.response(RECOVERY).await?;
    let last = Instant::now() + RECOVERY;
    while answer.status == 503 && Instant::now() < last {
        answer = send(bridge, body).await?.response(RECOVERY).await?;
    }
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
}

async fn what_no_broker_takes_is_kept<B, O: Outage<B>>(own: Result<Owned<B>>) -> Result<()> {
    let mut own = own?;
    let bridge = own
        .setup("sources: { callback: { webhook: { patience: 9s } } }")?
        .start()
        .await?;
    O::begin(&mut own.broker).await?;
    ready_all_the_while(&bridge, two_are_given_up(&bridge))
        .await
        .with_context(|| bridge.log())?;
    let kept = std::fs::read_to_string(bridge.directory().join("state/undelivered.ndjson"))?;
    ensure!(
        kept.contains("upload 1") && kept.ends_with('\n') && kept.lines().count() == 1,
        "not once in the file: {kept}"
    );
    ensure!(
        bridge.logs().iter().any(|line| line["level"] == "ERROR"),
        "no error is logged"
    );

    if !O::ATTEMPTS_LAND {
        sleep(ABANDONED).await;
    }
    O::end(&mut own.broker).await?;
    let found = own.read().await?;
    ensure!(O::ATTEMPTS_LAND || found.is_empty(), "{found:?}");
    for message in found {
        let body = String::from_utf8_lossy(&message.body).into_owned();
        ensure!(
            message.topic.ends_with("NewFileUpload"),
            "on {}: {body}",
            message.topic
        );
    }
    Ok(())
}

/// Sends two copies and waits until the bridge has given up on both.
async fn two_are_given_up(bridge: &Bridge) -> Result<()> {
    let mut first = send(bridge, &notification(1)).await?;
    first.silent_for(SILENCE).await.context("first")?;
    let mut second = send(bridge, &notification(1)).await?;
    second.silent_for(SILENCE).await.context("second")?;
    let undelivered = async {
        while bridge
            .metrics()
            .await?
            .sum("vodbridge_events_undelivered_total", &[])
            < 1.0
        {
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    timeout(RECOVERY, undelivered)
        .await
        .context("nothing is undelivered")?
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
async fn copies_wait_for_an_outvoted_kafka() -> Result<()> {
    copies_wait_for_the_broker::<_, Outvoted>(own_kafka_cluster().await).await
}

#[tokio::test]
async fn copies_wait_for_a_kafka_short_of_replicas() -> Result<()> {
    let own = own_kafka_cluster().await?;
    let all = json!({ "topic": "vod.events", "config": { "min.insync.replicas": "3" } });
    own.client.call("alter_topic", all).await?;
    copies_wait_for_the_broker::<_, Incomplete>(Ok(own)).await
}

#[tokio::test]
async fn copies_wait_for_an_outvoted_rabbitmq() -> Result<()> {
    let (own, _balancer) = own_rabbitmq_cluster().await?;
    copies_wait_for_the_broker::<_, Outvoted>(Ok(own)).await
}

#[tokio::test]
async fn copies_wait_for_an_outvoted_nats() -> Result<()> {
    copies_wait_for_the_broker::<_, Outvoted>(own_nats_cluster().await).await
}

#[tokio::test]
async fn what_a_frozen_kafka_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept::<_, Frozen>(own_kafka().await).await
}

#[tokio::test]
async fn what_a_stopped_kafka_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept::<_, Stopped>(own_kafka().await).await
}

#[tokio::test]
async fn what_a_frozen_rabbitmq_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept::<_, Frozen>(own_rabbitmq().await).await
}

#[tokio::test]
async fn what_a_stopped_rabbitmq_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept::<_, Stopped>(own_rabbitmq().await).await
}

#[tokio::test]
async fn what_a_frozen_nats_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept::<_, Frozen>(own_nats().await).await
}

#[tokio::test]
async fn what_a_stopped_nats_does_not_take_is_kept() -> Result<()> {
    what_no_broker_takes_is_kept::<_, Stopped>(own_nats().await).await
}

/// The file of what is undelivered is the last place, and no confirm rests on it.
#[tokio::test]
async fn what_not_even_the_undelivered_file_takes_is_counted_as_lost() -> Result<()> {
    let nobody = free_port()?;
    let setup = Setup::new(&format!(
        "sources: {{ callback: {{ webhook: {{ patience: 6s }} }} }}\nsinks: {{ events: {{ nats: \
         {{ servers: [\"nats://127.0.0.1:{nobody}\"], subject: \"vod.{{event_type}}\" }} }} }}\n"
    ))?;
    // In its place.
    std::fs::create_dir(setup.directory().join("state/undelivered.ndjson"))?;
    let bridge = setup.start().await?;
    let answer = bridge.post(&notification(1), RECOVERY).await?;
    ensure!(answer.status == 503, "{} {}", answer.status, answer.text());
    bridge.until_nothing_is_in_flight().await?;
    let lost = [("source", "callback"), ("reason", "lost")];
    let metrics = bridge.metrics().await?;
    assert_eq!(
        metrics.sum("vodbridge_events_undelivered_total", &lost),
        1.0,
        "{}",
        bridge.log()
    );
    let told = |line: &Value| line["level"] == "ERROR" && line["kept"] == false;
    ensure!(bridge.logs().iter().any(told), "{}", bridge.log());
    Ok(())
}
