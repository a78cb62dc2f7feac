//! A sink that tells somebody of every ack.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::Instant;
use vodbridge_core::{BoxError, Envelope, Health, PublishError, Sink};

/// A sink's ack of one envelope.
pub(crate) struct Acked<'a> {
    pub(crate) sink: &'a str,
    pub(crate) envelope: &'a Envelope,
    /// From publish to ack.
    pub(crate) after: Duration,
}

/// Passes everything on to a sink, and tells of each ack before anybody else hears of it.
pub(crate) struct Watched<F> {
    sink: Arc<dyn Sink>,
    tell: F,
}

impl<F: Fn(Acked<'_>) + Send + Sync + 'static> Watched<F> {
    /// `tell` must not block.
    pub(crate) fn new(sink: Arc<dyn Sink>, tell: F) -> Self {
        Self { sink, tell }
    }
}

impl<F: Fn(Acked<'_>) + Send + Sync + 'static> Sink for Watched<F> {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let start = Instant::now();
            self.sink.publish(envelope).await?;
            (self.tell)(Acked {
                sink: self.sink.name(),
                envelope,
                after: start.elapsed(),
            });
            Ok(())
        }
        .boxed()
    }

    fn attempt_timeout(&self) -> Duration {
        self.sink.attempt_timeout()
    }

    fn health(&self) -> Health {
        self.sink.health()
    }

    fn reached(&self) -> BoxFuture<'_, ()> {
        self.sink.reached()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        self.sink.close()
    }
}
