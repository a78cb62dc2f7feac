//! What bounds the deliveries of a source: its permits, and the share of them that one sink may
//! hold.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Pipeline;

/// A permit of `max_in_flight` that was taken before what it is for is known.
#[derive(Debug)]
pub struct Reserved(OwnedSemaphorePermit);

impl Reserved {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(permit)
    }

    /// From now on it is for an event, and counted.
    pub(crate) fn in_flight(self, gauge: &Gauge) -> InFlight {
        gauge.inc();
        InFlight {
            gauge: gauge.clone(),
            _permit: self.0,
        }
    }
}

/// A permit of `max_in_flight` in use, counted.
#[derive(Debug)]
pub(crate) struct InFlight {
    gauge: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Where a source can reach several sinks, none may hold more than half of its permits with
/// deliveries that wait for it, so that one that is away does not stop the others.
pub(crate) struct Shares {
    pub(crate) sinks: Vec<(usize, Arc<Semaphore>)>,
    pub(crate) dead_letters: Arc<Semaphore>,
}

impl Shares {
    pub(crate) fn new(pipeline: &Pipeline, max_in_flight: usize) -> Self {
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

/// One permit of each. None is held while another is waited for: deliveries that wait for a sink
/// that is away would hold the places of those that do not.
pub(crate) async fn acquire_all(semaphores: &[&Arc<Semaphore>]) -> Vec<OwnedSemaphorePermit> {
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
