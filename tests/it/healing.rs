//! What a broker does to its clients while it lives: the sink heals by itself, and what was
//! confirmed meanwhile is there.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::time::{sleep, timeout};
use vodbridge_tests::bridge::Bridge;

use crate::load::{Load, numbers};
use crate::outage::{SILENCE, send};
use crate::own::{Owned, kept, notification, own_kafka, own_nats_cluster, own_rabbitmq};

/// Few enough that they share one of Kafka's producers.
const CALLERS: usize = 8;

/// How often a broker does it.
const TIMES: usize = 3;

const PATIENCE: Duration = Duration::from_secs(30);

fn load(bridge: &Bridge) -> Load {
    Load::start(bridge.webhook(), CALLERS, usize::MAX - 1, notification)
}

/// Ends the load and holds the answers against the broker, and against the dead letters in files.
async fn nothing_is_missing<B>(
    fault: &str,
    own: &Owned<B>,
    bridge: &Bridge,
    load: Load,
) -> Result<()> {
    let tally = load.stop().await;
    bridge.until_nothing_is_in_flight().await?;
    let mut found = numbers(&own.read().await?)?;
    for event in kept(bridge)? {
        if event["deadletterreason"].is_string() {
            let subject = event["subject"].as_str().context("no subject")?;
            found.push(subject.parse()?);
        }
    }
    tally.loss(&found).none(fault)?;
    assert_eq!(tally.broken, Vec::<String>::new());
    bridge.until_sink_is("events", "up", "").await
}

/// Takes the second half of what a broker that does not run has of a topic, and what it knows of
/// producers.
fn forget_half(data: &Path, topic: &str) -> Result<()> {
    let partition = data.join(format!("{topic}-0"));
    for entry in std::fs::read_dir(&partition)? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "snapshot") {
            std::fs::remove_file(path)?;
        }
    }
    let log = partition.join("00000000000000000000.log");
    let log = OpenOptions::new().write(true).open(log)?;
    Ok(log.set_len(log.metadata()?.len() / 2)?)
}

/// Where the notifications of a second load begin.
const LATER: usize = 1_000_000;

/// A broker whose log ends before the last event that it acked takes no more from an idempotent
/// producer, which is then of no use.
#[tokio::test]
async fn a_producer_that_kafka_refuses_for_good_is_replaced() -> Result<()> {
    let mut own = own_kafka().await?;
    let bridge = own.setup("")?.start().await?;
    let before = load(&bridge);
    before.confirms(200).await?;
    let before = before.stop().await;
    own.broker.kill().await?;
    forget_half(&own.broker.directory().join("data"), "vod.NewFileUpload")?;
    own.broker.restart().await?;
    let left = own.read().await?.len();
    ensure!(left > 0 && left < before.confirmed.len(), "{left} are left");

    let later = |number| notification(LATER + number);
    let load = Load::start(bridge.webhook(), CALLERS, usize::MAX - 1, later);
    load.confirms(200).await.with_context(|| bridge.log())?;
    let tally = load.stop().await;
    ensure!(
        bridge.log().contains("sequence desynchronization"),
        "no producer was refused for good\n{}",
        bridge.log()
    );
    let found = numbers(&own.read().await?)?;
    let found: Vec<_> = (found.iter())
        .filter_map(|number| number.checked_sub(LATER))
        .collect();
    tally.loss(&found).none("kafka's log cut in half")?;
    bridge.until_sink_is("events", "up", "").await
}

#[tokio::test]
async fn connections_that_rabbitmq_closes_are_made_anew() -> Result<()> {
    let own = own_rabbitmq().await?;
    let bridge = own.setup("")?.start().await?;
    let load = load(&bridge);
    for _ in 0..TIMES {
        load.confirms(100).await?;
        let closed = ["close_all_connections", "by the operator"];
        own.broker.control(&closed).await?;
    }
    load.confirms(100).await.with_context(|| bridge.log())?;
    let lost = bridge.log().matches("connection for events lost").count();
    ensure!(
        lost >= TIMES,
        "{lost} connections were lost\n{}",
        bridge.log()
    );
    let fault = format!("rabbitmq closed all connections, {TIMES} times");
    nothing_is_missing(&fault, &own, &bridge, load).await
}

/// RabbitMQ closes a channel on which somebody publishes to an exchange that is not there.
#[tokio::test]
async fn channels_that_rabbitmq_closes_are_made_anew() -> Result<()> {
    let own = own_rabbitmq().await?;
    let bridge = own.setup("")?.start().await?;
    let load = load(&bridge);
    let exchange = json!({ "exchange": "vod" });
    for _ in 0..TIMES {
        load.confirms(100).await?;
        own.client.call("delete_exchange", exchange.clone()).await?;
        bridge.until_sink_is("events", "down", "exchange").await?;
        own.client
            .call("declare_exchange", exchange.clone())
            .await?;
        let binding = json!({ "queue": "vod.events", "exchange": "vod" });
        own.client.call("bind_queue", binding).await?;
        bridge.until_sink_is("events", "up", "").await?;
    }
    load.confirms(100).await.with_context(|| bridge.log())?;
    let fault = format!("rabbitmq's exchange deleted, {TIMES} times");
    nothing_is_missing(&fault, &own, &bridge, load).await
}

