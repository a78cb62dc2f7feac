//! What waits in the spool, and what is in the dead letter, is counted there and not missing.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;
use vodbridge_tests::cli::run;
use vodbridge_tests::http;

use super::{PATIENCE, POSTED, command, control, post, verify};
use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq, own_rabbitmq_with};
use crate::refusals::{noise, task};
use crate::simulate::Simulator;
use crate::spool::{records, until_empty};

/// Events before the broker goes away, and while it is away.
const BEFORE: u64 = 20;
const AWAY: u64 = 40;

/// Of each fate.
const EACH: usize = 6;

/// A simulator that issues what it is told to.
async fn idle() -> Result<Simulator> {
    Simulator::start(&["--sub-app-id=8", "--events=0"]).await
}

/// Due, delivered, dead-lettered, waiting in the spool and missing.
fn places(verdict: &Value) -> [u64; 5] {
    let sink = &verdict["sinks"]["events"];
    let missing = &sink["missing"]["count"];
    let [due, delivered, dead_lettered, spooled] =
        ["due", "delivered", "dead_lettered", "spooled"].map(|name| &sink[name]);
    [due, delivered, dead_lettered, spooled, missing].map(|n| n.as_u64().unwrap_or(u64::MAX))
}

/// Waits until the cloud was answered 200 for so many of the events that it posts.
async fn until_answered(simulator: &Simulator, count: u64, bridge: &Bridge) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = http::get("/_control/stats");
        let stats = http::exchange(simulator.address(), &stats, PATIENCE).await?;
        let stats = stats.json()?;
        let confirmed = &stats["applications"][&POSTED.to_string()]["confirmed"];
        if *confirmed == count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{stats:#}\n{}", bridge.log());
        sleep(Duration::from_millis(50)).await;
    }
}

async fn what_waits_in_the_spool_is_not_missing<K: Kind>(own: Result<Own<K>>) -> Result<()> {
    let mut own = own?;
    let simulator = idle().await?;
    let webhook = format!(
        "sources: {{ callback: {{ webhook: {{ sub_app_id: {POSTED}, patience: 9s, \
         spool: {{ directory: '{{directory}}/spool', ephemeral: true }} }} }} }}"
    );
    let bridge = own.setup(&webhook)?.start().await?;
    post(&simulator, &bridge).await?;
    let issue = |events: u64| json!({ "sub_app_id": POSTED, "events": events });
    control(&simulator, "issue", issue(BEFORE)).await?;
    let (ran, verdict) = verify(&bridge, &simulator, &["--wait=60s"]).await?;
    assert_eq!(ran.code, Some(0), "{verdict:#}");
    assert_eq!(places(&verdict), [BEFORE, BEFORE, 0, 0, 0]);

    own.broker.stop().await?;
    control(&simulator, "issue", issue(AWAY)).await?;
    until_answered(&simulator, BEFORE + AWAY, &bridge).await?;
    assert_eq!(records(&bridge).await?, AWAY as f64);
    // The broker can be read again, and the bridge has the spool and cannot empty it yet.
    bridge.pause()?;
    own.broker.restart().await?;
    let (ran, verdict) = verify(&bridge, &simulator, &[]).await?;
    assert_eq!(ran.code, Some(0), "{verdict:#}");
    assert_eq!(places(&verdict), [BEFORE + AWAY, BEFORE, 0, AWAY, 0]);
    assert_eq!(verdict["spooled"], AWAY);
    let text = run(command(&bridge, &simulator, &[])?).await?;
    let said = format!("spool: {AWAY} events wait, unexpected 0");
    ensure!(text.code == Some(0) && text.out.contains(&said), "{text:?}");

    bridge.resume()?;
    until_empty(&bridge).await?;
    let (ran, verdict) = verify(&bridge, &simulator, &[]).await?;
    assert_eq!(ran.code, Some(0), "{verdict:#}");
    let all = BEFORE + AWAY;
    assert_eq!(places(&verdict), [all, all, 0, 0, 0]);
    assert_eq!(verdict["spooled"], 0);
    simulator.end().await.map(drop)
}

