//! Events that no broker has acked in time: kept on the local disk, and delivered from there.
//!
//! [`Spool`] is what a webhook answers by, [`SpoolSource`] delivers what it holds.

mod config;
mod keeping;
mod metrics;
mod queue;
mod record;
mod source;

pub use config::SpoolConfig;
pub use keeping::Spool;
pub(crate) use keeping::{Keep, Kept};
pub use metrics::SpoolMetrics;
pub use source::{SpoolSource, WINDOW};
