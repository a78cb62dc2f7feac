//! A sink that tells somebody of every ack.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::Instant;
use vodbridge_core::{BoxError, Envelope, Health, PublishError, Sink};

/// A sink's ack of one envelope.
pub(crate) struct Acked {
    pub(crate) sink: Arc<str>,
    pub(crate) envelope: Envelope,
    /// From publish to ack.
    pub(crate) after: Duration,
}

/// Passes everything on to a sink and reports its acks; a listener that is slow misses some.
pub(crate) struct Watched {
    name: Arc<str>,
    sink: Arc<dyn Sink>,
    acks: mpsc::Sender<Acked>,
}

impl Watched {
    pub(crate) fn new(sink: Arc<dyn Sink>, acks: mpsc::Sender<Acked>) -> Self {
        Self {
            name: sink.name().into(),
            sink,
            acks,
        }
    }
}

impl Sink for Watched {
    fn name(&self) -> &str {
        self.sink.name()
    }

    fn publish<'a>(&'a self, envelope: &'a Envelope) -> BoxFuture<'a, Result<(), PublishError>> {
        async move {
            let start = Instant::now();
            self.sink.publish(envelope).await?;
            let acked = Acked {
                sink: self.name.clone(),
                envelope: envelope.clone(),
                after: start.elapsed(),
            };
            // Missing one only makes the show miss a line.
            self.acks.try_send(acked).ok();
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
