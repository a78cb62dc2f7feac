//! One source's way into the pipeline: what is in flight is bounded, copies join, and nothing is
//! published twice to a sink that has acked it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::delivery::Delivery;
use crate::permits::{InFlight, Reserved};
use crate::places::{Needs, Places, Taken};
use crate::redelivery::{Arrival, Flight, Memory};
use crate::{
    DeadLetter, Envelope, NotDelivered, Outcome, Patience, Pipeline, PublishError, SourceMetrics,
};

/// How long a delivery that holds a reserved permit waits for its share of a sink: the events of
/// other sinks may need the permit, and the cloud keeps this one.
const SHARE_PATIENCE: Duration = Duration::from_secs(1);

/// One source's way into the pipeline.
pub struct Intake {
    source: Arc<str>,
    pipeline: Arc<Pipeline>,
    places: Arc<Places>,
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
            places: Places::new(&pipeline, max_in_flight),
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
        self.deliver_with(None, envelope, patience).await
    }

    /// Takes `count` permits before what they are for is asked for, all at once: ask for at most
    /// `max_in_flight`.
    pub async fn reserve(&self, count: usize) -> Vec<Reserved> {
        let mut permits = self.places.take(Needs::permits(count)).await;
        let one = |_| Reserved::new(permits.split_permits(1));
        (0..count).map(one).collect()
    }

    /// As [`deliver`](Self::deliver), with a permit that was taken before. Where the event's
    /// sinks have no share left it ends early, not delivered.
    pub async fn deliver_reserved(
        &self,
        permit: Reserved,
        envelope: &Envelope,
        patience: Patience,
    ) -> Ended {
        self.deliver_with(Some(permit), envelope, patience).await
    }

    async fn deliver_with(
        &self,
        reserved: Option<Reserved>,
        envelope: &Envelope,
        patience: Patience,
    ) -> Ended {
        let event_type = envelope.owned_topic_label("event_type");
        self.metrics.received(event_type.unwrap_or("other".into()));
        let arrival = self
            .memory()
            .arrive(envelope.id(), |earlier| match earlier {
                Some(earlier) => Delivery::resuming(earlier, patience),
                None => Delivery::new(self.pipeline.targets(envelope), patience)
                    .among(self.places.clone()),
            });
        match arrival {
            Arrival::Lead(flight) => self.lead(reserved, envelope, flight).await,
            Arrival::Join(flight) => {
                self.metrics.joined.inc();
                flight.delivery.extend(patience.deadline);
                let result = timeout_at(patience.deadline, flight.result.wait())
                    .await
                    .cloned();
                let timed_out = |_| Err(self.without_result(NoResult::JoinTimedOut));
                Ended {
                    joined: true,
                    ..Ended::new(result.unwrap_or_else(timed_out), self.in_flight(reserved))
                }
            }
            Arrival::Settled(outcome) => {
                self.metrics.resumed.inc();
                Ended::new(Ok(outcome), self.in_flight(reserved))
            }
        }
    }

    /// Writes a notification that cannot become an event to the dead letter.
    pub async fn dead_letter(&self, letter: &DeadLetter, deadline: Instant) -> Ended {
        let needs = Needs::dead_letter().and_permits(1);
        let Some(mut share) = self.before(deadline, self.places.take(needs)).await else {
            return Ended::new(Err(self.without_result(NoResult::Full)), None);
        };
        let permit = Reserved::new(share.split_permits(1));
        self.write(letter, deadline, permit).await
    }

    /// As [`dead_letter`](Self::dead_letter), with a permit that was taken before.
    pub async fn dead_letter_reserved(
        &self,
        permit: Reserved,
        letter: &DeadLetter,
        deadline: Instant,
    ) -> Ended {
        let soon = deadline.min(Instant::now() + SHARE_PATIENCE);
        let needs = Needs::dead_letter();
        let Some(_share) = self.before(soon, self.places.take(needs)).await else {
            return Ended::new(Err(self.without_result(NoResult::Full)), None);
        };
        self.write(letter, deadline, permit).await
    }

    async fn write(&self, letter: &DeadLetter, deadline: Instant, permit: Reserved) -> Ended {
        let permit = self.in_flight(Some(permit));
        let result = self.pipeline.dead_letter(letter, deadline).await;
        self.count(&result);
        Ended::new(result, permit)
    }

    /// The caller of this event was answered 200 in time, so that no copy of it will come.
    pub fn confirmed(&self, id: &str) {
        self.memory().confirmed(id);
    }

    async fn lead(
        &self,
        reserved: Option<Reserved>,
        envelope: &Envelope,
        flight: Arc<Flight>,
    ) -> Ended {
        let mut lead = Lead {
            intake: self,
            id: envelope.id(),
            flight: &flight,
        };
        let Some(permit) = self.admit(reserved, &flight.delivery).await else {
            return Ended::new(lead.end(Err(self.without_result(NoResult::Full))), None);
        };
        let result = self
            .pipeline
            .resume(envelope, &flight.delivery, &self.source)
            .await;
        self.count(&result);
        Ended::new(lead.end(result), Some(permit))
    }

    /// A share of each sink that is still open, or, where it goes nowhere, of the dead letter's;
    /// and a permit unless there is one. None: the deadline passed.
    async fn admit(&self, reserved: Option<Reserved>, delivery: &Delivery) -> Option<InFlight> {
        let shares = if delivery.targets.required.is_empty() {
            Needs::dead_letter()
        } else {
            Needs::sinks(delivery.open())
        };
        let needs = shares.and_permits(usize::from(reserved.is_none()));
        let mut taken = self.acquire(needs, reserved.is_some(), delivery).await?;
        let permit = reserved.unwrap_or_else(|| Reserved::new(taken.split_permits(1)));
        delivery.keep_shares(taken);
        self.in_flight(Some(permit))
    }

    /// All of it, before the delivery's deadline, wherever copies move that; soon, if a permit is
    /// held meanwhile.
    async fn acquire(
        &self,
        needs: Needs,
        holds_permit: bool,
        delivery: &Delivery,
    ) -> Option<Taken> {
        let soon = Instant::now() + SHARE_PATIENCE;
        loop {
            let deadline = delivery.deadline();
            let until = if holds_permit {
                deadline.min(soon)
            } else {
                deadline
            };
            match self.before(until, self.places.take(needs)).await {
                Some(taken) => return Some(taken),
                None if holds_permit || self.pipeline.is_cut() => return None,
                None if delivery.deadline() > deadline => {}
                None => return None,
            }
        }
    }

    /// None: the deadline passed, or the pipeline was cut.
    async fn before<T>(&self, deadline: Instant, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = timeout_at(deadline, wait) => done.ok(),
            () = self.pipeline.was_cut() => None,
        }
    }

    fn in_flight(&self, permit: Option<Reserved>) -> Option<InFlight> {
        permit.map(|permit| permit.in_flight(&self.metrics.in_flight))
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
