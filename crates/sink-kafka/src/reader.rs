//! What the topics of a cluster hold, read outside of any consumer group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{BoxError, Message, Messages, Reader, messages};

use crate::error::remedy;
use crate::lane::OffRuntime;
use crate::options::{client_config, creation_error, validate_options};
use crate::received::event;
use crate::{KafkaConfig, KafkaConfigError};

/// How long one request to the cluster may take, and how long a partition that holds more may
/// give nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where nothing came for so long, each partition is asked by itself.
const SILENCE: Duration = Duration::from_secs(3);

/// Before the cluster is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// The client library wants a group's name even where no group is used: nothing is committed.
const GROUP: &str = "vodbridge-reader";

/// Reads a cluster's topics. It belongs to no consumer group and commits nothing.
pub struct KafkaReader {
    client: ClientConfig,
}

impl KafkaReader {
    /// Takes the settings of a sink. Reaches no broker.
    ///
    /// # Errors
    /// The settings are refused, as for the sink.
    pub fn new(config: &KafkaConfig) -> Result<Self, KafkaConfigError> {
        if config.brokers.is_empty() {
            return Err(KafkaConfigError::NoBrokers);
        }
        let refused = validate_options(config);
        if !refused.is_empty() {
            return Err(KafkaConfigError::Options(refused));
        }
        let mut client = client_config(config);
        if client.get("group.id").is_none() {
            client.set("group.id", GROUP);
        }
        client
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // Of memory, for what is fetched ahead.
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.max.ms", "1000");
        Ok(Self { client })
    }
}

impl Reader for KafkaReader {
    fn read<'a>(
        &'a self,
        topics: &'a [String],
        until: CancellationToken,
    ) -> BoxFuture<'a, Result<Messages, BoxError>> {
        async move {
            let consumer = StreamConsumer::from_config(&self.client)
                .map_err(|error| ReadError::Client(creation_error(&error)))?;
            let (sender, messages) = messages();
            let mut reading = Reading {
                consumer: Arc::new(OffRuntime::new(consumer)),
                topics: topics.to_vec(),
                partitions: BTreeMap::new(),
                sender,
            };
            reading.look().await?;
            tokio::spawn(reading.run(until));
            Ok(messages)
        }
        .boxed()
    }
}

/// Why a cluster cannot be read.
#[derive(Debug, Error)]
enum ReadError {
    #[error("{0}")]
    Client(String),
    #[error("the cluster cannot be read; {}", remedy(*.0))]
    Refused(#[source] Code),
    #[error(
        "partition {partition} of topic {topic} gave nothing for {PATIENCE:?}, although it holds more: look at its leader"
    )]
    Silent { topic: String, partition: i32 },
}

impl From<KafkaError> for ReadError {
    fn from(error: KafkaError) -> Self {
        Self::Refused(error.rdkafka_error_code().unwrap_or(Code::Unknown))
    }
}

struct Reading {
    consumer: Arc<OffRuntime<StreamConsumer>>,
    topics: Vec<String>,
    /// Of each partition the offset of the message that is to be read next.
    partitions: BTreeMap<(String, i32), i64>,
    sender: mpsc::Sender<Result<Message, BoxError>>,
}

impl Reading {
    async fn run(mut self, until: CancellationToken) {
        let sender = self.sender.clone();
        let reading = async {
            self.follow(&until).await?;
            self.finish().await
        };
        tokio::select! {
            result = reading => if let Err(error) = result {
                // Whoever asked may have left.
                sender.send(Err(error.into())).await.ok();
            },
            () = sender.closed() => {}
        }
    }

    /// Adds the partitions that there are by now. All topics are asked for: to ask for one by its
    /// name may create it.
    async fn look(&mut self) -> Result<(), ReadError> {
        let metadata = self
            .ask(|consumer| consumer.fetch_metadata(None, PATIENCE))
            .await?;
        let wanted = |name: &str| self.topics.iter().any(|topic| topic == name);
        for topic in metadata.topics().iter().filter(|t| wanted(t.name())) {
            for partition in topic.partitions() {
                let place = (topic.name().to_owned(), partition.id());
                self.partitions.entry(place).or_default();
            }
        }
        Ok(())
    }

