//! Reliable callbacks (可靠回调): the cloud keeps a queue of events, which is pulled and confirmed.
//!
//! Pullers take permits, pull, and start a delivery for each event; what the deliveries leave
//! behind are receipts, which the confirmer hands back within the lease. Nothing else is kept:
//! what is not confirmed comes again.

mod backlog;
mod backoff;
mod config;
mod confirmer;
mod event;
mod gate;
mod handles;
mod metrics;
mod source;
mod status;

pub use config::QueueConfig;
pub use metrics::{QueueMetrics, QueueSourceMetrics};
pub use source::Queue;
