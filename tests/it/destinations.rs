//! One bridge with a sink for each of the three shared brokers, under names that no other test
//! uses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use vodbridge_tests::brokers::{kafka, nats, rabbitmq};
use vodbridge_tests::clients::{self, Client, Message};

/// Topics, exchange and stream of one test on the shared brokers.
pub(crate) struct Destinations {
    /// What every topic, routing key and subject starts with; also the exchange and the stream.
    pub(crate) prefix: String,
    pub(crate) kafka: Client,
    pub(crate) rabbitmq: Client,
    pub(crate) nats: Client,
    addresses: [String; 3],
}

/// What is on the three brokers.
pub(crate) struct Received {
    pub(crate) kafka: Vec<Message>,
    pub(crate) rabbitmq: Vec<Message>,
    pub(crate) nats: Vec<Message>,
}

impl Destinations {
    /// Starts the brokers, unless another test has.
    pub(crate) async fn new(name: &str) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (kafka, rabbitmq, nats) =
            tokio::join!(kafka::shared(), rabbitmq::shared(), nats::shared());
        let (kafka, rabbitmq, nats) = (kafka?, rabbitmq?, nats?);
        Ok(Self {
            prefix: format!("{name}-{}-{number}", std::process::id()),
            kafka: clients::kafka(&kafka),
            rabbitmq: clients::rabbitmq(&rabbitmq),
            nats: clients::nats(&nats),
            addresses: [kafka, rabbitmq, nats],
        })
    }

    /// The sinks `kafka`, `rabbitmq` and `nats`, all required, in a content mode.
    pub(crate) fn configuration(&self, mode: &str) -> String {
        let Self {
            prefix,
            addresses: [kafka, rabbitmq, nats],
            ..
        } = self;
        format!(
            r#"
sinks:
  kafka: {{ kafka: {{ brokers: ["{kafka}"], topic: "{prefix}.{{event_type}}", mode: {mode} }} }}
  rabbitmq: {{ rabbitmq: {{ url: "{rabbitmq}", exchange: "{prefix}", routing_key: "{prefix}.{{event_type}}", mode: {mode} }} }}
  nats: {{ nats: {{ servers: ["{nats}"], subject: "{prefix}.{{event_type}}", stream: "{prefix}", mode: {mode} }} }}
dead_letter: {{ sink: kafka, topic: "{prefix}.dead_letter" }}
"#
        )
    }

    /// Everything on the three brokers, once at least `count` messages are on each.
    pub(crate) async fn read(&self, count: usize, within: Duration) -> Result<Received> {
        let topics = format!("{}.", self.prefix);
        // `vodbridge provision` binds this queue to everything on the exchange.
        let queue = format!("{}.events", self.prefix);
        let (kafka, rabbitmq, nats) = tokio::join!(
            self.kafka.read_at_least(count, &topics, within),
            self.rabbitmq.read_at_least(count, &queue, within),
            self.nats.read_at_least(count, &self.prefix, within),
        );
        Ok(Received {
            kafka: kafka?,
            rabbitmq: rabbitmq?,
            nats: nats?,
        })
    }
}
