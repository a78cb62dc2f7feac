//! How many bytes of unreadable bodies an unverified caller can put into the dead letter.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes that may come at once; used up, they grow back within [`REFILL`].
const BYTES: f64 = (16 << 20) as f64;
const REFILL: Duration = Duration::from_secs(3600);

/// A bucket of bytes.
#[derive(Debug)]
pub(crate) struct Quota(Mutex<(f64, Instant)>);

impl Quota {
    pub(crate) fn new() -> Self {
        Self(Mutex::new((BYTES, Instant::now())))
    }

    /// Takes this many bytes, or none.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let grown = (now - bucket.1).as_secs_f64() / REFILL.as_secs_f64() * BYTES;
        let (left, bytes) = ((bucket.0 + grown).min(BYTES), bytes as f64);
        let enough = bytes <= left;
        *bucket = (if enough { left - bytes } else { left }, now);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_used_up_and_grows_back() {
        let quota = Quota::new();
        assert!(quota.take(15 << 20));
        assert!(!quota.take(2 << 20));
        assert!(quota.take(1 << 20));
        tokio::time::advance(REFILL / 2).await;
        assert!(quota.take(8 << 20));
        assert!(!quota.take(1 << 20));
    }
}
