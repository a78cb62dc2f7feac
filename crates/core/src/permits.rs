//! The permits of a source, taken and in use.

use prometheus_client::metrics::gauge::Gauge;

use crate::places::Taken;

/// A permit of `max_in_flight` that was taken before what it is for is known.
#[derive(Debug)]
pub struct Reserved(Taken);

impl Reserved {
    pub(crate) fn new(permit: Taken) -> Self {
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
    _permit: Taken,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}
