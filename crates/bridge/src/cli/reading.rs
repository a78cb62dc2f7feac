//! What commands that read a sink's topics have in common.

use anyhow::{Context, Result};
use vodbridge_core::Reader;
use vodbridge_sink_file::FileReader;
use vodbridge_sink_kafka::KafkaReader;
use vodbridge_sink_nats::NatsReader;
use vodbridge_sink_rabbitmq::{Place, RabbitMqReader};

use crate::config;

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
