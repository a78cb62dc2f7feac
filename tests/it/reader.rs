//! The readers: what a sink has published is read back as it was, from every broker in both modes,
//! and stays where it is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use vodbridge_core::{BoxError, Envelope, Message, Messages, Reader, Sink, Topology};
use vodbridge_sink_file::{FileReader, FileSink};
use vodbridge_sink_kafka::{KafkaReader, KafkaSink, Limits};
use vodbridge_sink_nats::{NatsReader, NatsSink};
use vodbridge_sink_rabbitmq::{Place, RabbitMqReader, RabbitMqSink};
use vodbridge_tests::brokers::{kafka, nats, rabbitmq};
use vodbridge_tests::{clients, scratch};
use vodbridge_vod::{Catalogue, Normalizer, Notification, Via};

const PATIENCE: Duration = Duration::from_secs(60);

fn settings<T: DeserializeOwned>(json: Value) -> Result<T> {
    Ok(serde_json::from_value(json)?)
}

fn done<T>(result: Result<T, BoxError>) -> Result<T> {
    result.map_err(anyhow::Error::from_boxed)
}

/// A name that no other test uses.
fn name(of: &str) -> String {
    format!("reader-{of}-{}", std::process::id())
}

/// An event of each sample, and a dead letter's topic for the first.
fn events(prefix: &str) -> Vec<Envelope> {
    let normalizer = Normalizer::new(7, "queue", Via::Queue, Arc::new(Catalogue::default()));
    let event = |sample: &vodbridge_simulator::Sample| {
        let notification = Notification::parse(sample.body.as_bytes()).ok()?;
        let normalized = normalizer.normalize(&notification, SystemTime::UNIX_EPOCH);
        Some(normalized.ok()?.into_envelope(None))
    };
    let mut events: Vec<_> = vodbridge_simulator::samples()
        .iter()
        .filter_map(event)
        .collect();
    // JetStream keeps one of a kind.
    let mut seen = BTreeSet::new();
    events.retain(|event| seen.insert(event.id().to_owned()));
    assert!(events.len() > 37);
    events.push(events[0].with_topic(format!("{prefix}.dead_letter").into()));
    events
}

fn now() -> CancellationToken {
    let until = CancellationToken::new();
    until.cancel();
    until
}

async fn all(messages: Messages) -> Result<Vec<Message>> {
    let all = timeout(PATIENCE, messages.collect::<Vec<_>>()).await?;
    all.into_iter().map(done).collect()
}

/// The topic, the attributes, whose order headers do not keep, and the data.
type Content = (String, BTreeSet<(String, String)>, Vec<u8>);

fn content(topic: &str, event: &Envelope) -> Content {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let attributes = event.attributes().map(owned).collect();
    (topic.to_owned(), attributes, event.data().to_vec())
}

fn contents(messages: &[Message]) -> Result<Vec<Content>> {
    let content = |message: &Message| {
        let event = message.event.as_ref();
        let event = event.map_err(|foreign| anyhow::anyhow!("{}: {foreign}", message.position))?;
        Ok(content(&message.topic, event))
    };
    let contents: Result<Vec<_>> = messages.iter().map(content).collect();
    contents.map(|mut contents| {
        contents.sort();
        contents
    })
}

/// What is published is read: now, again, and as it comes.
async fn is_read_back<S: Sink + Topology>(
    prefix: &str,
    sink: impl Fn() -> Result<S>,
    reader: &dyn Reader,
) -> Result<()> {
    let template = vodbridge_core::Template::parse(&format!("{prefix}.{{event_type}}"))?;
    let events = events(prefix);
    let mut expected: Vec<_> = events
        .iter()
        .map(|event| content(&template.topic(event), event))
        .collect();
    expected.sort();
    let topics: BTreeSet<_> = expected.iter().map(|(topic, ..)| topic.clone()).collect();
    let topics: Vec<_> = topics.into_iter().collect();

    let provisioning = sink()?;
    timeout(PATIENCE, provisioning.reached()).await?;
    done(provisioning.provision(&topics).await)?;
    done(provisioning.close().await)?;
    ensure!(
        all(done(reader.read(&topics, now()).await)?)
            .await?
            .is_empty()
    );

    let sink = sink()?;
    timeout(PATIENCE, sink.reached()).await?;
    let (first, rest) = events.split_at(events.len() / 2);
    for event in first {
        sink.publish(event).await?;
    }
    let until = CancellationToken::new();
    let mut following = done(reader.read(&topics, until.clone()).await)?;
    let mut followed = Vec::new();
    for event in rest {
        sink.publish(event).await?;
        let message = timeout(PATIENCE, following.next()).await?;
        followed.push(done(message.context("it ended")?)?);
    }
    until.cancel();
    followed.extend(all(following).await?);
    ensure!(contents(&followed)? == expected, "followed");
    for _ in 0..2 {
        let read = all(done(reader.read(&topics, now()).await)?).await?;
        let read = contents(&read)?;
        ensure!(read == expected, "{} of {}", read.len(), expected.len());
    }
    ensure!(all(done(reader.read(&[], now()).await)?).await?.is_empty());
    done(sink.close().await)
}

