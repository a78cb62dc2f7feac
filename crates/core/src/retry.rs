//! One publish, repeated until it is acknowledged, refused or out of time.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::delivery::Delivery;
use crate::metrics::SinkMetrics;
use crate::presence::Presence;
use crate::{Envelope, Metrics, PublishError, Sink};

/// A sink, its metrics, and whether it answers.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) metrics: Arc<SinkMetrics>,
    pub(crate) presence: Arc<Presence>,
}

impl Target {
    pub(crate) fn new(
        sink: Arc<dyn Sink>,
        metrics: &Metrics,
        returns: &Arc<watch::Sender<u64>>,
    ) -> Self {
        Self {
            metrics: Arc::new(metrics.sink(sink.name())),
            presence: Arc::new(Presence::new(returns.clone())),
            sink,
        }
    }
}

/// When to try again: exponential back-off with full jitter, without a limit on attempts, since
/// the deadline ends it.
#[derive(Debug)]
pub(crate) struct Retry {
    /// Upper bound of the first pause; it doubles from there.
    pub(crate) first: Duration,
    /// Upper bound of every pause.
    pub(crate) longest: Duration,
    /// Ends every attempt at once.
    pub(crate) cut: CancellationToken,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            longest: Duration::from_secs(1),
            cut: CancellationToken::new(),
        }
    }
}

impl Retry {
    /// The pause after the given number of failures, at least one.
    fn pause(&self, failures: u32) -> Duration {
        let factor = 1 << failures.saturating_sub(1).min(16);
        let bound = self.first.saturating_mul(factor).min(self.longest);
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
/// `Permanent`, and `Unroutable` after `unroutable_until`, are final; `Transient`, and
/// `Unroutable` otherwise, mean that the deadline passed.
pub(crate) struct Attempts<'a> {
    pub(crate) target: &'a Target,
    pub(crate) envelope: &'a Envelope,
    pub(crate) delivery: &'a Delivery,
    /// When `Unroutable` becomes final; None: never.
    pub(crate) unroutable_until: Option<Instant>,
    pub(crate) retry: &'a Retry,
}

/// A deadline that a copy may move while it is waited for.
type Moving<'a> = &'a (dyn Fn() -> Instant + Sync);

impl Attempts<'_> {
    /// Publishes to an ordinary sink, leaving time for a dead letter.
    pub(crate) async fn until_publish_deadline(&self) -> Result<(), Failed> {
        self.until(&|| self.delivery.publish_until()).await
    }

    /// Publishes a dead letter, in all the time that is left.
    pub(crate) async fn until_deadline(&self) -> Result<(), Failed> {
        self.until(&|| self.delivery.deadline()).await
    }

    async fn until(&self, deadline: Moving<'_>) -> Result<(), Failed> {
        let mut attempts = 0;
        let mut last = PublishError::Transient(GivenUp::Deadline.into());
        while Instant::now() < deadline() && !self.retry.cut.is_cancelled() {
            if attempts > 0 && !self.has_time(deadline) {
                break;
            }
            attempts += 1;
            last = match self.attempt(deadline).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            self.target.metrics.failed(&last);
            if !matches!(last, PublishError::Transient(_)) {
                self.target.presence.answered();
            }
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

    /// One publish, within the sink's own bound and the deadline.
    async fn attempt(&self, deadline: Moving<'_>) -> Result<(), PublishError> {
        let Target {
            sink,
            metrics,
            presence,
        } = self.target;
        metrics.published.inc();
        presence.asked();
        if cfg!(feature = "confirm-before-ack") {
            let (sink, envelope) = (sink.clone(), self.envelope.clone());
            tokio::spawn(async move { sink.publish(&envelope).await });
            // Sent is acked, also for those who ask whether the sink is there.
            presence.answered();
            return Ok(());
        }
        let start = Instant::now();
        let bound = sink.attempt_timeout();
        let mut publish = sink.publish(self.envelope);
        loop {
            tokio::select! {
                biased;
                result = &mut publish => {
                    if result.is_ok() {
                        metrics.acked(start.elapsed());
                        presence.answered();
                    }
                    return result;
                }
                () = sleep_until((start + bound).min(deadline())) => {
                    if start.elapsed() >= bound {
                        return Err(PublishError::Transient(GivenUp::Attempt(bound).into()));
                    }
                    if Instant::now() >= deadline() {
                        return Err(PublishError::Transient(GivenUp::Deadline.into()));
                    }
                }
                () = self.retry.cut.cancelled() => {
                    return Err(PublishError::Transient(GivenUp::Deadline.into()));
                }
            }
        }
    }

    async fn pause(&self, failures: u32, limit: Option<Instant>, deadline: Moving<'_>) {
        let end = (Instant::now() + self.retry.pause(failures)).min(deadline());
        tokio::select! {
            () = sleep_until(limit.map_or(end, |limit| end.min(limit))) => {}
            () = self.retry.cut.cancelled() => {}
        }
    }

    /// Whether another attempt would end by itself before the deadline, or may be cut off.
    fn has_time(&self, deadline: Moving<'_>) -> bool {
        let bound = self.target.sink.attempt_timeout();
        self.delivery.cuts_attempts || Instant::now() + bound <= deadline()
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
        let retry = Retry::default();
        for failures in [1, 2, 5, 30, u32::MAX] {
            for _ in 0..100 {
                assert!(retry.pause(failures) <= retry.longest);
            }
        }
        assert!((0..100).all(|_| retry.pause(1) <= retry.first));
    }
}
