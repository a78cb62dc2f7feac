//! What the operator writes under `sources.<name>.webhook.spool`.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use vodbridge_core::config::{bytes, duration};
use vodbridge_store::StoreConfig;

/// Where events wait that no broker has acked within `answer_within`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// Where the files are. Made if missing; for this source alone.
    pub directory: PathBuf,
    /// What the records may take on the disk, which needs 64 MiB beyond it.
    #[serde(default = "default_max_bytes", with = "bytes")]
    pub max_bytes: u64,
    /// How long a record waits for its sinks; then it goes to the dead letter.
    #[serde(default = "default_max_age", with = "duration")]
    pub max_age: Duration,
    /// Says that a disk which is lost with the container, or memory, is good enough to answer by.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether a newer event follows an older one of the same partition key through the spool.
    #[serde(default = "yes")]
    pub keep_order: bool,
}

impl SpoolConfig {
    pub(crate) fn store(&self) -> StoreConfig {
        StoreConfig {
            directory: self.directory.clone(),
            max_bytes: self.max_bytes,
            max_age: self.max_age,
        }
    }
}

fn default_max_bytes() -> u64 {
    10 << 30
}

fn default_max_age() -> Duration {
    Duration::from_secs(7 * 24 * 60 * 60)
}

fn yes() -> bool {
    true
}
