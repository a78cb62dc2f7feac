//! What a broker holds, so that answers can be compared with it.

use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, stream::Stream};
use lapin::options::{QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::{Instant, sleep};

/// The queue that `vodbridge provision` makes for the exchange `vod`.
const QUEUE: &str = "vod.events";
/// The stream of the bridge's configuration.
const STREAM: &str = "VOD";
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// The messages of a broker.
pub(crate) enum Stock {
    Kafka(BaseConsumer),
    /// The connection lives as long as its channel is used.
    RabbitMq(Box<(Channel, Connection)>),
    Nats(Box<Stream>),
    /// There is no broker.
    None,
}

impl Stock {
    pub(crate) fn kafka(address: &str) -> Result<Self> {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", address)
            .set("group.id", "bench");
        Ok(Self::Kafka(client.create()?))
    }

    pub(crate) async fn rabbitmq(url: &str) -> Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        Ok(Self::RabbitMq(Box::new((channel, connection))))
    }

    pub(crate) async fn nats(url: &str) -> Result<Self> {
        let jetstream = jetstream::new(async_nats::connect(url).await?);
        Ok(Self::Nats(Box::new(jetstream.get_stream(STREAM).await?)))
    }

    /// Resolves once the messages can be counted: Kafka's topics have leaders only a moment after
    /// they were made.
    pub(crate) async fn ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.count().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Removes the messages where a broker slows down under them.
    pub(crate) async fn clear(&self) -> Result<()> {
        match self {
            Self::RabbitMq(open) => {
                let (channel, _) = &**open;
                let none = QueuePurgeOptions::default();
                channel.queue_purge(QUEUE.into(), none).await.map(drop)?;
            }
            Self::Nats(stream) => stream.purge().await.map(drop)?,
            Self::Kafka(_) | Self::None => {}
        }
        Ok(())
    }

    /// How many messages were ever stored in Kafka's topics, or are in the queue or stream; None
    /// without a broker.
    pub(crate) async fn count(&self) -> Result<Option<u64>> {
        Ok(Some(match self {
            Self::Kafka(consumer) => tokio::task::block_in_place(|| watermarks(consumer))?,
            Self::RabbitMq(open) => {
                let (channel, _) = &**open;
                let passive = QueueDeclareOptions {
                    passive: true,
                    ..QueueDeclareOptions::default()
                };
                let none = FieldTable::default();
                let queue = channel.queue_declare(QUEUE.into(), passive, none).await?;
                queue.message_count().into()
            }
            Self::Nats(stream) => stream.get_info().await?.state.messages,
            Self::None => return Ok(None),
        }))
    }
}

fn watermarks(consumer: &BaseConsumer) -> Result<u64> {
    let metadata = consumer.fetch_metadata(None, PATIENCE)?;
    let topics = metadata
        .topics()
        .iter()
        .filter(|topic| topic.name().starts_with("vod."));
    let mut total = 0;
    for topic in topics {
        for partition in topic.partitions() {
            let (_, high) = consumer.fetch_watermarks(topic.name(), partition.id(), PATIENCE)?;
            total += u64::try_from(high).context("a negative offset")?;
        }
    }
    Ok(total)
}
