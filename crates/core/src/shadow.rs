//! Publishes that nobody waits for.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::retry::Target;
use crate::{Envelope, PublishError};

/// Publishes to one shadow sink that may be under way at once; more are dropped and counted.
const LIMIT: usize = 256;

/// The publishes to shadow sinks: measured, in the background, one for each event.
pub(crate) struct Shadows {
    permits: Vec<Arc<Semaphore>>,
    tasks: TaskTracker,
}

impl Shadows {
    pub(crate) fn new(sinks: usize) -> Self {
        let permits = (0..sinks)
            .map(|_| Arc::new(Semaphore::new(LIMIT)))
            .collect();
        Self {
            permits,
            tasks: TaskTracker::new(),
        }
    }

    pub(crate) fn publish(&self, index: usize, target: &Target, envelope: &Envelope) {
        let Ok(permit) = self.permits[index].clone().try_acquire_owned() else {
            target.metrics.shadow_dropped.inc();
            return;
        };
        let (sink, metrics) = (target.sink.clone(), target.metrics.clone());
        let envelope = envelope.clone();
        self.tasks.spawn(async move {
            let start = Instant::now();
            metrics.published.inc();
            match timeout(sink.attempt_timeout(), sink.publish(&envelope)).await {
                Ok(Ok(())) => metrics.acked(start.elapsed()),
                Ok(Err(error)) => metrics.failed(&error),
                Err(elapsed) => metrics.failed(&PublishError::Transient(elapsed.into())),
            }
            drop(permit);
        });
    }

    /// Resolves once none is under way.
    pub(crate) async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}
