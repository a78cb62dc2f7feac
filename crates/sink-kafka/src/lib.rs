//! Publishes envelopes to Kafka: idempotent, acknowledged by all in-sync replicas.

mod cluster;
mod config;
mod context;
mod embedded;
mod error;
mod lane;
mod message;
mod options;
mod producer;
mod reader;
mod received;
mod sink;
#[cfg(test)]
mod tests;
mod topology;

pub use config::{KafkaConfig, LONGEST_TOPIC, OptionValue, is_broker};
pub use embedded::EmbeddedKafka;
pub use error::DeliveryError;
pub use options::{OptionError, validate_options};
pub use reader::KafkaReader;
pub use sink::{KafkaConfigError, KafkaSink, Limits};

/// The version of the librdkafka that is compiled in, for example `2.12.1`.
pub fn librdkafka_version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
