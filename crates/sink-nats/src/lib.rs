//! Publishes envelopes to NATS JetStream, each acknowledged by the stream that stored it.

mod config;
mod connect;
mod error;
mod message;
mod reader;
mod received;
mod sink;
mod status;
mod subject;
mod topology;

pub use config::NatsConfig;
pub use connect::{is_server, is_stream_name, validate_credentials};
pub use error::NatsConfigError;
pub use reader::NatsReader;
pub use sink::NatsSink;
pub use subject::LONGEST_SUBJECT;
