//! One publish, repeated until it is acknowledged, refused or out of time.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::delivery::Delivery;
use crate::metrics::SinkMetrics;
use crate::{Envelope, PublishError, Sink};

/// Exponential back-off with full jitter, without a limit on attempts: the deadline ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    /// Upper bound of the first pause; it doubles from there.
    pub(crate) first: Duration,
    /// Upper bound of every pause.
    pub(crate) longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(1),
        }
    }
}

impl Backoff {
    /// The pause after the given number of failures, at least one.
    fn pause(self, failures: u32) -> Duration {
        let bound = self
            .first
            .saturating_mul(1 << failures.saturating_sub(1).min(16))
            .min(self.longest);
        bound.mul_f64(fastrand::f64())
    }
}

/// An attempt that the bridge itself gave up.
#[derive(Debug, Error)]
enum GivenUp {
    #[error("no ack within {0:?}; look at the broker and the network to it")]
    Attempt(Duration),
    #[error("the deadline passed before an ack")]
    Deadline,
}

/// Why there is no ack, and after how many publishes.
pub(crate) struct Failed {
    pub(crate) error: PublishError,
    pub(crate) attempts: u32,
}

/// Publishes until the sink acks, refuses for good, or there is no time left.
///
/// `Permanent`, and `Unroutable` where the delivery no longer waits for a destination, are final;
/// `Transient`, and `Unroutable` otherwise, mean that the deadline passed.
pub(crate) struct Attempts<'a> {
    pub(crate) sink: &'a dyn Sink,
    pub(crate) envelope: &'a Envelope,
    pub(crate) delivery: &'a Delivery,
    /// When `Unroutable` becomes final; None: never.
    pub(crate) unroutable_until: Option<Instant>,
    pub(crate) backoff: Backoff,
    pub(crate) cut: &'a CancellationToken,
    pub(crate) metrics: &'a SinkMetrics,
}

impl Attempts<'_> {
    /// Publishes to an ordinary sink, leaving time for a dead letter.
    pub(crate) async fn until_publish_deadline(&self) -> Result<(), Failed> {
        self.until(&|| self.delivery.publish_until()).await
    }

    /// Publishes a dead letter, in all the time that is left.
    pub(crate) async fn until_deadline(&self) -> Result<(), Failed> {
        self.until(&|| self.delivery.deadline()).await
    }

    async fn until(&self, deadline: &(dyn Fn() -> Instant + Sync)) -> Result<(), Failed> {
        let mut attempts = 0;
        let mut last = PublishError::Transient(GivenUp::Deadline.into());
        while Instant::now() < deadline() && !self.cut.is_cancelled() {
            attempts += 1;
            last = match self.attempt(deadline).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.metrics.failed(&last);
            match last {
                PublishError::Permanent(_) => break,
                PublishError::Unroutable(_) if self.is_unroutable_for_good() => break,
                PublishError::Unroutable(_) => {
                    self.pause(attempts, self.unroutable_until, deadline).await
                }
                PublishError::Transient(_) => self.pause(attempts, None, deadline).await,
            }
        }
        Err(Failed {
            error: last,
            attempts,
        })
    }

    /// One publish, within the sink's own bound and the deadline, which a copy may move.
    async fn attempt(&self, deadline: &(dyn Fn() -> Instant + Sync)) -> Result<(), PublishError> {
        self.metrics.published.inc();
        let start = Instant::now();
        let bound = self.sink.attempt_timeout();
        let mut publish = self.sink.publish(self.envelope);
        loop {
            let end = (start + bound).min(deadline());
            tokio::select! {
                biased;
                result = &mut publish => {
                    if result.is_ok() {
                        self.metrics.acked(start.elapsed());
                    }
                    return result;
                }
                () = sleep_until(end) => {
                    if start.elapsed() >= bound {
                        return Err(PublishError::Transient(GivenUp::Attempt(bound).into()));
                    }
                    if Instant::now() >= deadline() {
                        return Err(PublishError::Transient(GivenUp::Deadline.into()));
                    }
                }
                () = self.cut.cancelled() => return Err(PublishError::Transient(GivenUp::Deadline.into())),
            }
        }
    }

    async fn pause(
        &self,
        failures: u32,
        limit: Option<Instant>,
        deadline: &(dyn Fn() -> Instant + Sync),
    ) {
        let end = (Instant::now() + self.backoff.pause(failures)).min(deadline());
        tokio::select! {
            () = sleep_until(limit.map_or(end, |limit| end.min(limit))) => {}
            () = self.cut.cancelled() => {}
        }
    }

    fn is_unroutable_for_good(&self) -> bool {
        self.unroutable_until
            .is_some_and(|limit| Instant::now() >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_never_pass_it() {
        let backoff = Backoff::default();
        for failures in [1, 2, 5, 30, u32::MAX] {
            for _ in 0..100 {
                assert!(backoff.pause(failures) <= backoff.longest);
            }
        }
        assert!((0..100).all(|_| backoff.pause(1) <= backoff.first));
    }
}
