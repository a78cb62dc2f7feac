//! Delivery: route, publish, await every ack. The ack is the return value.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dead_letter::{Content, DeadLetter, DeadLetters, Reason};
use crate::delivery::Delivery;
use crate::metrics::SinkMetrics;
use crate::retry::{Attempts, Backoff, Failed};
use crate::{Envelope, Metrics, Patience, PublishError, Router, Sink, SinkSet, Targets};

/// How a delivery ended well. Both are durable, so both are confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every required sink acked.
    Delivered,
    /// What some required sink refused for good is in the dead letter, and the others acked.
    DeadLettered,
}

/// The cloud must keep the event: some required sink neither acked nor refused it for good.
#[derive(Debug, Clone, Error)]
#[error("not delivered to sink `{sink}`")]
pub struct NotDelivered {
    /// The sink, or the dead letter's.
    pub sink: String,
    /// The last error.
    #[source]
    pub source: Arc<PublishError>,
}

/// Publishes to a shadow sink that may be under way at once; more are dropped and counted.
const SHADOW_LIMIT: usize = 256;

/// Routes envelopes to sinks and waits for their acks.
pub struct Pipeline {
    sinks: Vec<Target>,
    router: Router,
    dead_letters: DeadLetters,
    dead_letter_metrics: SinkMetrics,
    metrics: Metrics,
    backoff: Backoff,
    cut: CancellationToken,
    shadows: TaskTracker,
}

struct Target {
    sink: Arc<dyn Sink>,
    metrics: Arc<SinkMetrics>,
    shadow: Arc<Semaphore>,
}

/// An error with its sources in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

impl Pipeline {
    /// A pipeline over these sinks; the router's indices are positions in `sinks`, at most
    /// [`SinkSet::MAX`].
    pub fn new(
        sinks: Vec<Arc<dyn Sink>>,
        router: Router,
        dead_letters: DeadLetters,
        metrics: &Metrics,
    ) -> Self {
        assert!(
            sinks.len() <= SinkSet::MAX,
            "a bridge has at most {} sinks",
            SinkSet::MAX
        );
        let target = |sink: Arc<dyn Sink>| Target {
            metrics: Arc::new(metrics.sink(sink.name())),
            shadow: Arc::new(Semaphore::new(SHADOW_LIMIT)),
            sink,
        };
        Self {
            sinks: sinks.into_iter().map(target).collect(),
            router,
            dead_letter_metrics: metrics.sink(dead_letters.sink.name()),
            dead_letters,
            metrics: metrics.clone(),
            backoff: Backoff::default(),
            cut: CancellationToken::new(),
            shadows: TaskTracker::new(),
        }
    }

    /// Resolves once every required sink of the envelope's routes has acked it, or the dead
    /// letter has acked what a sink refused for good.
    ///
    /// Dropping the future means that nothing is known to be delivered.
    pub async fn deliver(
        &self,
        envelope: &Envelope,
        patience: Patience,
    ) -> Result<Outcome, NotDelivered> {
        let delivery = Delivery::new(self.targets(envelope), patience);
        self.resume(envelope, &delivery, "-").await
    }

    /// Resolves once the dead letter is durable.
    pub async fn dead_letter(
        &self,
        letter: &DeadLetter,
        deadline: Instant,
    ) -> Result<Outcome, NotDelivered> {
        let delivery = Delivery::new(Targets::default(), Patience::until(deadline));
        self.write(letter, &delivery).await
    }

    /// Ends every delivery at once; what is not acked by now is not delivered.
    pub fn cut(&self) {
        self.cut.cancel();
    }