    /// Reads all partitions, and what comes to them, until it is told to end.
    async fn follow(&mut self, until: &CancellationToken) -> Result<(), ReadError> {
        if until.is_cancelled() || self.partitions.is_empty() {
            until.cancelled().await;
            return Ok(());
        }
        let consumer = self.consumer.clone();
        self.assign(self.partitions.keys())?;
        loop {
            let message = tokio::select! {
                () = until.cancelled() => return Ok(()),
                message = consumer.recv() => message,
            };
            match message {
                Ok(message) => self.take(&message).await,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads what is left of what is there now.
    async fn finish(&mut self) -> Result<(), ReadError> {
        // A broker answers a connection's requests in turn, and would hold each back for as long
        // as a fetch may wait.
        self.consumer.unassign()?;
        self.look().await?;
        let mut left = BTreeMap::new();
        let places: Vec<_> = self.partitions.keys().cloned().collect();
        for place in places {
            let (topic, partition) = place.clone();
            let ask = move |consumer: &StreamConsumer| {
                consumer.fetch_watermarks(&topic, partition, PATIENCE)
            };
            let (first, end) = self.ask(ask).await?;
            let next = self.partitions.entry(place.clone()).or_default();
            *next = first.max(*next);
            if *next < end {
                left.insert(place, end);
            }
        }
        self.all_of(&mut left).await?;
        for (place, end) in left {
            self.rest_of(place, end).await?;
        }
        Ok(())
    }

    /// Reads these partitions to their ends, all at once, for as long as something comes.
    async fn all_of(&mut self, left: &mut BTreeMap<(String, i32), i64>) -> Result<(), ReadError> {
        let consumer = self.consumer.clone();
        self.assign(left.keys())?;
        while !left.is_empty() {
            let Ok(received) = timeout(SILENCE, consumer.recv()).await else {
                return Ok(());
            };
            match received {
                Ok(message) => {
                    let place = (message.topic().to_owned(), message.partition());
                    let end = left.get(&place).copied().unwrap_or_default();
                    if message.offset() < end {
                        self.take(&message).await;
                    }
                    if message.offset() + 1 >= end {
                        left.remove(&place);
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads one partition to its end. Its last offsets may be those of transactions, which are no
    /// messages, and what tells that it has ended does not say its topic.
    async fn rest_of(&mut self, place: (String, i32), end: i64) -> Result<(), ReadError> {
        let consumer = self.consumer.clone();
        self.assign([&place])?;
        let (topic, partition) = &place;
        while self.partitions[&place] < end {
            let received = timeout(PATIENCE, consumer.recv()).await;
            match received.map_err(|_| ReadError::Silent {
                topic: topic.clone(),
                partition: *partition,
            })? {
                Ok(message) if message.topic() != topic || message.partition() != *partition => {}
                Ok(message) if message.offset() >= end => break,
                Ok(message) => self.take(&message).await,
                Err(KafkaError::PartitionEOF(ended)) if ended == *partition => break,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// From now on these partitions are fetched, each from where its reading has come to.
    fn assign<'p>(
        &self,
        places: impl IntoIterator<Item = &'p (String, i32)>,
    ) -> Result<(), ReadError> {
        let mut list = TopicPartitionList::new();
        for place in places {
            let offset = match self.partitions.get(place) {
                None | Some(0) => Offset::Beginning,
                Some(next) => Offset::Offset(*next),
            };
            list.add_partition_offset(&place.0, place.1, offset)?;
        }
        Ok(self.consumer.assign(&list)?)
    }

    async fn take(&mut self, message: &BorrowedMessage<'_>) {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        let place = (topic.to_owned(), partition);
        let next = self.partitions.entry(place).or_default();
        if offset < *next {
            return;
        }
        *next = offset + 1;
        let read = Message {
            topic: topic.to_owned(),
            position: format!("partition {partition} offset {offset}"),
            event: event(message.headers(), message.payload()),
        };
        // Where nobody takes it any more, `run` ends.
        self.sender.send(Ok(read)).await.ok();
    }

    /// Asks the cluster something that blocks, until it knows: a partition that has just come
    /// into being has no leader yet.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&StreamConsumer) -> Result<T, KafkaError> + Send + Sync + 'static,
    ) -> Result<T, ReadError> {
        let (question, deadline) = (Arc::new(question), Instant::now() + PATIENCE);
        loop {
            let (consumer, question) = (self.consumer.clone(), question.clone());
            let answer = tokio::task::spawn_blocking(move || question(&consumer)).await;
            match answer.map_err(|_| ReadError::Refused(Code::Unknown))? {
                Err(error) if is_passing(&error) && Instant::now() < deadline => {
                    sleep(AGAIN).await;
                }
                answer => return Ok(answer?),
            }
        }
    }
}

/// Whether the library goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    let passes = |code| {
        matches!(
            code,
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::OperationTimedOut
                | Code::Resolve
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::PartitionEOF
        )
    };
    matches!(error, KafkaError::PartitionEOF(_)) || error.rdkafka_error_code().is_some_and(passes)
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use vodbridge_core::Sink;

    use super::*;
    use crate::tests::{config_with, event as published};
    use crate::{EmbeddedKafka, KafkaSink, Limits};

    fn ids(messages: Vec<Result<Message, BoxError>>) -> Vec<String> {
        let id =
            |message: Result<Message, BoxError>| message.unwrap().event.unwrap().id().to_owned();
        let mut ids: Vec<_> = messages.into_iter().map(id).collect();
        ids.sort();
        ids
    }

    #[tokio::test]
    async fn reads_to_the_end_or_follows_until_it_is_told() {
        let kafka = EmbeddedKafka::start().unwrap();
        let config = KafkaConfig {
            brokers: vec![kafka.bootstrap()],
            ..config_with(&[])
        };
        let limits = Limits {
            message_timeout: Duration::from_secs(10),
            max_in_flight: 10,
        };
        let sink = KafkaSink::new("events", &config, &limits).unwrap();
        kafka.create("vod.dead_letter", 3).unwrap();
        let topic = |n: usize| published(&n.to_string(), Some(&n.to_string()));
        let to_topic = |n| topic(n).with_topic("vod.dead_letter".into());
        for n in 10..50 {
            sink.publish(&to_topic(n)).await.unwrap();
        }
        let topics = ["vod.dead_letter", "vod.none"].map(String::from);
        let reader = KafkaReader::new(&config).unwrap();
        let now = CancellationToken::new();
        now.cancel();
        let read = reader.read(&topics, now).await.unwrap();
        let expected: Vec<_> = (10..50).map(|n| n.to_string()).collect();
        assert_eq!(ids(read.collect().await), expected);

        let until = CancellationToken::new();
        let mut read = reader.read(&topics, until.clone()).await.unwrap();
        let mut followed = Vec::new();
        while followed.len() < 40 {
            followed.push(read.next().await.unwrap());
        }
        sink.publish(&to_topic(50)).await.unwrap();
        followed.push(read.next().await.unwrap());
        sink.publish(&to_topic(51)).await.unwrap();
        until.cancel();
        followed.extend(read.collect::<Vec<_>>().await);
        let expected: Vec<_> = (10..52).map(|n| n.to_string()).collect();
        assert_eq!(ids(followed), expected);
    }
}
