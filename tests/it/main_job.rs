//! The main job: every sample notification, posted to the webhook, is on the right topic of each
//! of the three brokers when the answer comes, as clients that this project did not write read it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_simulator::{Sample, samples};
use vodbridge_tests::bridge::{Bridge, SUB_APP_ID, Setup};
use vodbridge_tests::clients::{Event, Message};
use vodbridge_tests::tokens::{Tokens, joined, member, members, tokens};

use crate::destinations::{Destinations, Received};

const PATIENCE: Duration = Duration::from_secs(20);

/// The samples that were answered with each id. Two samples of one happening, printed by two
/// documents in two ways, share an id: the second is a copy.
type Posted = BTreeMap<String, Vec<&'static Sample>>;

/// The events that a broker holds, by id.
type Events<'m> = BTreeMap<&'m str, Vec<&'m Event>>;

#[tokio::test]
async fn every_sample_arrives_once_in_structured_mode() -> Result<()> {
    every_sample_arrives_once("structured").await
}

#[tokio::test]
async fn every_sample_arrives_once_in_binary_mode() -> Result<()> {
    every_sample_arrives_once("binary").await
}

async fn every_sample_arrives_once(mode: &str) -> Result<()> {
    let destinations = Destinations::new(mode).await?;
    let setup = Setup::new(&destinations.configuration(mode))?;
    setup.run(&["provision"]).await?;
    let bridge = setup.start().await?;
    let posted = post_all(&bridge).await?;

    // Nobody waits here: what was answered is on the brokers.
    let received = destinations.read(0, Duration::ZERO).await?;
    let (prefix, posted) = (destinations.prefix.as_str(), &posted);
    let kafka = read(&received.kafka, posted, prefix, mode).context("on Kafka")?;
    let rabbitmq = read(&received.rabbitmq, posted, prefix, mode).context("on RabbitMQ")?;
    let nats = read(&received.nats, posted, prefix, mode).context("on NATS")?;

    for (id, samples) in posted {
        let names: Vec<&str> = samples.iter().map(|sample| sample.name).collect();
        let count = |events: &Events<'_>| events.get(id.as_str()).map_or(0, Vec::len);
        assert_eq!(count(&kafka), samples.len(), "{names:?} on Kafka");
        assert_eq!(count(&rabbitmq), samples.len(), "{names:?} on RabbitMQ");
        // JetStream stores one event of an id.
        assert_eq!(count(&nats), 1, "{names:?} on NATS");
        assert_eq!(kafka[id.as_str()], rabbitmq[id.as_str()], "{names:?}");
        assert_eq!(kafka[id.as_str()][0], nats[id.as_str()][0], "{names:?}");
    }
    assert_eq!(
        (kafka.len(), nats.len()),
        (posted.len(), posted.len()),
        "events nobody posted"
    );
    broker_specifics(&received, mode)?;
    known_facts(posted, &kafka)
}

async fn post_all(bridge: &Bridge) -> Result<Posted> {
    let mut posted = Posted::new();
    for sample in samples() {
        let answer = bridge.post(sample.body.as_bytes(), PATIENCE).await?;
        ensure!(
            answer.status == 200,
            "{}: {} {}",
            sample.name,
            answer.status,
            answer.text()
        );
        let answer = answer.json()?;
        let id = answer["id"]
            .as_str()
            .with_context(|| format!("no id in {answer}"))?;
        posted.entry(id.to_owned()).or_default().push(sample);
    }
    Ok(posted)
}

/// Holds each message against the samples that were posted with its id, and returns the events.
fn read<'m>(
    messages: &'m [Message],
    posted: &Posted,
    prefix: &str,
    mode: &str,
) -> Result<Events<'m>> {
    let mut events = Events::new();
    for message in messages {
        let event = message.event()?;
        let samples = posted
            .get(&event.id)
            .with_context(|| format!("nobody posted {event:?}"))?;
        let sample = samples[0];
        let data = data(message, mode)?;
        let expected = samples
            .iter()
            .map(|sample| payload(sample))
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            expected
                .iter()
                .any(|payload| tokens(payload).is_ok_and(|tokens| tokens == data)),
            "the data of {} is not what was sent: {}",
            sample.name,
            String::from_utf8_lossy(&joined(&data))
        );
        assert_eq!(
            message.topic,
            format!("{prefix}.{}", topic_name(sample)),
            "{}",
            sample.name
        );
        assert_eq!(
            event.ty,
            format!("com.tencent.cloud.vod.{}", sample.event_type)
        );
        assert_eq!(
            event.source,
            format!("https://vod.tencentcloudapi.com/{SUB_APP_ID}")
        );
        assert_eq!(event.specversion, "1.0");
        assert_eq!(event.datacontenttype.as_deref(), Some("application/json"));
        assert_eq!(event.subject.as_ref(), event.extensions.get("partitionkey"));
        assert_eq!(event.extensions["vodsource"], "webhook");
        ensure!(event.time.is_some(), "{} has no time", sample.name);
        events.entry(&event.id).or_default().push(event);
    }
    Ok(events)
}

