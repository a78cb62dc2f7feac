//! How events end, told to whoever watches.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::ledger::LedgerEntry;

/// An event that came to its end: confirmed, refused, or lost.
#[derive(Debug, Clone)]
pub struct Ending {
    /// What is known of it by now.
    pub entry: LedgerEntry,
    /// From the pull that its handle was given out by, or from its first post.
    pub after: Duration,
    /// What its callback was answered with: the body, or the beginning of a long one. Empty for
    /// an event that was pulled or is lost.
    pub answer: Bytes,
}

/// Is told of each ending, one at a time within an application, before who confirmed is answered
/// and before [`Queue::finished`](super::Queue::finished) is over. It must not block.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Ending) + Send + Sync>);

impl Observer {
    /// Calls `told` with each ending.
    pub fn new(told: impl Fn(Ending) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    pub(super) fn tell(&self, ending: Ending) {
        (self.0)(ending);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}
