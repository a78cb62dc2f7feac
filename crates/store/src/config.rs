//! What the operator writes under `sources.<name>.webhook.spool`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use vodbridge_core::config::{bytes, duration};

/// Where records are kept, how many and for how long.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Where the files are. Made if missing; one process at a time.
    pub directory: PathBuf,
    /// What the records may take on the disk. The file system needs 64 MiB beyond it, for the log
    /// of the store and its reserve, and twice the largest record.
    #[serde(default = "default_max_bytes", with = "bytes")]
    pub max_bytes: u64,
    /// How long a record waits for its sinks; then it is [`expired`](crate::Store::expired).
    #[serde(default = "default_max_age", with = "duration")]
    pub max_age: Duration,
    /// Says that a disk which is lost with the container, or memory, is good enough to answer by.
    /// The store does not look: whoever opens it does.
    #[serde(default)]
    pub ephemeral: bool,
}

fn default_max_bytes() -> u64 {
    10 * 1024 * 1024 * 1024
}

fn default_max_age() -> Duration {
    Duration::from_secs(7 * 24 * 60 * 60)
}
