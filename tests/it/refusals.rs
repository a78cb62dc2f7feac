//! Ten thousand publishes, good ones between bad ones: a 200 means that the event is where it
//! belongs, or, with its reason, in the dead letter.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vodbridge_tests::brokers::Kind;

use crate::load::Load;
use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq};

const COUNT: usize = 10_000;
const CALLERS: usize = 512;

/// Every third is bad: of a type without a destination, or too large for its topic.
fn mixed(number: usize) -> Vec<u8> {
    if is_bad(number) {
        bad(number)
    } else {
        notification(number)
    }
}

fn is_bad(number: usize) -> bool {
    number.is_multiple_of(3)
}

fn bad(number: usize) -> Vec<u8> {
    let filling = noise(number);
    format!(
        r#"{{"EventType":"PullComplete","PullCompleteEvent":{{"TaskId":"t","FileId":"{number}","FileUrl":"{filling}"}}}}"#
    )
    .into_bytes()
}

/// Four kilobytes that no compression brings below one.
fn noise(seed: usize) -> String {
    let mut state = seed as u64;
    let mut word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        format!("{:016x}", mixed ^ (mixed >> 27))
    };
    (0..256).map(|_| word()).collect()
}

async fn no_success_is_false<K: Kind>(own: Own<K>, reason: &str) -> Result<()> {
    let bridge = own.setup("")?.start().await?;
    let tally = Load::start(bridge.webhook(), CALLERS, COUNT - 1, mixed)
        .finish()
        .await;
    let first = |answers: &[String]| answers.first().cloned();
    ensure!(
        tally.refused.is_empty(),
        "{} refused: {:?}",
        tally.refused.len(),
        first(&tally.refused)
    );
    ensure!(
        tally.broken.is_empty(),
        "{} broken: {:?}",
        tally.broken.len(),
        first(&tally.broken)
    );
    assert_eq!(tally.confirmed.len(), COUNT);

    let (mut delivered, mut dead_lettered) = (BTreeSet::new(), BTreeSet::new());
    for message in own.read().await? {
        let event = message.event()?;
        let number: usize = event.subject.as_ref().context("no subject")?.parse()?;
        if message.topic == "vod.dead_letter" {
            assert_eq!(event.extensions["deadletterreason"], reason, "{number}");
            dead_lettered.insert(number);
        } else {
            delivered.insert(number);
        }
    }
    let (bad, good): (BTreeSet<_>, BTreeSet<_>) = (0..COUNT).partition(|number| is_bad(*number));
    let strange: Vec<_> = delivered.symmetric_difference(&good).take(10).collect();
    ensure!(
        strange.is_empty(),
        "not delivered, or delivered and bad: {strange:?}, …"
    );
    let strange: Vec<_> = dead_lettered.symmetric_difference(&bad).take(10).collect();
    ensure!(
        strange.is_empty(),
        "not dead-lettered, or good: {strange:?}, …"
    );
    Ok(())
}

#[tokio::test]
async fn kafka_refuses_the_size() -> Result<()> {
    let own = own_kafka().await?;
    let limit = json!({ "topic": "vod.PullComplete", "config": { "max.message.bytes": "1000" } });
    own.client.call("alter_topic", limit).await?;
    no_success_is_false(own, "refused").await
}

#[tokio::test]
async fn rabbitmq_has_no_queue() -> Result<()> {
    let own = own_rabbitmq().await?;
    for key in ["vod.NewFileUpload", "vod.dead_letter"] {
        let binding = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": key });
        own.client.call("bind_queue", binding).await?;
    }
    let all = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": "#" });
    own.client.call("unbind_queue", all).await?;
    no_success_is_false(own, "unroutable").await
}

#[tokio::test]
async fn nats_has_no_stream() -> Result<()> {
    let own = own_nats().await?;
    let subjects = json!({ "name": "VOD", "subjects": ["vod.NewFileUpload", "vod.dead_letter"] });
    own.client.call("update_stream", subjects).await?;
    no_success_is_false(own, "unroutable").await
}
