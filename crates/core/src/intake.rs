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
    DEAD_LETTER_TYPE, DeadLetter, Envelope, NotDelivered, Outcome, Patience, Pipeline,
    PublishError, SinkSet, SourceMetrics,
};

/// How long a delivery that holds a reserved permit waits for its share of a sink: the events of
/// other sinks may need the permit, and the cloud keeps this one.
const SHARE_PATIENCE: Duration = Duration::from_secs(1);

/// One source's way into the pipeline.
pub struct Intake {
    source: Arc<str>,
    pub(crate) pipeline: Arc<Pipeline>,
    places: Arc<Places>,
    memory: Arc<Mutex<Memory>>,
    metrics: SourceMetrics,
    /// Its events came by another intake before, and were counted there.
    again: bool,
}

/// How a delivery ended. Holds its in-flight permit until its caller has been answered.
#[derive(Debug)]
pub struct Ended {
    /// The outcome, or why there is none.
    pub result: Result<Outcome, NotDelivered>,
    /// Whether it was another copy's delivery, so that what follows of it is that copy's affair.
    pub joined: bool,
    /// Where it was not delivered: the sinks that have it nevertheless, by name.
    pub settled: Vec<String>,
    _permit: Option<InFlight>,
}

impl Ended {
    fn new(result: Result<Outcome, NotDelivered>, permit: Option<InFlight>) -> Self {
        Self {
            result,
            joined: false,
            settled: Vec::new(),
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
            memory: Arc::new(Mutex::new(Memory::new())),
            metrics,
            pipeline,
            again: false,
        }
    }

    /// A second way in for events of the same source that have come before, with permits of its
    /// own: copies join across both, and no sink that has acked an event gets it again.
    pub fn beside(&self, max_in_flight: usize, metrics: SourceMetrics) -> Self {
        let (source, pipeline) = (&self.source, self.pipeline.clone());
        Self {
            memory: self.memory.clone(),
            again: true,
            ..Self::new(source, pipeline, max_in_flight, metrics)
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
        self.deliver_with(None, envelope, &[], patience).await
    }

    /// As [`deliver`](Self::deliver), for an event or a dead letter that is encoded already; the
    /// sinks named in `settled` have the event.
    pub async fn deliver_any(
        &self,
        envelope: &Envelope,
        settled: &[String],
        patience: Patience,
    ) -> Ended {
        match envelope.ty() {
            DEAD_LETTER_TYPE => self.dead_letter_encoded(envelope, patience.deadline).await,
            _ => self.deliver_with(None, envelope, settled, patience).await,
        }
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
        self.deliver_with(Some(permit), envelope, &[], patience)
            .await
    }

    async fn deliver_with(
        &self,
        reserved: Option<Reserved>,
        envelope: &Envelope,
        settled: &[String],
        patience: Patience,
    ) -> Ended {
        if !self.again {
            self.metrics.received(envelope);
        }
        let arrival = self.memory().arrive(envelope.id(), |earlier| {
            let delivery = match earlier {
                Some(earlier) => Delivery::resuming(earlier, patience),
                None => Delivery::new(self.pipeline.targets(envelope), patience)
                    .among(self.places.clone()),
            };
            let passed_by = match patience.passes_by {
                true => self.pipeline.away(delivery.targets.required),
                false => SinkSet::default(),
            };
            delivery.without(self.pipeline.named(settled), passed_by)
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
                let result = result.unwrap_or_else(timed_out);
                Ended {
                    joined: true,
                    settled: self.settled(&result, &flight),
                    ..Ended::new(result, self.in_flight(reserved))
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
        self.dead_letter_encoded(&letter.encode(), deadline).await
    }

    /// As [`dead_letter`](Self::dead_letter), for one that is encoded already.
    pub async fn dead_letter_encoded(&self, letter: &Envelope, deadline: Instant) -> Ended {
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
        self.write(&letter.encode(), deadline, permit).await
    }

    async fn write(&self, letter: &Envelope, deadline: Instant, permit: Reserved) -> Ended {
        let permit = self.in_flight(Some(permit));
        let written = self.pipeline.write_letter(letter, &self.source, deadline);
        let result = written.await;
        self.count(&result);
        Ended::new(result, permit)
    }

    /// Whether a copy of this event is in flight, or was delivered and its caller may not know.
    pub fn is_under_way(&self, id: &str) -> bool {
        self.memory().is_under_way(id)
    }

    /// Whether a delivery of this event in flight has its permits: something may be published.
    pub fn has_begun(&self, id: &str) -> bool {
        self.memory().has_begun(id)
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
        flight.delivery.begin();
        let result = self
            .pipeline
            .resume(envelope, &flight.delivery, &self.source)
            .await;
        self.count(&result);
        Ended {
            settled: self.settled(&result, &flight),
            ..Ended::new(lead.end(result), Some(permit))
        }
    }

    fn settled(&self, result: &Result<Outcome, NotDelivered>, flight: &Flight) -> Vec<String> {
        match result {
            Ok(_) => Vec::new(),
            Err(_) => self.pipeline.names(flight.delivery.settled()),
        }
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