#[tokio::test]
async fn what_waits_for_kafka_is_not_missing() -> Result<()> {
    what_waits_in_the_spool_is_not_missing(own_kafka().await).await
}

#[tokio::test]
async fn what_waits_for_rabbitmq_is_not_missing() -> Result<()> {
    what_waits_in_the_spool_is_not_missing(own_rabbitmq().await).await
}

#[tokio::test]
async fn what_waits_for_nats_is_not_missing() -> Result<()> {
    what_waits_in_the_spool_is_not_missing(own_nats().await).await
}

/// Events that are too large for their destination, that have none, and that are fine; and one that
/// is no event.
async fn what_was_refused_is_dead_lettered<K: Kind>(own: Own<K>) -> Result<()> {
    let simulator = idle().await?;
    let webhook = format!("sources: {{ callback: {{ webhook: {{ sub_app_id: {POSTED} }} }} }}");
    let bridge = own.setup(&webhook)?.start().await?;
    post(&simulator, &bridge).await?;
    let mut bodies = vec![br#"{"Odd":1}"#.to_vec()];
    for number in 0..EACH {
        bodies.push(notification(number));
        bodies.push(task("PullComplete", number, &noise(number)));
        bodies.push(task("CreateImageSpriteComplete", number, ""));
    }
    for body in &bodies {
        let body: Value = serde_json::from_slice(body)?;
        let issue = json!({ "sub_app_id": POSTED, "notification": body });
        control(&simulator, "issue", issue).await?;
    }
    let (ran, verdict) = verify(&bridge, &simulator, &["--wait=60s"]).await?;
    ensure!(
        ran.code == Some(0),
        "{verdict:#}\n{}\n{}",
        ran.err,
        bridge.log()
    );
    let each = EACH as u64;
    assert_eq!(places(&verdict), [3 * each, each, 2 * each, 0, 0]);
    assert_eq!(verdict["dead_lettered"], 2 * each + 1);
    assert_eq!(verdict["not_dead_lettered"]["count"], 0);
    simulator.end().await.map(drop)
}

#[tokio::test]
async fn what_kafka_refused_is_dead_lettered() -> Result<()> {
    let own = own_kafka().await?;
    let gone = json!({ "topics": ["vod.CreateImageSpriteComplete"] });
    own.client.call("delete_topics", gone).await?;
    let limit = json!({ "topic": "vod.PullComplete", "config": { "max.message.bytes": "1000" } });
    own.client.call("alter_topic", limit).await?;
    what_was_refused_is_dead_lettered(own).await
}

/// The letter of what is too large does not fit either: it is in the state directory.
#[tokio::test]
async fn what_rabbitmq_refused_is_dead_lettered() -> Result<()> {
    let own = own_rabbitmq_with("max_message_size = 3000").await?;
    for key in ["vod.NewFileUpload", "vod.PullComplete", "vod.dead_letter"] {
        let binding = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": key });
        own.client.call("bind_queue", binding).await?;
    }
    let all = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": "#" });
    own.client.call("unbind_queue", all).await?;
    what_was_refused_is_dead_lettered(own).await
}

#[tokio::test]
async fn what_nats_refused_is_dead_lettered() -> Result<()> {
    let mut own = own_nats().await?;
    // Several streams take its subjects.
    own.sink = own.sink.replace(", stream: VOD", "");
    let subjects = json!({ "name": "VOD", "subjects": ["vod.NewFileUpload", "vod.dead_letter"] });
    own.client.call("update_stream", subjects).await?;
    let small = json!({ "name": "SMALL", "subjects": ["vod.PullComplete"], "max_msg_size": 1000 });
    own.client.call("create_stream", small).await?;
    what_was_refused_is_dead_lettered(own).await
}
