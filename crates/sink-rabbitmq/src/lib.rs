//! Publishes envelopes to a RabbitMQ topic exchange: persistent, mandatory, with publisher
//! confirms. <https://www.rabbitmq.com/docs/confirms>
//!
//! An ack is a positive confirm of a message that the broker did not return. Read
//! [`confirms`] before you change what becomes of a confirm: the client library attaches a
//! returned message to the wrong confirm.

mod channel;
mod config;
mod confirms;
mod connection;
mod error;
mod flight;
mod lane;
mod message;
mod reader;
mod received;
mod session;
mod sink;
mod size;
mod topology;
mod verdicts;

pub use config::{LONGEST_NAME, RabbitMqConfig};
pub use error::RabbitMqConfigError;
pub use message::MARK_HEADER;
pub use reader::{Place, RabbitMqReader};
pub use session::validate_url;
pub use sink::RabbitMqSink;
