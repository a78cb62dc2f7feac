//! Ten thousand publishes, good ones between bad ones of every kind: a 200 means that the event is
//! where it belongs, or, with its reason, in the dead letter; what is in neither gets none.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::brokers::Kind;
use vodbridge_tests::brokers::nats::Nats;

use crate::load::{Load, Tally};
use crate::own::{Own, kept, notification, own_kafka_with_acls, own_nats, own_rabbitmq_with};

const COUNT: usize = 10_000;
const CALLERS: usize = 512;

/// Long enough for what can be delivered on a busy machine, and not to wait long for the rest.
const PATIENT: &str = "sources: { callback: { webhook: { patience: 12s } } }";

/// What becomes of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// On its topic.
    Delivered,
    /// In the dead letter: its topic, queue or stream does not exist.
    Unroutable,
    /// In the dead letter: the broker never takes one so large.
    Refused,
    /// In the undelivered file: its destination takes nothing now.
    Undelivered,
}

fn fate(number: usize) -> Fate {
    match number {
        _ if number % 50 == 49 => Fate::Undelivered,
        _ if number % 6 == 3 => Fate::Refused,
        _ if number.is_multiple_of(6) => Fate::Unroutable,
        _ => Fate::Delivered,
    }
}

fn mixed(number: usize) -> Vec<u8> {
    match fate(number) {
        Fate::Delivered => notification(number),
        Fate::Unroutable => task("CreateImageSpriteComplete", number, ""),
        Fate::Refused => task("PullComplete", number, &noise(number)),
        Fate::Undelivered => task("ConcatComplete", number, ""),
    }
}

pub(crate) fn task(event_type: &str, number: usize, filling: &str) -> Vec<u8> {
    format!(
        r#"{{"EventType":"{event_type}","{event_type}Event":{{"TaskId":"{number}","FileId":"{number}","Message":"{filling}"}}}}"#
    )
    .into_bytes()
}

/// Four kilobytes that no compression brings below one.
pub(crate) fn noise(seed: usize) -> String {
    let mut state = seed as u64;
    let mut word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        format!("{:016x}", mixed ^ (mixed >> 27))
    };
    (0..256).map(|_| word()).collect()
}

/// Where the notifications were found, by number.
#[derive(Debug, Default)]
struct Found(BTreeMap<usize, BTreeSet<Fate>>);

impl Found {
    fn add(&mut self, subject: Option<&str>, fate: Fate) -> Result<()> {
        let number = subject.context("no subject")?.parse()?;
        self.0.entry(number).or_default().insert(fate);
        Ok(())
    }

    async fn on_the_broker<K: Kind>(&mut self, own: &Own<K>) -> Result<()> {
        for message in own.read().await? {
            let event = message.event()?;
            let fate = match message.topic.as_str() {
                "vod.NewFileUpload" => Fate::Delivered,
                "vod.dead_letter" => reason(&event.extensions["deadletterreason"])?,
                topic => anyhow::bail!("{} on {topic}", event.id),
            };
            self.add(event.subject.as_deref(), fate)?;
        }
        Ok(())
    }

    /// In the state directory: what is undelivered, and dead letters too large for the broker.
    fn in_files(&mut self, bridge: &Bridge) -> Result<()> {
        for event in kept(bridge)? {
            let fate = match event["deadletterreason"].as_str() {
                Some(text) => reason(text)?,
                None => Fate::Undelivered,
            };
            self.add(event["subject"].as_str(), fate)?;
        }
        Ok(())
    }

    /// Nothing is missing, and what was answered 200 is on the broker or in the dead letter.
    fn success_is_true(&self, tally: &Tally) -> Result<()> {
        let missing: Vec<_> = (0..COUNT)
            .filter(|number| !self.0.contains_key(number))
            .collect();
        ensure!(
            missing.is_empty(),
            "{} are nowhere: {missing:?}",
            missing.len()
        );
        let durable = |number: &usize| self.0[number].iter().any(|fate| *fate != Fate::Undelivered);
        let lies: Vec<_> = tally
            .confirmed
            .iter()
            .filter(|number| !durable(number))
            .collect();
        ensure!(lies.is_empty(), "200 for what no broker has: {lies:?}");
        Ok(())
    }

    /// Each is where it belongs, and nowhere else.
    fn is_as_fated(&self) -> Result<()> {
        let nowhere = BTreeSet::new();
        let strange: Vec<_> = (0..COUNT)
            .map(|number| (number, self.0.get(&number).unwrap_or(&nowhere)))
            .filter(|(number, found)| **found != BTreeSet::from([fate(*number)]))
            .map(|(number, found)| format!("{number}, {:?}: {found:?}", fate(number)))
            .collect();
        let first = &strange[..strange.len().min(20)];
        ensure!(
            strange.is_empty(),
            "{} are elsewhere: {first:#?}",
            strange.len()
        );
        Ok(())
    }
}