/// The data as it stands in the bytes of the message; the SDK would decode it.
pub(crate) fn data<'m>(message: &'m Message, mode: &str) -> Result<Tokens<'m>> {
    match mode {
        "structured" => member(&message.body, "data"),
        _ => tokens(&message.body),
    }
}

/// What consumers are to get of a sample: the whole body of the 2.0 format, else the one member
/// beside EventType that is not null.
pub(crate) fn payload(sample: &Sample) -> Result<Vec<u8>> {
    let body = sample.body.as_bytes();
    if sample.event_type.starts_with("v2.") {
        return Ok(body.to_vec());
    }
    let payloads: Vec<_> = members(body)?
        .into_iter()
        .filter(|(key, value)| *key != b"EventType" && *value != [b"null"])
        .collect();
    ensure!(
        payloads.len() == 1,
        "{} has {} payloads",
        sample.name,
        payloads.len()
    );
    Ok(joined(&payloads[0].1))
}

/// What stands for `{event_type}` in a topic. The one type that the catalogue lacks shares a
/// topic with whatever else is unknown.
fn topic_name(sample: &Sample) -> &str {
    match sample.event_type {
        "RestoreCompleteEvent" => "other",
        name => name,
    }
}

/// What each protocol binding adds to the event itself.
fn broker_specifics(received: &Received, mode: &str) -> Result<()> {
    let content_type = match mode {
        "structured" => "application/cloudevents+json; charset=UTF-8",
        _ => "application/json",
    };
    for message in &received.kafka {
        assert_eq!(message.key.as_ref(), message.event()?.subject.as_ref());
        assert_eq!(message.headers["content-type"], content_type);
    }
    for message in &received.rabbitmq {
        let event = message.event()?;
        assert_eq!(message.properties["message_id"], event.id);
        assert_eq!(message.properties["type"], event.ty);
        assert_eq!(message.properties["content_type"], content_type);
        assert_eq!(message.properties["delivery_mode"], "2", "not persistent");
    }
    for message in &received.nats {
        assert!(message.headers["Nats-Msg-Id"].contains(&message.event()?.id));
    }
    Ok(())
}

/// A few samples whose facts were read off by hand.
fn known_facts(posted: &Posted, events: &Events<'_>) -> Result<()> {
    let event = |name: &str| {
        let named = |samples: &&Vec<&Sample>| samples.iter().any(|sample| sample.name == name);
        let (id, _) = posted
            .iter()
            .find(|(_, samples)| named(samples))
            .context("no such sample")?;
        anyhow::Ok(events[id.as_str()][0])
    };
    let upload = event("NewFileUpload")?;
    assert_eq!(upload.subject.as_deref(), Some("5285890784273533167"));
    assert_eq!(upload.time.as_deref(), Some("2019-01-09T16:36:24+00:00"));
    assert_eq!(upload.extensions["vodoutcome"], "succeeded");
    assert_eq!(upload.extensions["vodsubappid"], SUB_APP_ID.to_string());
    assert_eq!(upload.extensions["vodformat"], "3.0");

    // A number above 2^53, which a reader by way of floats would round.
    assert_eq!(
        event("ComposeMediaComplete")?.subject.as_deref(),
        Some("5285485487985271490")
    );

    let files = "24961954183381008,24961954183381009,24961954183381010";
    assert_eq!(event("FileDeleted-multi")?.extensions["vodfileid"], files);
    assert_eq!(event("FileDeleted-v2")?.extensions["vodformat"], "2.0");

    assert_eq!(
        event("ProcedureStateChanged-processing")?.extensions["vodoutcome"],
        "progress"
    );
    // FINISH, and yet not a success.
    let refused = event("WechatPublishComplete-failed")?;
    assert_eq!(refused.extensions["vodstatus"], "FINISH");
    assert_eq!(refused.extensions["voderrcode"], "70000");
    assert_eq!(refused.extensions["vodoutcome"], "failed");
    Ok(())
}
