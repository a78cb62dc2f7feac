//! What a queue of the exchange holds, read without an ack and given back.
//!
//! AMQP has no way to look into a queue: messages are handed out, and go back when the connection
//! ends. While they are out nobody else gets them, and a quorum queue counts how often that
//! happened; one with a delivery limit drops a message that was handed out too often. RabbitMQ 4.0
//! to 4.2 have a limit of 20 unless a policy says otherwise and count every return, 4.3 counts
//! `basic.reject` only, 3.x has no limit of its own.
//! <https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling>

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Channel, Queue};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use vodbridge_core::{BoxError, Message, Messages, Reader, messages};

use crate::received::{event, times_handed_out};
use crate::session::{ANSWER_TIMEOUT, OpenError, Session, address, answered, is_missing, parse};
use crate::topology::{dead_letter_queue, is_for_dead_letters, provisioned_queue};
use crate::{RabbitMqConfig, RabbitMqConfigError};

mod error;

use self::error::ReadError;

/// Messages that are out at once with one consumer.
const CHUNK: u16 = 1000;
/// Where nothing came for so long, the queue is asked whether there is more.
const SILENCE: Duration = Duration::from_secs(2);
/// Between two looks whether everything is back.
const BACK: Duration = Duration::from_millis(10);
/// Below a queue's delivery limit by so much, its messages are left alone.
const MARGIN: i64 = 5;

/// Where a RabbitMQ is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A queue that is there. None: the one that `vodbridge provision` makes.
    Queue {
        /// Its name.
        name: Option<String>,
        /// How often it hands out a message at most; None: without end.
        delivery_limit: Option<u32>,
    },
    /// The queue that `vodbridge provision` makes for dead letters, which may be read as often as
    /// one likes. Another one of its name is refused.
    DeadLetters,
    /// A queue of the reader's own, bound to the exchange while it reads: takes nothing from
    /// anybody, and sees what is published from then on.
    Own,
}

impl Default for Place {
    fn default() -> Self {
        Self::Queue {
            name: None,
            delivery_limit: Some(20),
        }
    }
}

/// Reads a queue of the sink's exchange.
#[derive(Debug)]
pub struct RabbitMqReader {
    name: String,
    uri: AMQPUri,
    exchange: String,
    place: Place,
}

impl RabbitMqReader {
    /// Takes the settings of a sink. Reaches no broker.
    pub fn new(
        name: &str,
        config: &RabbitMqConfig,
        place: Place,
    ) -> Result<Self, RabbitMqConfigError> {
        Ok(Self {
            name: name.to_owned(),
            uri: parse(config.url.expose())?,
            exchange: config.exchange.clone(),
            place,
        })
    }

    /// The queue that is read, and how often it hands out a message at most.
    fn named(&self) -> (String, Option<u32>) {
        match &self.place {
            Place::Queue {
                name,
                delivery_limit,
            } => {
                let name = name.clone();
                let name = name.unwrap_or_else(|| provisioned_queue(&self.exchange));
                (name, *delivery_limit)
            }
            Place::DeadLetters | Place::Own => (dead_letter_queue(&self.exchange), None),
        }
    }

