//! What a source remembers of an event between the cloud's copies of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::Instant;

use crate::delivery::Delivery;
use crate::{NotDelivered, Outcome};

/// An entry is forgotten between half of this and all of it.
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
///
/// Two generations make the bounds: the older one is dropped whole when the newer has half the
/// capacity or half the lifetime.
#[derive(Debug)]
pub(crate) struct Memory {
    in_flight: HashMap<Arc<str>, Arc<Flight>>,
    recent: HashMap<Arc<str>, Arc<Flight>>,
    older: HashMap<Arc<str>, Arc<Flight>>,
    turned: Instant,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: HashMap::new(),
            recent: HashMap::new(),
            older: HashMap::new(),
            turned: Instant::now(),
        }
    }

    /// Looks an arriving event up. `delivery` makes its delivery, going on from an earlier one
    /// where there is one.
    pub(crate) fn arrive(
        &mut self,
        id: &str,
        delivery: impl FnOnce(Option<&Delivery>) -> Delivery,
    ) -> Arrival {
        self.turn();
        if let Some(flight) = self.in_flight.get(id) {
            return Arrival::Join(flight.clone());
        }
        let earlier = self.recent.get(id).or_else(|| self.older.get(id));
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

    /// A delivery has ended: it is remembered until it is confirmed or too old.
    pub(crate) fn end(&mut self, id: &str) {
        if let Some((id, flight)) = self.in_flight.remove_entry(id) {
            self.older.remove(&id);
            self.recent.insert(id, flight);
        }
    }

    /// The caller was answered in time, so that no copy will come.
    pub(crate) fn confirmed(&mut self, id: &str) {
        if self.recent.remove(id).is_none() && !self.older.is_empty() {
            self.older.remove(id);
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        if self.recent.len() >= CAPACITY / 2 || now - self.turned >= LIFETIME / 2 {
            self.older = std::mem::take(&mut self.recent);
            self.turned = now;
        }
    }
}
