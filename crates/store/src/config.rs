//! Where records are kept, how many and for how long.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Where the files are. Made if missing; one process at a time.
    pub directory: PathBuf,
    /// What the records may take on the disk. The file system needs 64 MiB beyond it, for the log
    /// of the store and its reserve, and twice the largest record.
    pub max_bytes: u64,
    /// How long a record waits for its sinks; then it is [`expired`](crate::Store::expired).
    pub max_age: Duration,
}