    /// Waits for the publishes to shadow sinks, then closes every sink.
    pub async fn close(&self) {
        self.shadows.close();
        self.shadows.wait().await;
        let sinks = self
            .sinks
            .iter()
            .map(|t| &t.sink)
            .chain(&self.dead_letters.last_resort);
        for (sink, closed) in sinks
            .clone()
            .zip(join_all(sinks.map(|sink| sink.close())).await)
        {
            if let Err(error) = closed {
                tracing::warn!(
                    sink = sink.name(),
                    error = chain(&*error),
                    "the sink did not close cleanly"
                );
            }
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    pub(crate) async fn was_cut(&self) {
        self.cut.cancelled().await;
    }

    pub(crate) fn targets(&self, envelope: &Envelope) -> Targets {
        self.router.targets(envelope)
    }

    /// The sinks that some event can be required to reach.
    pub(crate) fn reachable(&self) -> SinkSet {
        self.router.reachable()
    }

    /// Goes on with a delivery: publishes to the sinks that are still open.
    pub(crate) async fn resume(
        &self,
        envelope: &Envelope,
        delivery: &Delivery,
        source: &str,
    ) -> Result<Outcome, NotDelivered> {
        if delivery.take_shadow() {
            self.publish_to_shadows(envelope, delivery.targets.shadow);
        }
        if delivery.targets.required.is_empty() {
            return self
                .write(
                    &letter(envelope, delivery, source, Reason::Unrouted, None),
                    delivery,
                )
                .await;
        }
        let open = delivery.open();
        if open.len() == 1 {
            for sink in open.iter() {
                self.settle(sink, envelope, delivery, source).await?;
            }
        } else {
            // Every sibling is waited for: dropping a publish half way would forget its ack.
            for result in join_all(
                open.iter()
                    .map(|sink| self.settle(sink, envelope, delivery, source)),
            )
            .await
            {
                result?;
            }
        }
        Ok(if delivery.any_dead_lettered() {
            Outcome::DeadLettered
        } else {
            Outcome::Delivered
        })
    }

    /// Publishes to one sink until it has acked, or the dead letter has acked its refusal.
    async fn settle(
        &self,
        index: usize,
        envelope: &Envelope,
        delivery: &Delivery,
        source: &str,
    ) -> Result<(), NotDelivered> {
        let Target { sink, metrics, .. } = &self.sinks[index];
        let attempts = Attempts {
            sink: sink.as_ref(),
            envelope,
            delivery,
            unroutable_until: delivery.unroutable_until(),
            backoff: self.backoff,
            cut: &self.cut,
            metrics,
        };
        let Err(Failed { error, attempts }) = attempts.until_publish_deadline().await else {
            delivery.acked(index);
            return Ok(());
        };
        let reason = match &error {
            PublishError::Permanent(_) => Reason::Refused,
            PublishError::Unroutable(_) if delivery.unroutable_until().is_some() => {
                Reason::Unroutable
            }
            PublishError::Unroutable(_) | PublishError::Transient(_) => {
                return Err(NotDelivered {
                    sink: sink.name().to_owned(),
                    source: Arc::new(error),
                });
            }
        };
        self.write(
            &letter(
                envelope,
                delivery,
                source,
                reason,
                Some(Refusal {
                    sink: sink.name(),
                    error: &error,
                    attempts,
                }),
            ),
            delivery,
        )
        .await?;
        delivery.dead_lettered(index);
        Ok(())
    }

    /// Writes a dead letter: to its sink, and where that refuses it or has no destination for
    /// it, to the last resort.
    async fn write(
        &self,
        letter: &DeadLetter,
        delivery: &Delivery,
    ) -> Result<Outcome, NotDelivered> {
        self.write_somewhere(letter, delivery).await?;
        self.metrics
            .dead_lettered(&letter.source, letter.reason.as_str());
        Ok(Outcome::DeadLettered)
    }

    async fn write_somewhere(
        &self,
        letter: &DeadLetter,
        delivery: &Delivery,
    ) -> Result<(), NotDelivered> {
        let envelope = letter.encode().with_topic(self.dead_letters.topic.clone());
        let DeadLetters {
            sink: first,
            last_resort,
            ..
        } = &self.dead_letters;
        // With a last resort at hand there is no point in waiting for a destination.
        let unroutable_until = last_resort.as_ref().map(|_| Instant::now());
        let attempts = self.dead_letter_attempts(&**first, &envelope, delivery, unroutable_until);
        let Err(Failed { error, .. }) = attempts.until_deadline().await else {
            return Ok(());
        };
        if !matches!(error, PublishError::Transient(_))
            && let Some(last) = last_resort
        {
            tracing::error!(
                id = letter.id,
                reason = letter.reason.as_str(),
                sink = first.name(),
                error = chain(&error),
                "the dead letter's sink refused a record, which goes to the state directory instead; look at its topic and size limit"
            );
            let attempts = self.dead_letter_attempts(&**last, &envelope, delivery, None);
            let written = attempts.until_deadline().await;
            return written.map_err(|Failed { error, .. }| NotDelivered {
                sink: last.name().to_owned(),
                source: Arc::new(error),
            });
        }
        Err(NotDelivered {
            sink: first.name().to_owned(),
            source: Arc::new(error),
        })
    }

    fn dead_letter_attempts<'a>(
        &'a self,
        sink: &'a dyn Sink,
        envelope: &'a Envelope,
        delivery: &'a Delivery,
        unroutable_until: Option<Instant>,
    ) -> Attempts<'a> {
        let (backoff, cut) = (self.backoff, &self.cut);
        Attempts {
            sink,
            envelope,
            delivery,
            unroutable_until,
            backoff,
            cut,
            metrics: &self.dead_letter_metrics,
        }
    }

    /// One publish to each, measured, in the background; dropped where too many are under way.
    fn publish_to_shadows(&self, envelope: &Envelope, shadows: SinkSet) {
        for index in shadows.iter() {
            let Target {
                sink,
                metrics,
                shadow,
            } = &self.sinks[index];
            let Ok(permit) = shadow.clone().try_acquire_owned() else {
                metrics.shadow_dropped.inc();
                continue;
            };
            let (sink, metrics, envelope) = (sink.clone(), metrics.clone(), envelope.clone());
            self.shadows.spawn(async move {
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
    }
}

/// What a sink said, after how many publishes.
struct Refusal<'a> {
    sink: &'a str,
    error: &'a PublishError,
    attempts: u32,
}

fn letter(
    envelope: &Envelope,
    delivery: &Delivery,
    source: &str,
    reason: Reason,
    refusal: Option<Refusal<'_>>,
) -> DeadLetter {
    DeadLetter {
        id: envelope.id().to_owned(),
        reason,
        source: source.into(),
        sink: refusal.as_ref().map(|refusal| refusal.sink.to_owned()),
        error: refusal.as_ref().map(|refusal| chain(refusal.error)),
        attempts: refusal.map_or(0, |refusal| refusal.attempts),
        first: delivery.started,
        last: SystemTime::now(),
        content: Content::Event(envelope.clone()),
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sinks = self.sinks.iter().map(|t| t.sink.name()).collect::<Vec<_>>();
        f.debug_struct("Pipeline")
            .field("sinks", &sinks)
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}
