//! What the operator writes under `sinks.<name>.rabbitmq`.

use serde::Deserialize;
use vodbridge_core::cloudevents::Mode;
use vodbridge_core::{Secret, Template};

/// Bytes of a routing key, or of any other name, at most.
/// <https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf> §4.2.5.3
pub const LONGEST_NAME: usize = 255;

/// Settings of a RabbitMQ sink.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RabbitMqConfig {
    /// `amqp://user:password@host:5672/vhost`, or `amqps://`.
    pub url: Secret,
    /// The topic exchange to publish to. It must exist; `vodbridge provision` makes it.
    pub exchange: String,
    /// The routing key of an event.
    pub routing_key: Template,
    /// Structured (default) or binary.
    #[serde(default)]
    pub mode: Mode,
    /// AMQP channels that publishes are spread over; each is owned by one task. More than one
    /// was not faster where it was measured (`examples/bench.rs`).
    #[serde(default = "default_channels")]
    pub channels: usize,
}

fn default_channels() -> usize {
    1
}
