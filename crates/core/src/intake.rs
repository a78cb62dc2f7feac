//! One source's way into the pipeline: what is in flight is bounded, copies join, and nothing is
//! published twice to a sink that has acked it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::delivery::{DEAD_LETTERS, Delivery};
use crate::redelivery::{Arrival, Flight, Memory};
use crate::{
    DeadLetter, Envelope, NotDelivered, Outcome, Patience, Pipeline, PublishError, SourceMetrics,
};

/// One source's way into the pipeline.
pub struct Intake {
    source: Arc<str>,
    pipeline: Arc<Pipeline>,
    permits: Arc<Semaphore>,
    shares: Shares,
    memory: Mutex<Memory>,
    metrics: SourceMetrics,
}

/// How a delivery ended. Holds its in-flight permit until its caller has been answered.
#[derive(Debug)]
pub struct Ended {
    /// The outcome, or why there is none.
    pub result: Result<Outcome, NotDelivered>,
    /// Whether it was another copy's delivery, so that what follows of it is that copy's affair.
    pub joined: bool,
    _permit: Option<InFlight>,
}

impl Ended {
    fn new(result: Result<Outcome, NotDelivered>, permit: Option<InFlight>) -> Self {
        Self {
            result,
            joined: false,
            _permit: permit,
        }
    }
}

/// A permit of `max_in_flight`, counted.
#[derive(Debug)]
struct InFlight {
    gauge: prometheus_client::metrics::gauge::Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Where a source can reach several sinks, none may hold more than half of its permits with
/// deliveries that wait for it, so that one that is away does not stop the others.
struct Shares {
    sinks: Vec<(usize, Arc<Semaphore>)>,
    dead_letters: Arc<Semaphore>,
}

impl Shares {
    fn new(pipeline: &Pipeline, max_in_flight: usize) -> Self {
        let half = || Arc::new(Semaphore::new(max_in_flight.div_ceil(2)));
        let several = pipeline.waits_for_several();
        let reachable = pipeline.reachable();
        let sinks = reachable
            .iter()
            .filter(|_| several)
            .map(|sink| (sink, half()))
            .collect();
        Self {
            sinks,
            dead_letters: half(),
        }
    }
}

#[derive(Debug, Error)]
enum NoResult {
    #[error("all permits of the source are taken by deliveries that wait for their acks")]
    Full,
    #[error("the copy's deadline passed before the delivery that it joined ended")]
    JoinTimedOut,
    #[error("the delivery was dropped before it ended")]
    Abandoned,
}

impl Intake {
    /// An intake for the source of this name, with at most `max_in_flight` deliveries at once.
    pub fn new(
        source: &str,
        pipeline: Arc<Pipeline>,
        max_in_flight: usize,
        metrics: SourceMetrics,
    ) -> Self {
        Self {
            source: source.into(),
            permits: Arc::new(Semaphore::new(max_in_flight)),
            shares: Shares::new(&pipeline, max_in_flight),
            memory: Mutex::new(Memory::new()),
            metrics,
            pipeline,
        }
    }

    /// The operator's name of the source.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// The source's metrics.
    pub fn metrics(&self) -> &SourceMetrics {
        &self.metrics
    }

    /// Delivers an event, or joins the delivery of a copy that is in flight, or says at once that
    /// a copy has been delivered. Say [`confirmed`](Self::confirmed) if the caller then got its
    /// answer in time.
    ///
    /// Run it where its caller cannot drop it: a dropped delivery is not delivered.
    pub async fn deliver(&self, envelope: &Envelope, patience: Patience) -> Ended {
        let event_type = envelope.owned_topic_label("event_type");
        self.metrics.received(event_type.unwrap_or("other".into()));
        let arrival = self
            .memory()
            .arrive(envelope.id(), |earlier| match earlier {
                Some(earlier) => Delivery::resuming(earlier, patience),
                None => Delivery::new(self.pipeline.targets(envelope), patience)
                    .sharing(self.shares.dead_letters.clone()),
            });
        match arrival {
            Arrival::Lead(flight) => self.lead(envelope, flight).await,
            Arrival::Join(flight) => {
                self.metrics.joined.inc();
                flight.delivery.extend(patience.deadline);
                let result = timeout_at(patience.deadline, flight.result.wait())
                    .await
                    .cloned();
                let timed_out = |_| Err(self.without_result(NoResult::JoinTimedOut));
                Ended {
                    joined: true,
                    ..Ended::new(result.unwrap_or_else(timed_out), None)
                }
            }
            Arrival::Settled(outcome) => {
                self.metrics.resumed.inc();
                Ended::new(Ok(outcome), None)
            }
        }
    }

    /// Writes a notification that cannot become an event to the dead letter.
    pub async fn dead_letter(&self, letter: &DeadLetter, deadline: Instant) -> Ended {
        let needed = [&self.shares.dead_letters, &self.permits];
        let Some(mut taken) = self.before(deadline, acquire_all(&needed)).await else {
            return Ended::new(Err(self.without_result(NoResult::Full)), None);
        };
        let permit = taken.pop().map(|permit| self.in_flight(permit));
        let result = self.pipeline.dead_letter(letter, deadline).await;
        self.count(&result);
        Ended::new(result, permit)
    }