#[tokio::test]
async fn kafka_is_read_back() -> Result<()> {
    let address = kafka::shared().await?;
    for mode in ["structured", "binary"] {
        let prefix = name(mode);
        let topic = format!("{prefix}.{{event_type}}");
        let config = json!({ "brokers": [address], "topic": topic, "mode": mode });
        let limits = Limits {
            message_timeout: PATIENCE,
            max_in_flight: 10,
        };
        let config = settings(config)?;
        let sink = || Ok(KafkaSink::new("events", &config, &limits)?);
        is_read_back(&prefix, sink, &KafkaReader::new(&config)?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn rabbitmq_is_read_back() -> Result<()> {
    let address = rabbitmq::shared().await?;
    for mode in ["structured", "binary"] {
        let prefix = name(mode);
        let key = format!("{prefix}.{{event_type}}");
        let config =
            json!({ "url": address, "exchange": prefix, "routing_key": key, "mode": mode });
        let config = settings(config)?;
        let sink = || Ok(RabbitMqSink::new("events", &config, 10)?);
        let reader = RabbitMqReader::new("events", &config, Place::default())?;
        is_read_back(&prefix, sink, &reader).await?;
    }
    Ok(())
}

#[tokio::test]
async fn nats_is_read_back() -> Result<()> {
    let address = nats::shared().await?;
    for mode in ["structured", "binary"] {
        let prefix = name(mode);
        let subject = format!("{prefix}.{{event_type}}");
        let config =
            json!({ "servers": [address], "subject": subject, "stream": prefix, "mode": mode });
        let config = settings(config)?;
        let sink = || Ok(NatsSink::new("events", &config, 10)?);
        is_read_back(&prefix, sink, &NatsReader::new("events", &config)?).await?;
        let any_stream = json!({ "servers": [address], "subject": subject, "mode": mode });
        let reader = NatsReader::new("events", &settings(any_stream)?)?;
        let topics = [
            format!("{prefix}.NewFileUpload"),
            format!("{prefix}_no.stream"),
        ];
        ensure!(
            !all(done(reader.read(&topics, now()).await)?)
                .await?
                .is_empty()
        );
    }
    Ok(())
}

#[tokio::test]
async fn files_are_read_back() -> Result<()> {
    let directory = scratch::directory("reader")?;
    let config =
        json!({ "directory": directory.path(), "topic": "vod.{event_type}", "rotate_bytes": 5000 });
    let config = settings(config)?;
    let sink = || Ok(FileSink::open("events", &config)?);
    is_read_back("vod", sink, &FileReader::new(&config)).await
}

/// A queue hands out what is read, and has it all again afterwards; it is left alone where others
/// would miss it, and before its limit.
#[tokio::test]
async fn a_queue_is_left_as_it_was() -> Result<()> {
    let address = rabbitmq::shared().await?;
    let client = clients::rabbitmq(&*address);
    let exchange = name("queue");
    let key = "vod.{event_type}";
    let config = settings(json!({ "url": address, "exchange": exchange, "routing_key": key }))?;
    let sink = RabbitMqSink::new("events", &config, 1000)?;
    timeout(PATIENCE, sink.reached()).await.ok();
    let topics = ["vod.FileDeleted".to_owned()];
    let reader = |place| RabbitMqReader::new("events", &config, place);
    let queue = |name: Option<&str>, delivery_limit| Place::Queue {
        name: name.map(str::to_owned),
        delivery_limit,
    };
    let refused = async |place| {
        let error = match reader(place)?.read(&topics, now()).await {
            Ok(messages) => all(messages).await.err().context("it was read")?,
            Err(error) => anyhow::Error::from_boxed(error),
        };
        Ok::<_, anyhow::Error>(format!("{error:#}"))
    };
    let missing = refused(Place::default()).await?;
    ensure!(missing.contains("vodbridge provision"), "{missing}");

    done(sink.provision(&topics).await)?;
    let default = format!("{exchange}.events");
    let bodies: Vec<_> = (0..2500).map(|n| n.to_string()).collect();
    let some = json!({ "exchange": exchange, "routing_key": topics[0], "bodies": bodies });
    client.call("publish", some).await?;
    let other = json!({ "exchange": exchange, "routing_key": "vod.other", "bodies": ["x"] });
    client.call("publish", other).await?;
    for _ in 0..3 {
        let read = all(done(reader(queue(None, None))?.read(&topics, now()).await)?).await?;
        let body = |m: &Message| m.event.as_ref().map_err(|f| f.body.clone()).err();
        let read: Vec<_> = read.iter().filter_map(body).collect();
        ensure!(read == bodies, "{} were read", read.len());
        assert_eq!(
            client.call("count", json!({ "queue": default })).await?,
            [2501]
        );
    }
    // One that is dropped gives back too.
    let mut dropped = done(reader(queue(None, None))?.read(&topics, now()).await)?;
    ensure!(dropped.next().await.is_some());
    drop(dropped);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while client.call("count", json!({ "queue": default })).await? != [2501] {
        ensure!(
            tokio::time::Instant::now() < deadline,
            "it was not given back"
        );
    }

    let limit = refused(queue(Some(&default), Some(8))).await?;
    ensure!(limit.contains("has handed out"), "{limit}");
    let far = reader(queue(None, Some(50)))?;
    assert_eq!(
        all(done(far.read(&topics, now()).await)?).await?.len(),
        2500
    );

    // An own queue sees what comes, whoever reads the other one.
    let own = reader(Place::Own)?;
    let (one, other) = (CancellationToken::new(), CancellationToken::new());
    let consuming = done(reader(queue(None, None))?.read(&topics, one.clone()).await)?;
    let followed = done(own.read(&topics, other.clone()).await)?;
    let in_use = refused(queue(None, None)).await?;
    ensure!(in_use.contains("1 consumers"), "{in_use}");
    let some = json!({ "exchange": exchange, "routing_key": topics[0], "bodies": bodies });
    client.call("publish", some).await?;
    other.cancel();
    assert_eq!(all(followed).await?.len(), 2500);
    drop(consuming);
    client
        .call("delete_queue", json!({ "queue": default }))
        .await?;
    client
        .call("delete_exchange", json!({ "exchange": exchange }))
        .await?;
    done(sink.close().await)
}

/// A queue of that name which somebody else made may have a delivery limit, and to look through it
/// as often as that would be the end of what it holds.
#[tokio::test]
async fn dead_letters_are_read_from_the_queue_that_is_made_for_them_alone() -> Result<()> {
    let address = rabbitmq::shared().await?;
    let client = clients::rabbitmq(&*address);
    let exchange = name("letters");
    let config = settings(
        json!({ "url": address, "exchange": exchange, "routing_key": "vod.{event_type}" }),
    )?;
    let topics = ["vod.dead_letter".to_owned()];
    let reader = RabbitMqReader::new("events", &config, Place::DeadLetters)?;
    let sink = RabbitMqSink::new("events", &config, 1000)?;
    let sink = sink.with_dead_letters(Some("vod.dead_letter"));
    done(sink.provision(&topics).await)?;
    let queue = format!("{exchange}.dead_letters");
    let some = json!({ "exchange": exchange, "routing_key": topics[0], "bodies": ["a", "b"] });
    for theirs in [false, true] {
        if theirs {
            let gone = json!({ "queue": queue });
            client.call("delete_queue", gone).await?;
            let limited = json!({
                "queue": queue, "exchange": exchange,
                "arguments": { "x-queue-type": "quorum", "x-delivery-limit": 3 },
            });
            client.call("declare_queue", limited).await?;
        }
        client.call("publish", some.clone()).await?;
        for _ in 0..6 {
            match reader.read(&topics, now()).await {
                Ok(messages) if !theirs => assert_eq!(all(messages).await?.len(), 2),
                Err(error) if theirs => {
                    let error = error.to_string();
                    ensure!(error.contains("--delivery-limit"), "{error}");
                }
                read => anyhow::bail!("{:?}", read.map(drop)),
            }
        }
        let left = client.call("count", json!({ "queue": queue })).await?;
        assert_eq!(left, [2]);
    }
    // What it would have come to.
    let place = Place::Queue {
        name: Some(queue.clone()),
        delivery_limit: None,
    };
    let careless = RabbitMqReader::new("events", &config, place)?;
    for _ in 0..6 {
        all(done(careless.read(&topics, now()).await)?).await?;
    }
    let left = client.call("count", json!({ "queue": queue })).await?;
    assert_eq!(left, [0]);
    for left in [&queue, &format!("{exchange}.events")] {
        client
            .call("delete_queue", json!({ "queue": left }))
            .await?;
    }
    let exchange = json!({ "exchange": exchange });
    client.call("delete_exchange", exchange).await?;
    done(sink.close().await)
}

/// Whatever others publish is handed on as it is.
#[tokio::test]
async fn what_is_no_event_is_read_as_such() -> Result<()> {
    let address = nats::shared().await?;
    let client = clients::nats(&*address);
    let stream = name("foreign");
    let topics = [format!("{stream}.a")];
    let stored = json!({ "name": stream, "subjects": topics });
    client.call("create_stream", stored).await?;
    let foreign =
        json!({ "subject": topics[0], "bodies": ["hello"], "headers": { "ce-id": "%ff" } });
    client.call("publish", foreign).await?;
    let config = json!({ "servers": [address], "subject": format!("{stream}.{{event_type}}") });
    let reader = NatsReader::new("events", &settings(config)?)?;
    let read = all(done(reader.read(&topics, now()).await)?).await?;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].position, format!("stream {stream} sequence 1"));
    assert_eq!(read[0].event.as_ref().unwrap_err().body, "hello");
    // Nothing stays behind.
    drop(reader);
    client
        .call("delete_stream", json!({ "name": stream }))
        .await?;
    Ok(())
}