    async fn open(&self, topics: &[String]) -> Result<Reading, ReadError> {
        let client = |source| ReadError::Client {
            address: address(&self.uri),
            source,
        };
        let session = Session::connect(&self.uri, &self.name).await;
        let session = session.map_err(client)?;
        let channel = session.channel().await.map_err(client)?;
        let (queue, delivery_limit) = match &self.place {
            Place::Own => {
                let queue = own_queue(&channel, &self.exchange, topics).await;
                (queue.map_err(client)?, None)
            }
            Place::Queue { .. } | Place::DeadLetters => {
                let (name, delivery_limit) = self.named();
                let queue = match declare_passively(&channel, &name).await {
                    Ok(queue) => queue,
                    Err(OpenError::Client(error)) if is_missing(&error) => {
                        return Err(ReadError::NoQueue(name));
                    }
                    Err(error) => return Err(client(error)),
                };
                if queue.consumer_count() > 0 {
                    return Err(ReadError::InUse(name, queue.consumer_count()));
                }
                if self.place == Place::DeadLetters
                    && !is_for_dead_letters(&session, &name).await.map_err(client)?
                {
                    return Err(ReadError::NotOurs(name));
                }
                (name, delivery_limit)
            }
        };
        Ok(Reading {
            session,
            channel,
            queue,
            delivery_limit: delivery_limit.map(i64::from),
            topics: topics.iter().cloned().collect(),
            deliveries: 0,
            chunks: Vec::new(),
            gives_back: self.place != Place::Own,
        })
    }
}

impl Reader for RabbitMqReader {
    fn read<'a>(
        &'a self,
        topics: &'a [String],
        until: CancellationToken,
    ) -> BoxFuture<'a, Result<Messages, BoxError>> {
        async move {
            let reading = self.open(topics).await?;
            let (sender, messages) = messages();
            tokio::spawn(reading.run(until, sender));
            Ok(messages)
        }
        .boxed()
    }
}

async fn declare_passively(channel: &Channel, name: &str) -> Result<Queue, OpenError> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    answered(channel.queue_declare(ShortString::from(name), passive, FieldTable::default())).await
}

/// A queue that ends with the connection, bound to every topic.
async fn own_queue(
    channel: &Channel,
    exchange: &str,
    topics: &[String],
) -> Result<String, OpenError> {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(ShortString::from(""), options, FieldTable::default());
    let queue = answered(declared).await?.name().clone();
    for topic in topics {
        answered(channel.queue_bind(
            queue.clone(),
            ShortString::from(exchange),
            ShortString::from(topic.as_str()),
            QueueBindOptions::default(),
            FieldTable::default(),
        ))
        .await?;
    }
    Ok(queue.to_string())
}

struct Reading {
    session: Session,
    channel: Channel,
    queue: String,
    delivery_limit: Option<i64>,
    topics: HashSet<String>,
    /// That came so far.
    deliveries: u64,
    /// What `deliveries` was at the end of each chunk: the delivery tag of its last message.
    chunks: Vec<u64>,
    /// False: the queue ends with the reading.
    gives_back: bool,
}

type Sender = mpsc::Sender<Result<Message, BoxError>>;

impl Reading {
    async fn run(mut self, until: CancellationToken, sender: Sender) {
        let read = async {
            self.follow(&until, &sender).await?;
            self.finish(&sender).await
        };
        let read = tokio::select! {
            read = read => read,
            () = sender.closed() => Ok(()),
        };
        // Given back before the reading ends, so that the next one finds everything.
        let back = match self.give_back().await {
            Err(error) if read.is_ok() => Err(self.failed(error)),
            _ => Ok(()),
        };
        self.session.close().await;
        if let Err(error) = read.and(back) {
            // Whoever asked may have left.
            sender.send(Err(error.into())).await.ok();
        }
    }

    fn failed(&self, source: impl Into<OpenError>) -> ReadError {
        ReadError::Client {
            address: format!("queue {:?}", self.queue),
            source: source.into(),
        }
    }

    /// Reads what there is and what comes, until it is told to end.
    async fn follow(&mut self, until: &CancellationToken, to: &Sender) -> Result<(), ReadError> {
        while !until.is_cancelled() {
            self.chunk(CHUNK, Some(until), to).await?;
        }
        Ok(())
    }

    /// Reads what is left of what is there now.
    async fn finish(&mut self, to: &Sender) -> Result<(), ReadError> {
        let mut left = self.ready().await?;
        while left > 0 {
            let chunk = u16::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let came = self.chunk(chunk, None, to).await?;
            if came == 0 {
                return Err(ReadError::Taken(self.queue.clone(), left));
            }
            left -= u32::from(came);
        }
        Ok(())
    }