/// A channel on which everything is refused may be at fault itself, so it is not kept for long.
#[tokio::test]
async fn channels_on_which_rabbitmq_refuses_everything_are_made_anew() -> Result<()> {
    let own = own_rabbitmq().await?;
    let full = json!({
        "queue": "full", "exchange": "vod", "routing_key": "#",
        "arguments": { "x-max-length": 1, "x-overflow": "reject-publish" },
    });
    own.client.call("declare_queue", full).await?;
    let filling = json!({ "exchange": "", "routing_key": "full", "bodies": ["{}"] });
    own.client.call("publish", filling).await?;
    let bridge = own.setup("")?.start().await?;

    let _refused = send(&bridge, &notification(0)).await?;
    bridge.until_sink_is("events", "degraded", "nack").await?;
    let made_anew = async {
        while !bridge.log().contains("refused (nack) all publishes") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, made_anew).await.context("kept")?;
    let purge = json!({ "queue": "full" });
    own.client.call("purge_queue", purge).await?;
    let answer = bridge.post(&notification(0), PATIENCE).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    bridge.until_sink_is("events", "up", "").await
}

/// What is in flight waits for its deadline or for the end of the alarm.
#[tokio::test]
async fn publishes_wait_while_rabbitmq_has_no_memory() -> Result<()> {
    let own = own_rabbitmq().await?;
    let bridge = own
        .setup("sources: { callback: { webhook: { patience: 45s } } }\ndrain: { timeout: 60s }")?
        .start()
        .await?;
    let no_memory = ["set_vm_memory_high_watermark", "0.0000001"];
    own.broker.control(&no_memory).await?;
    // The first publish is taken, and then nothing more is read from the connection.
    let first = send(&bridge, &notification(0)).await?;
    bridge.until_sink_is("events", "down", "blocks").await?;
    drop(first);

    let (one, two) = (notification(1), notification(2));
    let (mut one, mut two) = tokio::try_join!(send(&bridge, &one), send(&bridge, &two))?;
    tokio::try_join!(one.silent_for(SILENCE), two.silent_for(SILENCE))?;
    let early = numbers(&own.read().await?)?;
    ensure!(early.is_empty() || early == [0], "{early:?}");
    let (state, problem) = bridge.sink("events").await?;
    ensure!(state == "down" && problem.contains("blocks"), "{problem}");

    let memory = ["set_vm_memory_high_watermark", "0.4"];
    own.broker.control(&memory).await?;
    bridge.until_sink_is("events", "up", "").await?;
    for copy in [0, 1, 2] {
        let answer = bridge.post(&notification(copy), PATIENCE).await?;
        ensure!(answer.status == 200, "{}", answer.text());
    }
    bridge.until_nothing_is_in_flight().await?;
    let mut found = [early, numbers(&own.read().await?)?].concat();
    found.sort_unstable();
    // The broker may have read the first, or a part of it, and not acked it before it was given up.
    let twice = usize::from(found.starts_with(&[0, 0]));
    assert_eq!(found[twice..], [0, 1, 2]);
    Ok(())
}

#[tokio::test]
async fn a_stream_that_gets_another_leader_costs_no_event() -> Result<()> {
    let own = own_nats_cluster().await?;
    let bridge = own.setup("")?.start().await?;
    let load = load(&bridge);
    for _ in 0..TIMES {
        load.confirms(100).await?;
        own.client.in_sync(own.place).await?;
        let before = own.client.leader(own.place).await?;
        own.client
            .call("step_down", json!({ "name": own.place }))
            .await?;
        let after = own.client.leader(own.place).await?;
        ensure!(after != before, "{before} leads again");
    }
    load.confirms(100).await.with_context(|| bridge.log())?;
    let fault = format!("nats stream leader stepped down, {TIMES} times");
    nothing_is_missing(&fault, &own, &bridge, load).await
}

/// The bridge knows one server, which leaves, and goes on with those that it has heard of there.
#[tokio::test]
async fn a_lame_duck_is_left_for_another_server() -> Result<()> {
    let mut own = own_nats_cluster().await?;
    let one = own.broker.members[0].address();
    own.sink =
        format!(r#"nats: {{ servers: ["{one}"], subject: "vod.{{event_type}}", stream: VOD }}"#);
    let bridge = own.setup("")?.start().await?;
    let load = load(&bridge);
    load.confirms(100).await?;
    own.broker.members[0].lame_duck()?;
    own.broker.members[0].gone().await?;
    load.confirms(100).await.with_context(|| bridge.log())?;
    nothing_is_missing("nats server in lame duck mode", &own, &bridge, load).await
}
