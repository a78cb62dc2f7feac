//! Delivery: route, publish, await every ack. The ack is the return value.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::dead_letter::{Content, DeadLetter, DeadLetters, Reason, Writer, reason_of};
use crate::delivery::Delivery;
use crate::retry::{Attempts, Failed, Retry, Target};
use crate::shadow::Shadows;
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

/// A publish names a sink that the pipeline does not have.
#[derive(Debug, Error)]
#[error("there is no sink `{0}`")]
struct UnknownSink(String);

/// Routes envelopes to sinks and waits for their acks.
pub struct Pipeline {
    targets: Vec<Target>,
    router: Router,
    dead_letters: Writer,
    retry: Retry,
    shadows: Shadows,
    metrics: Metrics,
    /// Counts whenever a sink that was away is back.
    returns: Arc<watch::Sender<u64>>,
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
        let returns = Arc::new(watch::Sender::new(0));
        let make = |sink| Target::new(sink, metrics, &returns);
        let targets: Vec<_> = sinks.into_iter().map(make).collect();
        Self {
            shadows: Shadows::new(targets.len()),
            dead_letters: Writer::new(dead_letters, &targets, make),
            targets,
            router,
            retry: Retry::default(),
            metrics: metrics.clone(),
            returns,
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
        self.resume(envelope, &delivery, &"-".into()).await
    }

    /// Resolves once the dead letter is durable.
    pub async fn dead_letter(
        &self,
        letter: &DeadLetter,
        deadline: Instant,
    ) -> Result<Outcome, NotDelivered> {
        self.write_letter(&letter.encode(), &letter.source, deadline)
            .await
    }

    /// As [`dead_letter`](Self::dead_letter), for one that is encoded already.
    pub(crate) async fn write_letter(
        &self,
        letter: &Envelope,
        source: &Arc<str>,
        deadline: Instant,
    ) -> Result<Outcome, NotDelivered> {
        let delivery = Delivery::new(Targets::default(), Patience::until(deadline));
        self.write(letter, source, &delivery).await
    }

    /// Publishes to this sink alone, whatever the routes say: resolves once it has acked. Nothing
    /// is dead-lettered, an error is the caller's.
    pub async fn publish_to(
        &self,
        sink: &str,
        envelope: &Envelope,
        patience: Patience,
    ) -> Result<(), PublishError> {
        let named = |target: &&Target| target.sink.name() == sink;
        let Some(target) = self.targets.iter().find(named) else {
            let unknown = UnknownSink(sink.to_owned());
            return Err(PublishError::Permanent(unknown.into()));
        };
        let attempts = Attempts {
            target,
            envelope,
            delivery: &Delivery::new(Targets::default(), patience),
            unroutable_until: patience.unroutable_until,
            retry: &self.retry,
        };
        attempts
            .until_deadline()
            .await
            .map_err(|failed| failed.error)
    }

    /// Ends every delivery at once; what is not acked by now is not delivered.
    pub fn cut(&self) {
        self.retry.cut.cancel();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.retry.cut.is_cancelled()
    }

    pub(crate) async fn was_cut(&self) {
        self.retry.cut.cancelled().await;
    }

