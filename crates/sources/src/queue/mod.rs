//! Reliable callbacks (可靠回调): the cloud keeps a queue of events, which is pulled and confirmed.

mod config;

pub use config::QueueConfig;
