//! A burst of failures is one line in the log, and a count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one line through in a while and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    pause: Duration,
    last: Mutex<Option<Instant>>,
    held_back: AtomicU64,
}

impl LogLimit {
    /// At most one line in each `pause`.
    pub const fn new(pause: Duration) -> Self {
        Self {
            pause,
            last: Mutex::new(None),
            held_back: AtomicU64::new(0),
        }
    }

    /// Some: write the line, and say how many were held back since the last one.
    pub fn allows(&self) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.is_some_and(|last| now - last < self.pause) {
            self.held_back.fetch_add(1, Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.held_back.swap(0, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn counts_what_it_holds_back() {
        let limit = LogLimit::new(Duration::from_secs(1));
        assert_eq!(
            (limit.allows(), limit.allows(), limit.allows()),
            (Some(0), None, None)
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((limit.allows(), limit.allows()), (Some(2), None));
    }
}
