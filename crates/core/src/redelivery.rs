//! What a source remembers of an event between the cloud's copies of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;

use crate::delivery::Delivery;
use crate::{Generations, NotDelivered, Outcome};

/// How long an ended delivery is remembered at most.
const LIFETIME: Duration = Duration::from_secs(600);
/// Entries kept at most.
const CAPACITY: usize = 100_000;

/// A delivery, and its result once it has ended.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) delivery: Delivery,
    pub(crate) result: SetOnce<Result<Outcome, NotDelivered>>,
}

/// What a newly received event is.
pub(crate) enum Arrival {
    /// The first of its id, or one whose earlier deliveries left sinks open: deliver it.
    Lead(Arc<Flight>),
    /// A copy of one that is in flight: wait for its result.
    Join(Arc<Flight>),
    /// A copy of one that has been delivered, and whose caller did not hear of it in time.
    Settled(Outcome),
}

/// The deliveries of one source: in flight, and ended without a confirm in time.
#[derive(Debug)]
pub(crate) struct Memory {
    in_flight: HashMap<Arc<str>, Arc<Flight>>,
    ended: Generations<Arc<str>, Arc<Flight>>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: HashMap::new(),
            ended: Generations::new(LIFETIME, CAPACITY),
        }
    }

    /// Looks an arriving event up. `delivery` makes its delivery, going on from an earlier one
    /// where there is one.
    pub(crate) fn arrive(
        &mut self,
        id: &str,
        delivery: impl FnOnce(Option<&Delivery>) -> Delivery,
    ) -> Arrival {
        if let Some(flight) = self.in_flight.get(id) {
            return Arrival::Join(flight.clone());
        }
        let earlier = self.ended.get(id);
        if let Some(Some(Ok(outcome))) = earlier.map(|flight| flight.result.get()) {
            return Arrival::Settled(*outcome);
        }
        let delivery = delivery(earlier.map(|flight| &flight.delivery));
        let flight = Arc::new(Flight {
            delivery,
            result: SetOnce::new(),
        });
        self.in_flight.insert(id.into(), flight.clone());
        Arrival::Lead(flight)
    }

    pub(crate) fn is_under_way(&mut self, id: &str) -> bool {
        let delivered = |flight: &Arc<Flight>| matches!(flight.result.get(), Some(Ok(_)));
        self.in_flight.contains_key(id) || self.ended.get(id).is_some_and(delivered)
    }

    pub(crate) fn has_begun(&self, id: &str) -> bool {
        let flight = self.in_flight.get(id);
        flight.is_some_and(|flight| flight.delivery.has_begun())
    }

    /// A delivery has ended: it is remembered until it is confirmed or too old.
    pub(crate) fn end(&mut self, id: &str) {
        if let Some((id, flight)) = self.in_flight.remove_entry(id) {
            self.ended.insert(id, flight);
        }
    }

    /// The caller was answered in time, so that no copy will come. What was kept elsewhere, to be
    /// delivered later, is remembered for the sinks that have settled it already.
    pub(crate) fn confirmed(&mut self, id: &str) {
        let Some((id, flight)) = self.ended.remove_entry(id) else {
            return;
        };
        let is_open = matches!(flight.result.get(), Some(Err(_)));
        if is_open && !flight.delivery.settled().is_empty() {
            self.ended.insert(id, flight);
        }
    }
}
