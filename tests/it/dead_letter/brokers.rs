//! The dead letters of each broker, on the same broker.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;
use vodbridge_tests::brokers::kafka::Kafka;
use vodbridge_tests::brokers::nats::Nats;
use vodbridge_tests::brokers::rabbitmq::RabbitMq;
use vodbridge_tests::clients::Message;

use super::{PATIENCE, dead_letter, has_payload, list, replay};
use crate::outage::{SILENCE, send};
use crate::own::{Own, notification, own_kafka, own_nats, own_rabbitmq_with};

/// No destination takes it at first.
const UNROUTABLE: &str = r#"{"EventType":"CreateImageSpriteComplete","CreateImageSpriteCompleteEvent":{"TaskId":"1","FileId":"1","N":18446744073709551617, "N":1e400}}"#;

/// At first it is too large for its destination.
fn refused() -> String {
    let text: Vec<_> = (0..800_u64)
        .map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .collect();
    format!(
        r#"{{"EventType":"PullComplete","PullCompleteEvent":{{"TaskId":"2","FileId":"2","汉":"{}"}}}}"#,
        text.concat()
    )
}

/// A broker that first has no room for some events.
trait Narrow: Kind + Sized {
    async fn narrow(own: &Own<Self>) -> Result<()>;
    async fn widen(own: &Own<Self>) -> Result<()>;
}

impl Narrow for Kafka {
    async fn narrow(own: &Own<Self>) -> Result<()> {
        let gone = json!({ "topics": ["vod.CreateImageSpriteComplete"] });
        own.client.call("delete_topics", gone).await?;
        limit(own, "1000").await
    }
    async fn widen(own: &Own<Self>) -> Result<()> {
        let missing = json!({ "topics": ["vod.CreateImageSpriteComplete"] });
        own.client.call("create_topics", missing).await?;
        limit(own, "1000000").await
    }
}

async fn limit(own: &Own<Kafka>, bytes: &str) -> Result<()> {
    let limit = json!({ "topic": "vod.PullComplete", "config": { "max.message.bytes": bytes } });
    own.client.call("alter_topic", limit).await.map(drop)
}

impl Narrow for RabbitMq {
    async fn narrow(own: &Own<Self>) -> Result<()> {
        for key in ["vod.NewFileUpload", "vod.PullComplete"] {
            let binding = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": key });
            own.client.call("bind_queue", binding).await?;
        }
        let all = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": "#" });
        own.client.call("unbind_queue", all).await.map(drop)
    }
    async fn widen(own: &Own<Self>) -> Result<()> {
        let larger = "application:set_env(rabbit, max_message_size, 1000000).";
        own.broker.control(&["eval", larger]).await?;
        let key = "vod.CreateImageSpriteComplete";
        let binding = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": key });
        own.client.call("bind_queue", binding).await.map(drop)
    }
}

impl Narrow for Nats {
    async fn narrow(own: &Own<Self>) -> Result<()> {
        let some = ["vod.NewFileUpload", "vod.PullComplete", "vod.dead_letter"];
        let subjects = json!({ "name": "VOD", "subjects": some });
        own.client.call("update_stream", subjects).await.map(drop)
    }
    async fn widen(own: &Own<Self>) -> Result<()> {
        let subjects = json!({ "name": "VOD", "subjects": ["vod.>"] });
        own.client.call("update_stream", subjects).await.map(drop)
    }
}

/// The events on the broker, dead letters left out, by type; each with how often it is there.
async fn events<K: Kind>(own: &Own<K>) -> Result<BTreeMap<String, Vec<Message>>> {
    let mut events = BTreeMap::<_, Vec<_>>::new();
    for message in own.read().await? {
        let name = message.topic.trim_start_matches("vod.").to_owned();
        if name != "dead_letter" {
            events.entry(name).or_default().push(message);
        }
    }
    Ok(events)
}

/// Posts one event of each fate; returns the ids that were answered.
async fn post_all(bridge: &Bridge, bodies: &[&[u8]]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for body in bodies {
        let answer = bridge.post(body, PATIENCE).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        ids.push(answer.json()?["id"].as_str().context("no id")?.to_owned());
    }
    Ok(ids)
}

fn field<'v>(records: &'v [Value], name: &str) -> Vec<&'v str> {
    let mut fields: Vec<_> = records.iter().filter_map(|r| r[name].as_str()).collect();
    fields.sort_unstable();
    fields
}