    /// Waits for the publishes to shadow sinks, then closes every sink.
    pub async fn close(&self) {
        self.shadows.finished().await;
        let sinks = self
            .targets
            .iter()
            .map(|target| &target.sink)
            .chain(self.dead_letters.last_resort());
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

    pub(crate) fn targets(&self, envelope: &Envelope) -> Targets {
        self.router.targets(envelope)
    }

    /// The sinks that some event can be required to reach.
    pub(crate) fn reachable(&self) -> SinkSet {
        self.router.reachable()
    }

    /// Which of these sinks have not answered for a while.
    pub(crate) fn away(&self, sinks: SinkSet) -> SinkSet {
        let is_away = |sink: &usize| self.targets[*sink].presence.is_away();
        SinkSet::of(sinks.iter().filter(is_away))
    }

    /// The names of these sinks.
    pub(crate) fn names(&self, sinks: SinkSet) -> Vec<String> {
        let name = |sink: usize| self.targets[sink].sink.name().to_owned();
        sinks.iter().map(name).collect()
    }

    /// The sinks of these names; one that there is no more is none.
    pub(crate) fn named(&self, names: &[String]) -> SinkSet {
        if names.is_empty() {
            return SinkSet::default();
        }
        let is_named = |target: &Target| names.iter().any(|name| name == target.sink.name());
        let sinks = self.targets.iter().enumerate();
        SinkSet::of(
            sinks
                .filter(|(_, target)| is_named(target))
                .map(|(at, _)| at),
        )
    }

    /// Whether the dead letter's sink has not answered for a while.
    pub(crate) fn is_dead_letter_away(&self) -> bool {
        self.dead_letters.is_away()
    }

    /// Changes whenever a sink that was away is back.
    pub(crate) fn returns(&self) -> watch::Receiver<u64> {
        self.returns.subscribe()
    }

    /// Whether deliveries can wait for more than one sink, the dead letter's among them.
    pub(crate) fn waits_for_several(&self) -> bool {
        let reachable = self.reachable();
        let dead_letters = self.dead_letters.sink_name();
        let is_among = |sink: usize| self.targets[sink].sink.name() == dead_letters;
        reachable.len() > 1 || !reachable.iter().any(is_among)
    }

    /// Goes on with a delivery: publishes to the sinks that are still open.
    pub(crate) async fn resume(
        &self,
        envelope: &Envelope,
        delivery: &Delivery,
        source: &Arc<str>,
    ) -> Result<Outcome, NotDelivered> {
        if delivery.take_shadow() {
            for index in delivery.targets.shadow.iter() {
                self.shadows.publish(index, &self.targets[index], envelope);
            }
        }
        if delivery.targets.required.is_empty() {
            let letter = letter(envelope, delivery, source, Reason::Unrouted, None);
            return Box::pin(self.write(&letter.encode(), source, delivery)).await;
        }
        let open = delivery.open();
        if open.len() == 1 {
            for sink in open.iter() {
                self.settle(sink, envelope, delivery, source).await?;
            }
        } else {
            // Every sibling is waited for: dropping a publish half way would forget its ack.
            let siblings = open
                .iter()
                .map(|sink| self.settle(sink, envelope, delivery, source));
            for result in join_all(siblings).await {
                result?;
            }
        }
        if let Some(passed_by) = delivery.passed_by() {
            let sink = self.targets[passed_by].sink.name().to_owned();
            let source = Arc::new(PublishError::Transient("it does not answer".into()));
            return Err(NotDelivered { sink, source });
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
        source: &Arc<str>,
    ) -> Result<(), NotDelivered> {
        let target = &self.targets[index];
        let sink = &target.sink;
        let unroutable_until = delivery.unroutable_until();
        let attempts = Attempts {
            target,
            envelope,
            delivery,
            unroutable_until,
            retry: &self.retry,
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
        let room = tokio::select! {
            biased;
            room = delivery.room_to_wait_for_dead_letter() => room,
            () = self.was_cut() => None,
        };
        let Some(_room) = room else {
            let (sink, source) = (sink.name().to_owned(), Arc::new(error));
            return Err(NotDelivered { sink, source });
        };
        let refusal = Refusal {
            sink: sink.name(),
            error: &error,
            attempts,
        };
        let letter = letter(envelope, delivery, source, reason, Some(refusal));
        // Boxed, like all that is rare: what is not stays small to move about.
        Box::pin(self.write(&letter.encode(), source, delivery)).await?;
        delivery.dead_lettered(index);
        Ok(())
    }

    async fn write(
        &self,
        letter: &Envelope,
        source: &Arc<str>,
        delivery: &Delivery,
    ) -> Result<Outcome, NotDelivered> {
        self.dead_letters
            .write(letter, delivery, &self.retry)
            .await?;
        self.metrics.dead_lettered(source, reason_of(letter));
        Ok(Outcome::DeadLettered)
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
    source: &Arc<str>,
    reason: Reason,
    refusal: Option<Refusal<'_>>,
) -> DeadLetter {
    DeadLetter {
        id: envelope.id().to_owned(),
        reason,
        source: source.clone(),
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
        let sinks = self
            .targets
            .iter()
            .map(|t| t.sink.name())
            .collect::<Vec<_>>();
        f.debug_struct("Pipeline")
            .field("sinks", &sinks)
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}
