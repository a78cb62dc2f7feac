//! The invariants that need the whole: each test has the name that its invariant has in
//! ARCHITECTURE.md.

mod acks;
mod confirmed;
mod forgotten;
mod permits;
mod said;
mod secrets;

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::{Instant, sleep};

/// For what is to happen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Long enough for what must not happen.
const MOMENT: Duration = Duration::from_secs(2);

/// Resolves once `holds` says so.
async fn until(what: &str, holds: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        ensure!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
