//! A sink takes nothing for an ack but the broker's own.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use vodbridge_core::{Envelope, Sink};
use vodbridge_sink_kafka::{KafkaSink, Limits};
use vodbridge_sink_nats::NatsSink;
use vodbridge_sink_rabbitmq::RabbitMqSink;
use vodbridge_tests::bridge::SUB_APP_ID;
use vodbridge_tests::brokers::Kind;
use vodbridge_tests::clients::Client;
use vodbridge_tests::proxy::{Fault, Proxy};
use vodbridge_vod::{Catalogue, Normalizer, Notification, Via};

use super::{MOMENT, PATIENCE, until};
use crate::own::{Own, notification, own_kafka_behind, own_nats_behind, own_rabbitmq_behind};

/// Where a test sees what a broker has, without asking through the proxy.
enum Eye {
    /// Kafka's log, whose events are readable in it.
    Log(std::path::PathBuf),
    Client(Client, &'static str),
}

impl Eye {
    async fn sees(&self, id: &str) -> Result<bool> {
        match self {
            Self::Log(directory) => holds(directory, id.as_bytes()),
            Self::Client(client, place) => {
                let found = client.read_at_least(1, place, MOMENT).await?;
                let mut found = found.iter().filter_map(|message| message.event().ok());
                Ok(found.any(|event| event.id == id))
            }
        }
    }
}

/// Whether the bytes are in a log of a topic of events.
fn holds(directory: &Path, bytes: &[u8]) -> Result<bool> {
    for partition in std::fs::read_dir(directory)? {
        let partition = partition?;
        if !partition.file_name().to_string_lossy().starts_with("vod.") {
            continue;
        }
        for file in std::fs::read_dir(partition.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|kind| kind == "log") {
                let log = std::fs::read(path)?;
                if log.windows(bytes.len()).any(|window| window == bytes) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

fn event(number: usize) -> Result<Envelope> {
    let catalogue = Arc::new(Catalogue::default());
    let normalizer = Normalizer::new(SUB_APP_ID, "callback", Via::Webhook, catalogue);
    let body = notification(number);
    let notification = Notification::parse(&body)?;
    let normalized = normalizer.normalize(&notification, SystemTime::UNIX_EPOCH)?;
    Ok(normalized.into_envelope(None))
}

fn settings<T: DeserializeOwned>(json: Value) -> Result<T> {
    Ok(serde_json::from_value(json)?)
}

/// Publishes until there is an ack, as the bridge does.
async fn acked(sink: &dyn Sink, event: &Envelope) -> Result<()> {
    loop {
        match timeout(sink.attempt_timeout(), sink.publish(event)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => ensure!(error.kind() == "transient", "{error}"),
            Err(_) => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// What keeps an ack from coming.
#[derive(Debug, Clone, Copy)]
enum Silence {
    /// The broker takes the event and acks it, and nobody hears of that.
    Muted,
    /// The same, and then the connection ends.
    MutedThenCut,
    /// Nothing of the event reaches the broker.
    Lost,
    /// The broker does nothing.
    Frozen,
}

impl Silence {
    fn is_muted(self) -> bool {
        matches!(self, Self::Muted | Self::MutedThenCut)
    }
}

async fn only_an_ack_resolves<K: Kind>(
    own: &Own<K>,
    proxy: &Proxy,
    sink: &dyn Sink,
    eye: Eye,
) -> Result<()> {
    timeout(PATIENCE, sink.reached()).await?;
    timeout(PATIENCE, acked(sink, &event(0)?)).await??;
    let kinds = [
        Silence::Muted,
        Silence::MutedThenCut,
        Silence::Lost,
        Silence::Frozen,
    ];
    for (silence, number) in kinds.into_iter().zip(1..) {
        let event = event(number)?;
        match silence {
            Silence::Muted | Silence::MutedThenCut => proxy.set(Fault::Mute),
            Silence::Lost => proxy.set(Fault::BlackHole),
            Silence::Frozen => own.broker.pause()?,
        }
        let mut publishing = pin!(acked(sink, &event));
        let unheard = async {
            if silence.is_muted() {
                until("the broker has it", async || eye.sees(event.id()).await).await?;
            }
            if let Silence::MutedThenCut = silence {
                proxy.cut();
            }
            sleep(MOMENT).await;
            anyhow::Ok(())
        };
        tokio::select! {
            biased;
            _ = &mut publishing => bail!("{silence:?}: resolved, and no ack had come"),
            unheard = unheard => unheard.with_context(|| format!("{silence:?}"))?,
        }
        match silence {
            Silence::Frozen => own.broker.resume()?,
            _ => proxy.set(Fault::None),
        }
        let heard = timeout(PATIENCE, publishing).await;
        heard.with_context(|| format!("{silence:?}: no ack of a broker that works"))??;
        if !silence.is_muted() {
            until("the broker has what it acked", async || {
                eye.sees(event.id()).await
            })
            .await?;
        }
    }
    sink.close().await.map_err(anyhow::Error::from_boxed)
}

async fn kafka() -> Result<()> {
    let (own, proxy) = own_kafka_behind().await?;
    let address = format!("127.0.0.1:{}", proxy.port());
    let config = json!({ "brokers": [address], "topic": "vod.{event_type}" });
    let limits = Limits {
        message_timeout: Duration::from_secs(10),
        max_in_flight: 10,
    };
    let sink = KafkaSink::new("events", &settings(config)?, &limits)?;
    let eye = Eye::Log(own.broker.directory().join("data"));
    only_an_ack_resolves(&own, &proxy, &sink, eye).await
}

async fn rabbitmq() -> Result<()> {
    let (own, proxy) = own_rabbitmq_behind().await?;
    let url = format!("amqp://guest:guest@127.0.0.1:{}/%2f", proxy.port());
    let config = json!({ "url": url, "exchange": "vod", "routing_key": "vod.{event_type}" });
    let sink = RabbitMqSink::new("events", &settings(config)?, 10)?;
    let eye = Eye::Client(own.client.clone(), own.place);
    only_an_ack_resolves(&own, &proxy, &sink, eye).await
}

async fn nats() -> Result<()> {
    let (own, proxy) = own_nats_behind().await?;
    let server = format!("nats://127.0.0.1:{}", proxy.port());
    let config = json!({ "servers": [server], "subject": "vod.{event_type}", "stream": "VOD" });
    let sink = NatsSink::new("events", &settings(config)?, 10)?;
    let eye = Eye::Client(own.client.clone(), own.place);
    only_an_ack_resolves(&own, &proxy, &sink, eye).await
}

#[tokio::test]
async fn a_sink_resolves_only_on_the_brokers_own_ack() -> Result<()> {
    let (kafka, rabbitmq, nats) = tokio::join!(kafka(), rabbitmq(), nats());
    kafka.context("kafka")?;
    rabbitmq.context("rabbitmq")?;
    nats.context("nats")
}
