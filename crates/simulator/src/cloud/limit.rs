//! Calls a second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Counts the calls of each window of one second. How the cloud counts is not documented.
#[derive(Debug)]
pub(super) struct Limit {
    window: Duration,
    calls: Mutex<(Instant, u32)>,
}

impl Limit {
    /// `second`: how long a second of the cloud takes.
    pub(super) fn new(second: Duration) -> Self {
        Self {
            window: second,
            calls: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Whether one more call is within `limit` a second; 0: always.
    pub(super) fn admits(&self, limit: u32, now: Instant) -> bool {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = &mut *calls;
        let passed = now.saturating_duration_since(*since);
        if passed >= self.window {
            // The windows follow each other; an idle time does not shift them.
            let windows = passed.as_nanos() / self.window.as_nanos().max(1);
            *since += self.window * u32::try_from(windows).unwrap_or(u32::MAX);
            *count = 0;
        }
        if limit > 0 && *count >= limit {
            return false;
        }
        *count = count.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_in_each_second() {
        let limit = Limit::new(Duration::from_millis(500));
        let now = Instant::now();
        let admitted = |at: u64| {
            let at = now + Duration::from_millis(at);
            (0..9).filter(|_| limit.admits(5, at)).count()
        };
        assert_eq!([0, 499, 500, 9_990, 10_000].map(admitted), [5, 0, 5, 5, 5]);
        assert!((0..1_000).all(|_| limit.admits(0, now)));
    }
}