fn reason(text: &str) -> Result<Fate> {
    match text {
        "unroutable" => Ok(Fate::Unroutable),
        "refused" => Ok(Fate::Refused),
        other => anyhow::bail!("dead-lettered as {other}"),
    }
}

/// Everybody was told 200 but those whose events are in no broker; they were told in time.
fn answers_are_right(tally: &Tally) -> Result<()> {
    ensure!(tally.broken.is_empty(), "{:?}", tally.broken.first());
    let (undelivered, durable): (BTreeSet<_>, BTreeSet<_>) =
        (0..COUNT).partition(|number| fate(*number) == Fate::Undelivered);
    let told: Vec<_> = tally
        .confirmed
        .intersection(&undelivered)
        .take(10)
        .collect();
    ensure!(told.is_empty(), "200 for what is nowhere: {told:?}, …");
    let refused = tally
        .refused
        .iter()
        .find(|(number, _)| durable.contains(number));
    ensure!(refused.is_none(), "{refused:?}");
    assert_eq!(tally.confirmed, durable);
    let late = |answer: &String| answer.starts_with("503");
    ensure!(tally.refused.values().all(late), "{:?}", tally.refused);
    Ok(())
}

async fn no_success_is_false<K: Kind>(own: Own<K>) -> Result<()> {
    let bridge = own.setup(PATIENT)?.start().await?;
    let load = Load::start(bridge.webhook(), CALLERS, COUNT - 1, mixed);
    let tally = load.finish().await;
    // Until the bridge has given up on what nobody took.
    bridge.until_nothing_is_in_flight().await?;

    let mut found = Found::default();
    found.on_the_broker(&own).await?;
    found.in_files(&bridge)?;
    found.success_is_true(&tally)?;
    found.is_as_fated()?;
    answers_are_right(&tally)
}

#[tokio::test]
async fn no_success_of_kafka_is_false() -> Result<()> {
    let own = own_kafka_with_acls().await?;
    let gone = json!({ "topics": ["vod.CreateImageSpriteComplete"] });
    own.client.call("delete_topics", gone).await?;
    let limit = json!({ "topic": "vod.PullComplete", "config": { "max.message.bytes": "1000" } });
    own.client.call("alter_topic", limit).await?;
    let denied = json!({ "topic": "vod.ConcatComplete" });
    own.client.call("deny_writes", denied).await?;
    no_success_is_false(own).await
}

#[tokio::test]
async fn no_success_of_rabbitmq_is_false() -> Result<()> {
    let own = own_rabbitmq_with("max_message_size = 3000").await?;
    let full = json!({
        "queue": "full", "exchange": "vod", "routing_key": "vod.ConcatComplete",
        "arguments": { "x-max-length": 1, "x-overflow": "reject-publish" },
    });
    own.client.call("declare_queue", full).await?;
    let filling = json!({ "exchange": "", "routing_key": "full", "bodies": ["{}"] });
    own.client.call("publish", filling).await?;
    for key in ["vod.NewFileUpload", "vod.PullComplete", "vod.dead_letter"] {
        let binding = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": key });
        own.client.call("bind_queue", binding).await?;
    }
    let all = json!({ "queue": "vod.events", "exchange": "vod", "routing_key": "#" });
    own.client.call("unbind_queue", all).await?;
    no_success_is_false(own).await
}

/// A server whose streams take uploads and what is unknown, refuse large `PullComplete`s, take no
/// `ConcatComplete` now, and know no other event.
pub(crate) async fn narrow_nats() -> Result<Own<Nats>> {
    let mut own = own_nats().await?;
    // Several streams take its subjects.
    own.sink = own.sink.replace(", stream: VOD", "");
    let some = ["vod.NewFileUpload", "vod.other", "vod.dead_letter"];
    let subjects = json!({ "name": "VOD", "subjects": some });
    own.client.call("update_stream", subjects).await?;
    let small = json!({ "name": "SMALL", "subjects": ["vod.PullComplete"], "max_msg_size": 1000 });
    own.client.call("create_stream", small).await?;
    let full = json!({
        "name": "FULL", "subjects": ["vod.ConcatComplete"], "max_msgs": 1, "discard": "new",
    });
    own.client.call("create_stream", full).await?;
    let filling = json!({ "subject": "vod.ConcatComplete", "bodies": ["{}"] });
    own.client.call("publish", filling).await?;
    Ok(own)
}

#[tokio::test]
async fn no_success_of_nats_is_false() -> Result<()> {
    no_success_is_false(narrow_nats().await?).await
}