    /// Messages that nobody has at the moment.
    async fn ready(&self) -> Result<u32, ReadError> {
        let queue = declare_passively(&self.channel, &self.queue).await;
        Ok(queue.map_err(|error| self.failed(error))?.message_count())
    }

    /// Reads at most `most` messages, with a consumer that gets no more than these. Returns how
    /// many came.
    async fn chunk(
        &mut self,
        most: u16,
        until: Option<&CancellationToken>,
        to: &Sender,
    ) -> Result<u16, ReadError> {
        let channel = self.channel.clone();
        let consume = async {
            answered(channel.basic_qos(most, BasicQosOptions::default())).await?;
            let (queue, tag) = (ShortString::from(self.queue.as_str()), "".into());
            let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
            answered(channel.basic_consume(queue, tag, options, none)).await
        };
        let mut consumer = consume.await.map_err(|error| self.failed(error))?;
        let told = async {
            match until {
                Some(until) => until.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(told);
        let (mut came, mut cancelled) = (0, false);
        // A consumer that is cancelled still has what was on its way to it, and then ends.
        while came < most || cancelled {
            let end = tokio::select! {
                next = consumer.next() => match next {
                    Some(delivery) => {
                        let delivery = delivery.map_err(|error| self.failed(error))?;
                        self.take(delivery, to).await?;
                        came += 1;
                        false
                    }
                    None if cancelled => break,
                    None => return Err(self.failed(OpenError::Timeout)),
                },
                () = &mut told, if !cancelled => true,
                () = sleep(SILENCE), if until.is_none() && !cancelled => self.ready().await? == 0,
            };
            if end {
                self.cancel(consumer.tag()).await?;
                cancelled = true;
            }
        }
        if !cancelled {
            self.cancel(consumer.tag()).await?;
        }
        self.chunks.push(self.deliveries);
        Ok(came)
    }

    async fn cancel(&self, tag: ShortString) -> Result<(), ReadError> {
        let cancelled = self
            .channel
            .basic_cancel(tag, BasicCancelOptions::default());
        answered(cancelled)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn take(&mut self, delivery: Delivery, to: &Sender) -> Result<(), ReadError> {
        self.deliveries += 1;
        let position = format!("queue {} delivery {}", self.queue, self.deliveries);
        let count = times_handed_out(&delivery);
        if let Some(limit) = self.delivery_limit.filter(|limit| count + MARGIN >= *limit) {
            return Err(ReadError::Limit {
                queue: self.queue.clone(),
                position,
                count,
                limit,
            });
        }
        let topic = delivery.routing_key.to_string();
        if self.topics.contains(&topic) {
            let message = Message {
                topic,
                position,
                event: event(&delivery.properties, delivery.data.into()),
            };
            // Where nobody takes it any more, `run` ends.
            to.send(Ok(message)).await.ok();
        }
        Ok(())
    }

    /// Puts everything back and waits until it is there.
    async fn give_back(&self) -> Result<(), OpenError> {
        let all = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        if !self.gives_back || self.deliveries == 0 || !self.session.is_connected() {
            return Ok(());
        }
        // One consumer's messages after the other's, so that they come back in their order.
        let mut given_back = 0;
        for chunk in self.chunks.iter().chain([&self.deliveries]) {
            // A tag that stands for nothing closes the channel.
            if *chunk > given_back {
                answered(self.channel.basic_nack(*chunk, all)).await?;
                given_back = *chunk;
            }
        }
        let back = async {
            loop {
                let queue = declare_passively(&self.channel, &self.queue).await?;
                if u64::from(queue.message_count()) >= self.deliveries {
                    return Ok(());
                }
                sleep(BACK).await;
            }
        };
        // What others took or let expire meanwhile does not come back.
        timeout(ANSWER_TIMEOUT, back).await.unwrap_or(Ok(()))
    }
}