    /// The caller of this event was answered 200 in time, so that no copy of it will come.
    pub fn confirmed(&self, id: &str) {
        self.memory().confirmed(id);
    }

    async fn lead(&self, envelope: &Envelope, flight: Arc<Flight>) -> Ended {
        let mut lead = Lead {
            intake: self,
            id: envelope.id(),
            flight: &flight,
        };
        let Some(permit) = self.admit(&flight.delivery).await else {
            return Ended::new(lead.end(Err(self.without_result(NoResult::Full))), None);
        };
        let result = self
            .pipeline
            .resume(envelope, &flight.delivery, &self.source)
            .await;
        self.count(&result);
        Ended::new(lead.end(result), Some(permit))
    }

    /// A share of each sink that is still open, and a permit; None: the deadline passed.
    async fn admit(&self, delivery: &Delivery) -> Option<InFlight> {
        let unrouted = delivery.targets.required.is_empty();
        if self.shares.sinks.is_empty()
            && !unrouted
            && let Ok(permit) = self.permits.clone().try_acquire_owned()
        {
            return Some(self.in_flight(permit));
        }
        let open = delivery.open();
        let of_sinks = self
            .shares
            .sinks
            .iter()
            .filter(|(sink, _)| open.contains(*sink));
        // What goes nowhere waits for the dead letter's sink.
        let of_dead_letters = Some((DEAD_LETTERS, self.shares.dead_letters.clone()));
        let shares: Vec<_> = of_sinks
            .cloned()
            .chain(of_dead_letters.filter(|_| unrouted))
            .collect();
        let needed: Vec<_> = shares
            .iter()
            .map(|(_, share)| share)
            .chain([&self.permits])
            .collect();
        let mut taken = loop {
            let deadline = delivery.deadline();
            match self.before(deadline, acquire_all(&needed)).await {
                Some(taken) => break taken,
                None if delivery.deadline() > deadline && !self.pipeline.is_cut() => {}
                None => return None,
            }
        };
        let permit = taken.pop()?;
        for ((of, _), share) in shares.iter().zip(taken) {
            delivery.keep_share(*of, share);
        }
        Some(self.in_flight(permit))
    }

    /// None: the deadline passed, or the pipeline was cut.
    async fn before<T>(&self, deadline: Instant, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = timeout_at(deadline, wait) => done.ok(),
            () = self.pipeline.was_cut() => None,
        }
    }

    fn in_flight(&self, permit: OwnedSemaphorePermit) -> InFlight {
        let gauge = self.metrics.in_flight.clone();
        gauge.inc();
        InFlight {
            gauge,
            _permit: permit,
        }
    }

    fn count(&self, result: &Result<Outcome, NotDelivered>) {
        if result.is_err() {
            self.metrics.not_delivered.inc();
        }
    }

    fn without_result(&self, why: NoResult) -> NotDelivered {
        let sink = "-".to_owned();
        NotDelivered {
            sink,
            source: Arc::new(PublishError::Transient(why.into())),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One permit of each. None is held while another is waited for: deliveries that wait for a sink
/// that is away would hold the places of those that do not.
async fn acquire_all(semaphores: &[&Arc<Semaphore>]) -> Vec<OwnedSemaphorePermit> {
    let mut waited_for = None;
    loop {
        let mut taken = Vec::with_capacity(semaphores.len());
        for (at, semaphore) in semaphores.iter().enumerate() {
            match waited_for.take_if(|(of, _)| *of == at) {
                Some((_, permit)) => taken.push(permit),
                None => match Arc::clone(semaphore).try_acquire_owned() {
                    Ok(permit) => taken.push(permit),
                    Err(_) => break,
                },
            }
        }
        let Some(missing) = semaphores.get(taken.len()) else {
            return taken;
        };
        let at = taken.len();
        drop(taken);
        drop(waited_for);
        let permit = Arc::clone(missing).acquire_owned().await;
        waited_for = Some((
            at,
            permit.expect("the semaphores of an intake are never closed"),
        ));
    }
}

/// The end of a delivery, reached by every path: a panic or a drop tells those who joined that
/// nothing is known to be delivered.
struct Lead<'a> {
    intake: &'a Intake,
    id: &'a str,
    flight: &'a Flight,
}

impl Lead<'_> {
    fn end(&mut self, result: Result<Outcome, NotDelivered>) -> Result<Outcome, NotDelivered> {
        self.flight.delivery.release_all();
        // Under one lock, so that no copy finds it ended without a result, and none that heard the
        // result confirms it before it has ended. Nobody else sets it: a flight has one lead.
        let mut memory = self.intake.memory();
        self.flight.result.set(result.clone()).ok();
        memory.end(self.id);
        result
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.flight.result.initialized() {
            let abandoned = self.intake.without_result(NoResult::Abandoned);
            self.end(Err(abandoned)).ok();
        }
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
