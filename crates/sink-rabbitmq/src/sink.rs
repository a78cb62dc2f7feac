//! The sink.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use vodbridge_core::{BoxError, Envelope, Health, HealthCell, PublishError, Sink};

use crate::channel::{ChannelOwner, Job};
use crate::connection::{Connector, Link};
use crate::error::{Failure, Sent, classify};
use crate::message::Message;
use crate::session::{address, parse};
use crate::{RabbitMqConfig, RabbitMqConfigError};

/// Longer than a hung connection takes to be noticed and replaced.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(6);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Publishes to a topic exchange. Connects in the background and reconnects for ever; while
/// there is no connection, or the broker blocks it, publishes wait.
pub struct RabbitMqSink {
    pub(crate) name: String,
    pub(crate) config: RabbitMqConfig,
    pub(crate) uri: AMQPUri,
    jobs: Vec<mpsc::Sender<Job>>,
    next_channel: AtomicUsize,
    next_mark: AtomicI64,
    reached: watch::Receiver<bool>,
    health: Arc<HealthCell>,
    tasks: TaskTracker,
    closing: CancellationToken,
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
        let health = Arc::new(HealthCell::starting(format!(
            "connecting to {}",
            address(&uri)
        )));
        let (link, links) = watch::channel(Link::Down);
        let (reached_sender, reached) = watch::channel(false);
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let window = max_in_flight.max(1);
        let jobs = (0..config.channels)
            .map(|index| {
                let (sender, jobs) = mpsc::channel(window);
                let (exchange, links) = (exchange.clone(), links.clone());
                tasks.spawn(ChannelOwner::new(exchange, index, window, jobs, links).run());
                sender
            })
            .collect();
        let connector = Connector {
            name: name.to_owned(),
            uri: uri.clone(),
            exchange: config.exchange.clone(),
            channels: config.channels,
            link,
            reached: reached_sender,
            health: health.clone(),
            closing: closing.clone(),
        };
        tasks.spawn(connector.run());
        tasks.close();
        Ok(Self {
            name: name.to_owned(),
            config: config.clone(),
            uri,
            jobs,
            next_channel: AtomicUsize::new(0),
            next_mark: AtomicI64::new(0),
            reached,
            health,
            tasks,
            _ends: closing.clone().drop_guard(),
            closing,
        })
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

    async fn verdict(&self, message: Message) -> Result<(), PublishError> {
        let (reply, verdict) = oneshot::channel();
        let index = self.next_channel.fetch_add(1, Ordering::Relaxed) % self.jobs.len();
        if self.jobs[index].send(Job { message, reply }).await.is_err() {
            return Err(PublishError::Transient(Box::new(Failure::Closed)));
        }
        verdict
            .await
            .unwrap_or_else(|_| Err(PublishError::Transient(Box::new(Failure::Lost))))
    }
}

impl Sink for RabbitMqSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        async move { self.verdict(self.message(envelope)?).await }.boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        ATTEMPT_TIMEOUT
    }

    fn health(&self) -> Health {
        self.health.get()
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        let mut reached = self.reached.clone();
        // An error means that the sink was closed, and there is nothing to wait for any more.
        async move { drop(reached.wait_for(|reached| *reached).await) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        async move {
            self.closing.cancel();
            timeout(CLOSE_TIMEOUT, self.tasks.wait())
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
