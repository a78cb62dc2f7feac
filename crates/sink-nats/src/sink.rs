//! The sink that publishes envelopes to JetStream.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{GetStreamByNameErrorKind, PublishErrorKind};
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, Subject};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use vodbridge_core::{BoxError, Envelope, Health, PublishError, Sink};

use crate::config::NatsConfig;
use crate::connect::connect;
use crate::error::{Failure, NatsConfigError, Refusal};
use crate::message::message;
use crate::status::Status;
use crate::subject::is_literal;

/// How long an ack, or a connection, is waited for. The client reports a lost connection to none
/// of the publishes that wait for their acks.
const WAIT: Duration = Duration::from_secs(2);
/// Beyond [`WAIT`], so that the more telling error comes first.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(3000);

/// Publishes each envelope to its subject. An ack is the stream's: stored as often, and on what,
/// as the stream is configured for.
pub struct NatsSink {
    name: String,
    pub(crate) config: NatsConfig,
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    pub(crate) status: Arc<Status>,
}

impl NatsSink {
    /// Starts to connect, in the background, and goes on trying for as long as the sink lives:
    /// only settings that cannot work are errors. At most `max_in_flight` publishes are expected
    /// at a time.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn new(
        name: &str,
        config: &NatsConfig,
        max_in_flight: usize,
    ) -> Result<Self, NatsConfigError> {
        // Twice and more, so that what was given up and not yet answered takes nobody's place.
        let slots = max_in_flight.saturating_mul(2).saturating_add(64);
        let status = Arc::new(Status::new(config.servers.join(", ")));
        let client = connect(name, config, slots, status.clone())?;
        let jetstream = ContextBuilder::new()
            .timeout(WAIT)
            .max_ack_inflight(slots)
            .backpressure_on_inflight(false)
            .build(client.clone());
        Ok(Self {
            name: name.into(),
            config: config.clone(),
            client,
            jetstream,
            status,
        })
    }

    /// Waits for a connection, not longer than for an ack.
    ///
    /// What the client is handed while it has none, it would send later behind our back.
    pub(crate) async fn connected(&self) -> Result<(), Failure> {
        let is_connected = || self.client.connection_state() == State::Connected;
        if is_connected() {
            return Ok(());
        }
        let waited = timeout(WAIT, self.status.connected()).await;
        if waited.is_ok() && is_connected() {
            Ok(())
        } else {
            Err(Failure::NotConnected)
        }
    }

    /// Whether JetStream says that no stream takes the subject. That nobody answered a publish
    /// does not say it: a stream without a leader, in an election, answers as little.
    async fn is_without_stream(&self, subject: &str) -> bool {
        let found = self.jetstream.stream_by_subject(subject).await;
        found.is_err_and(|error| error.kind() == GetStreamByNameErrorKind::NotFound)
    }

    async fn store(&self, envelope: &Envelope) -> Result<(), Failure> {
        let subject = self.config.subject.topic(envelope);
        if !is_literal(&subject) {
            return Err(Failure::Subject(subject.into_owned()));
        }
        self.connected().await?;
        let stream = self.config.stream.as_deref();
        let message = message(envelope, &subject, self.config.mode, stream);
        // Its clones share one buffer.
        let subject = Subject::from(subject.into_owned());
        let stored = async {
            let ack = self
                .jetstream
                .send_publish(subject.clone(), message)
                .await?;
            // A duplicate is stored already, which is what was asked for.
            ack.await
        };
        let refusal = match stored.await {
            Ok(_) => return Ok(()),
            Err(error) => Refusal(error),
        };
        match refusal.0.kind() {
            PublishErrorKind::StreamNotFound if self.status.is_stopping() => {
                return Err(Failure::Stopping(refusal));
            }
            PublishErrorKind::StreamNotFound if !self.is_without_stream(&subject).await => {
                return Err(Failure::NoLeader(subject.to_string()));
            }
            // Somebody listens to the subject, so the server does not say that no stream does.
            PublishErrorKind::TimedOut if self.is_without_stream(&subject).await => {
                return Err(Failure::NoStream(subject.to_string()));
            }
            _ => {}
        }
        Err(Failure::NotStored {
            subject: subject.to_string(),
            source: refusal,
        })
    }
}

impl Sink for NatsSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            match self.store(envelope).await {
                Ok(()) => {
                    self.status.acked();
                    Ok(())
                }
                Err(failure) => {
                    self.status.failed(&failure);
                    Err(failure.into())
                }
            }
        }
        .boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        ATTEMPT_TIMEOUT
    }

    fn health(&self) -> Health {
        self.status.health()
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        self.status.reached().boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        async move {
            self.status.closing();
            timeout(WAIT, self.client.drain()).await??;
            Ok(())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
