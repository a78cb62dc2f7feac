//! Which handles may be confirmed: a handle stands for every event that bears it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vodbridge_core::{Ended, Generations};

/// As long, and as many, as the redelivery memory keeps what was not delivered.
const LIFETIME: Duration = Duration::from_secs(600);
const CAPACITY: usize = 100_000;

/// What a handle is confirmed with: every event that bears it is durable.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) handle: Arc<str>,
    /// After it the confirm would be refused.
    pub(super) lease_end: Instant,
    /// When the pull was sent that brought the handle, first.
    pub(super) pulled: Instant,
    /// The events, whose permits are held until they are confirmed.
    pub(super) events: Vec<Settled>,
}

/// An event that is durable, under one handle.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) id: Arc<str>,
    lease_end: Instant,
    _ended: Ended,
}

/// The pull that brought an event, for the events of one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    /// When the pull was sent.
    pub(super) pulled: Instant,
    /// When the cloud shows the event to other pulls again, at the earliest.
    pub(super) end: Instant,
}

/// The handles of one source: in flight, and withheld for an event that was not delivered.
#[derive(Debug)]
pub(super) struct Handles {
    in_flight: HashMap<Arc<str>, InFlight>,
    /// The events that a handle waits for though none of its events is in flight.
    withheld: Generations<Arc<str>, HashSet<Arc<str>>>,
    /// The handles that wait for an event.
    waiting: Generations<Arc<str>, Vec<Arc<str>>>,
}

#[derive(Debug, Default)]
struct InFlight {
    /// Events that bear the handle, and whose deliveries have not ended.
    open: usize,
    pulled: Option<Instant>,
    settled: Vec<Settled>,
}

impl Handles {
    pub(super) fn new() -> Self {
        Self {
            in_flight: HashMap::new(),
            withheld: Generations::new(LIFETIME, CAPACITY),
            waiting: Generations::new(LIFETIME, CAPACITY),
        }
    }

    /// An event that bears the handle is in flight from now on. All events of an answer arrive
    /// before any of them can end.
    pub(super) fn arrive(&mut self, handle: &Arc<str>, lease: Lease) {
        let entry = self.in_flight.entry(handle.clone()).or_default();
        entry.open += 1;
        entry.pulled.get_or_insert(lease.pulled);
    }

    /// The delivery of an event that arrived under the handle has ended. Gives the receipt once
    /// every event of the handle is durable.
    pub(super) fn ended(
        &mut self,
        handle: &Arc<str>,
        id: &Arc<str>,
        lease: Lease,
        ended: Ended,
    ) -> Option<Receipt> {
        let is_durable = ended.result.is_ok();
        if is_durable {
            self.release(id);
        } else {
            self.withhold(handle, id);
        }
        if is_durable && let Some(entry) = self.in_flight.get_mut(handle) {
            entry.settled.push(Settled {
                id: id.clone(),
                lease_end: lease.end,
                _ended: ended,
            });
        }
        let InFlight {
            pulled, settled, ..
        } = self.close(handle)?;
        if !self.may_confirm(handle) {
            return None;
        }
        Some(Receipt {
            handle: handle.clone(),
            lease_end: lease_end(&settled)?,
            pulled: pulled.unwrap_or(lease.pulled),
            events: settled,
        })
    }

    /// An event that arrived under the handle is left to its lease, and nothing is known of it
    /// but its bytes: `event` names it. The handle is withheld as long as the memory lasts.
    pub(super) fn left(&mut self, handle: &Arc<str>, event: &Arc<str>) {
        self.withhold(handle, event);
        self.close(handle);
    }

    /// Whether the handle stands for nothing but durable events. Ask again right before the
    /// confirm: another event may have arrived under it since its receipt was given.
    pub(super) fn may_confirm(&mut self, handle: &str) -> bool {
        !self.in_flight.contains_key(handle) && self.withheld.get(handle).is_none()
    }

    /// One event of the handle has ended. Gives what the others left once none is open.
    fn close(&mut self, handle: &Arc<str>) -> Option<InFlight> {
        let entry = self.in_flight.get_mut(handle)?;
        entry.open = entry.open.saturating_sub(1);
        match entry.open {
            0 => self.in_flight.remove(handle),
            _ => None,
        }
    }

    /// An event with this id was not delivered: its handle waits until a copy of it is.
    fn withhold(&mut self, handle: &Arc<str>, id: &Arc<str>) {
        let mut ids = self.withheld.remove(handle).unwrap_or_default();
        ids.insert(id.clone());
        self.withheld.insert(handle.clone(), ids);
        let mut handles = self.waiting.remove(id).unwrap_or_default();
        // An event that is never delivered comes again and again, under a new handle each time.
        handles.retain(|of| self.withheld.get(of).is_some());
        if !handles.contains(handle) {
            handles.push(handle.clone());
        }
        self.waiting.insert(id.clone(), handles);
    }

    /// An event with this id is durable: no handle waits for it.
    fn release(&mut self, id: &Arc<str>) {
        for handle in self.waiting.remove(id).unwrap_or_default() {
            let Some(mut ids) = self.withheld.remove(&handle) else {
                continue;
            };
            ids.remove(id);
            if !ids.is_empty() {
                self.withheld.insert(handle, ids);
            }
        }
    }
}

/// The earliest end among the events, each taken at its latest pull: one that was pulled again
/// under the same handle is hidden again.
fn lease_end(settled: &[Settled]) -> Option<Instant> {
    let mut latest: HashMap<&str, Instant> = HashMap::new();
    for event in settled {
        let end = latest.entry(&event.id).or_insert(event.lease_end);
        *end = event.lease_end.max(*end);
    }
    latest.into_values().min()
}

#[cfg(test)]
mod tests;
