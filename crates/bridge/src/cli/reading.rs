//! What commands that read a sink's topics have in common.

use anyhow::{Context, Result};
use clap::Args;
use vodbridge_core::Reader;
use vodbridge_sink_file::FileReader;
use vodbridge_sink_kafka::KafkaReader;
use vodbridge_sink_nats::NatsReader;
use vodbridge_sink_rabbitmq::{Place, RabbitMqReader};

use crate::config;

/// Where a RabbitMQ sink is read; other brokers let anybody look.
#[derive(Debug, Args)]
#[command(next_help_heading = "RabbitMQ")]
pub(super) struct Queues {
    /// Read this queue [default: EXCHANGE.events, which `provision` makes]. Its messages are taken
    /// out and given back, so it may have no other consumer; a quorum queue counts that.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// How often the queue hands out a message before it drops it: reading stops 5 short of that.
    /// RabbitMQ 4.0 to 4.2 have 20 by default; 0: no limit.
    #[arg(long, value_name = "N", default_value = "20")]
    delivery_limit: u32,
}

impl Queues {
    /// Opens what reads a sink.
    pub(super) fn open(&self, name: &str, sink: &config::Sink) -> Result<Box<dyn Reader>> {
        open(name, sink, self.place())
    }

    /// Opens what reads a RabbitMQ sink through a queue of its own; None for other sinks.
    pub(super) fn open_own(
        &self,
        name: &str,
        sink: &config::Sink,
    ) -> Result<Option<Box<dyn Reader>>> {
        match sink {
            config::Sink::RabbitMq(_) => open(name, sink, Place::Own).map(Some),
            _ => Ok(None),
        }
    }

    fn place(&self) -> Place {
        Place::Queue {
            name: self.queue.clone(),
            delivery_limit: Some(self.delivery_limit).filter(|limit| *limit > 0),
        }
    }
}

/// Opens what reads a sink; a RabbitMQ is read at `place`.
pub(super) fn open(name: &str, sink: &config::Sink, place: Place) -> Result<Box<dyn Reader>> {
    let opened = || -> Result<Box<dyn Reader>> {
        Ok(match sink {
            config::Sink::Kafka(kafka) => Box::new(KafkaReader::new(kafka)?),
            config::Sink::RabbitMq(rabbitmq) => {
                Box::new(RabbitMqReader::new(name, rabbitmq, place)?)
            }
            config::Sink::Nats(nats) => Box::new(NatsReader::new(name, nats)?),
            config::Sink::File(file) => Box::new(FileReader::new(file)),
        })
    };
    opened().with_context(|| format!("sinks.{name}"))
}