/// `refusing`: whether the large event is refused for its size here, not only unroutable.
async fn letters_are_published_again<K: Narrow>(own: Own<K>, refusing: bool) -> Result<()> {
    K::narrow(&own).await?;
    let (bridge, large) = (own.setup("")?.start().await?, refused());
    let bodies = [
        &notification(1),
        &b"no JSON \x1b[2J"[..],
        UNROUTABLE.as_bytes(),
        large.as_bytes(),
    ];
    let bodies = &bodies[..if refusing { 4 } else { 3 }];
    let ids = post_all(&bridge, bodies).await?;
    let directory = &bridge.directory();

    // Seen beside the running bridge, by filter.
    let all = list(directory, &[]).await?;
    let reasons = &["refused", "unparsable", "unroutable"][if refusing { 0 } else { 1 }..];
    assert_eq!(field(&all, "reason"), reasons, "{all:?}");
    let mut expected: Vec<_> = ids[1..].iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(field(&all, "id"), expected);
    let beginning = &ids[2][..10];
    for (filters, count) in [
        (&["--reason", "unroutable"][..], 1),
        (&["--type", "CreateImage*"], 1),
        (
            &["--type", "*", "--source", "callback", "--sink", "events"],
            bodies.len() - 2,
        ),
        (&["--id", beginning], 1),
        (&["--since", "1h"], bodies.len() - 1),
        (&["--until", "1h"], 0),
        (&["--source", "other"], 0),
    ] {
        assert_eq!(list(directory, filters).await?.len(), count, "{filters:?}");
    }
    let table = dead_letter(directory, &["list"]).await?;
    assert_eq!(table.out.lines().count(), bodies.len(), "{table:?}");
    let shown = dead_letter(directory, &["show", beginning]).await?;
    for text in [
        "unroutable",
        "1e400",
        "18446744073709551617",
        "no destination",
        "callback",
    ] {
        ensure!(shown.out.contains(text), "no {text}: {shown:?}");
    }
    let raw = dead_letter(directory, &["show", &ids[1]]).await?;
    ensure!(
        raw.out.contains(r"no JSON \u{1b}[2J") && raw.out.contains("host: "),
        "{raw:?}"
    );
    let unknown = dead_letter(directory, &["show", "xyz"]).await?;
    ensure!(unknown.code == Some(1), "{unknown:?}");

    // Not without being told to, and not before the cause is gone.
    let unasked = dead_letter(directory, &["replay"]).await?;
    ensure!(
        unasked.code == Some(64) && unasked.err.contains("--yes"),
        "{unasked:?}"
    );
    let dry = dead_letter(directory, &["replay", "--dry-run", "--output", "json"]).await?;
    let sum = dry.json()?.pop().context("no sum")?;
    assert_eq!(
        sum["summary"]["by_sink"]["events"],
        bodies.len() - 2,
        "{dry:?}"
    );
    let (failed, sum) = replay(directory, 1, &[]).await?;
    assert_eq!(
        (&sum["replayed"], &sum["failed"]),
        (&0.into(), &(bodies.len() - 1).into()),
        "{failed:?}"
    );
    let first = events(&own).await?;
    assert_eq!(first.keys().collect::<Vec<_>>(), ["NewFileUpload"]);

    K::widen(&own).await?;
    let (lines, sum) = replay(directory, 1, &[]).await?;
    assert_eq!(
        (&sum["replayed"], &sum["failed"]),
        (&(bodies.len() - 2).into(), &1.into()),
        "{lines:?}"
    );
    let found = events(&own).await?;
    for (body, id, name, payload) in [
        (
            UNROUTABLE,
            ids.get(2),
            "CreateImageSpriteComplete",
            "CreateImageSpriteCompleteEvent",
        ),
        (&large, ids.get(3), "PullComplete", "PullCompleteEvent"),
    ] {
        let Some(id) = id else { continue };
        let [message] = &found.get(name).context(name)?[..] else {
            anyhow::bail!("{name} is there {} times", found[name].len());
        };
        assert_eq!(&message.event()?.id, id);
        has_payload(&message.body, body.as_bytes(), payload)?;
    }

    // Once, unless it is wanted again; and nothing is removed.
    let causes = ["--reason", "refused", "--reason", "unroutable"];
    let (_, sum) = replay(directory, 0, &causes).await?;
    assert_eq!(
        (&sum["replayed"], &sum["replayed_before"]),
        (&0.into(), &(bodies.len() - 2).into())
    );
    let before = events(&own)
        .await?
        .get("CreateImageSpriteComplete")
        .map_or(0, Vec::len);
    replay(directory, 0, &["--again", "--reason", "unroutable"]).await?;
    let after = events(&own).await?["CreateImageSpriteComplete"].len();
    // RabbitMQ's client has emptied the queue.
    assert_eq!(after, before + 1);
    assert_eq!(list(directory, &[]).await?.len(), bodies.len() - 1);
    assert_eq!(
        field(&list(directory, &["--pending"]).await?, "reason"),
        ["unparsable"]
    );
    Ok(())
}

#[tokio::test]
async fn those_of_kafka_are_published_again() -> Result<()> {
    letters_are_published_again(own_kafka().await?, true).await
}

/// The letter of what is too large does not fit either: it is in the state directory.
#[tokio::test]
async fn those_of_rabbitmq_are_published_again() -> Result<()> {
    letters_are_published_again(own_rabbitmq_with("max_message_size = 3000").await?, true).await
}

#[tokio::test]
async fn those_of_nats_are_published_again() -> Result<()> {
    letters_are_published_again(own_nats().await?, false).await
}

/// Events on one broker, dead letters on another, which stops: only what needs it waits.
#[tokio::test]
async fn a_dead_letter_store_that_is_down_blocks_only_what_needs_it() -> Result<()> {
    let (events, mut letters) = tokio::try_join!(own_kafka(), own_nats())?;
    let other = format!("letters: {{ {} }}", letters.sink);
    let more = "routes: { all: { to: { events: {} } } }\ndead_letter: { sink: letters }";
    let bridge = events.setup_with(&other, more)?.start().await?;
    letters.broker.stop().await?;
    let mut waiting = Vec::new();
    for number in 0..8 {
        waiting.push(send(&bridge, format!("no JSON {number}").as_bytes()).await?);
    }
    let silent = waiting.iter_mut().map(|w| w.silent_for(SILENCE / 2));
    let flowing = async {
        for number in 0..50 {
            let answer = bridge.post(&notification(number), SILENCE).await?;
            ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
        }
        anyhow::Ok(())
    };
    let (silent, flowing) = tokio::join!(join_all(silent), flowing);
    flowing?;
    for silent in silent {
        silent.context("an answer without a dead letter")?;
    }
    letters.broker.restart().await?;
    // The cloud sends again what it heard nothing of.
    drop(waiting);
    let answer = send(&bridge, b"no JSON 0")
        .await?
        .response(PATIENCE)
        .await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    ensure!(!letters.ids(PATIENCE).await?.is_empty(), "no dead letter");
    assert_eq!(events.read().await?.len(), 50);
    Ok(())
}
