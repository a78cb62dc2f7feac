//! The sink.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::types::ShortString;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use vodbridge_core::{BoxError, Envelope, Health, PublishError, Sink};

use crate::error::{Sent, classify};
use crate::lane::{Broker, Lane};
use crate::message::Message;
use crate::session::parse;
use crate::size::SizeLimit;
use crate::{RabbitMqConfig, RabbitMqConfigError};

/// Longer than a hung connection takes to be noticed and replaced.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes to a topic exchange. Connects in the background and reconnects for ever; while
/// there is no connection, or the broker blocks it, publishes wait. An event that may be too
/// large for the broker goes over a second connection, so that its refusal hurts no other.
pub struct RabbitMqSink {
    pub(crate) config: RabbitMqConfig,
    /// The routing key of dead letters, where they go here.
    pub(crate) dead_letters: Option<String>,
    pub(crate) broker: Broker,
    main: Lane,
    /// One publish at a time. Started by the first event that needs it.
    alone: OnceLock<Lane>,
    next_mark: AtomicI64,
    /// Ends the tasks of a sink that was dropped and not closed.
    _ends: DropGuard,
}

impl RabbitMqSink {
    /// Starts a sink that has at most `max_in_flight` publishes open on a channel, and keeps as
    /// many waiting for it. A broker that is away is no error.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn new(
        name: &str,
        config: &RabbitMqConfig,
        max_in_flight: usize,
    ) -> Result<Self, RabbitMqConfigError> {
        let uri = parse(config.url.expose())?;
        let exchange = ShortString::try_new(config.exchange.as_str())
            .ok()
            .filter(|exchange| !exchange.as_str().is_empty())
            .ok_or(RabbitMqConfigError::Exchange)?;
        if !(1..=2047).contains(&config.channels) {
            return Err(RabbitMqConfigError::Channels);
        }
        let closing = CancellationToken::new();
        let broker = Broker {
            name: name.to_owned(),
            uri,
            exchange,
            size: Arc::new(SizeLimit::default()),
            tasks: TaskTracker::new(),
            closing: closing.clone(),
        };
        let main = Lane::start(&broker, "events", config.channels, max_in_flight.max(1));
        broker.tasks.close();
        Ok(Self {
            config: config.clone(),
            dead_letters: None,
            broker,
            main,
            alone: OnceLock::new(),
            next_mark: AtomicI64::new(0),
            _ends: closing.drop_guard(),
        })
    }

    /// Dead letters go here with this routing key, so its topology has a queue for them.
    pub fn with_dead_letters(self, key: Option<&str>) -> Self {
        Self {
            dead_letters: key.map(str::to_owned),
            ..self
        }
    }

    fn message(&self, envelope: &Envelope) -> Result<Message, PublishError> {
        let topic = self.config.routing_key.topic(envelope);
        let mark = self.next_mark.fetch_add(1, Ordering::Relaxed);
        Message::new(envelope, self.config.mode, &topic, mark).map_err(|failure| {
            let sent = Sent {
                bytes: 0,
                alone: true,
            };
            classify(failure, sent)
        })
    }

    fn lane(&self, bytes: usize) -> &Lane {
        if self.broker.size.is_doubtful(bytes) {
            let start = || Lane::start(&self.broker, "large events", 1, 1);
            self.alone.get_or_init(start)
        } else {
            &self.main
        }
    }
}

impl Sink for RabbitMqSink {
    fn name(&self) -> &str {
        &self.broker.name
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let message = self.message(envelope)?;
            self.lane(message.body.len()).publish(message).await
        }
        .boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        ATTEMPT_TIMEOUT
    }

    /// Of the connection that all but large events take, or what is wrong with the other.
    fn health(&self) -> Health {
        let main = self.main.health.get();
        let alone = self.alone.get().map(|lane| lane.health.get());
        match alone.filter(|alone| alone.problem.is_some()) {
            Some(alone) if main.problem.is_none() => alone,
            _ => main,
        }
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        let mut reached = self.main.reached.clone();
        // An error means that the sink was closed, and there is nothing to wait for any more.
        async move { drop(reached.wait_for(|reached| *reached).await) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        async move {
            self.broker.closing.cancel();
            timeout(CLOSE_TIMEOUT, self.broker.tasks.wait())
                .await
                .map_err(|_| BoxError::from("the connection did not close in time"))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use vodbridge_core::Secret;

    use super::*;

    fn config(url: &str) -> RabbitMqConfig {
        RabbitMqConfig {
            url: Secret::new(url),
            exchange: "vod".into(),
            routing_key: "vod.{event_type}".to_owned().try_into().unwrap(),
            mode: Default::default(),
            channels: 1,
        }
    }

    #[tokio::test]
    async fn refuses_what_can_never_work() {
        let good = config("amqp://127.0.0.1:1");
        let url = config("hunter2");
        let exchange = RabbitMqConfig {
            exchange: String::new(),
            ..good.clone()
        };
        let channels = RabbitMqConfig {
            channels: 0,
            ..good.clone()
        };
        for (config, expected) in [
            (url, RabbitMqConfigError::Url),
            (exchange, RabbitMqConfigError::Exchange),
            (channels, RabbitMqConfigError::Channels),
        ] {
            let refused = RabbitMqSink::new("mq", &config, 8).map(|_| ());
            assert_eq!(refused, Err(expected));
        }
    }
}
