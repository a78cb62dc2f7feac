//! Pauses between calls that fail.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// Exponential, with full jitter: 0 to 200 ms, 0 to 400 ms, … 0 to 30 s.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure.
    pub(super) fn next(&mut self) -> Duration {
        let most = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        most.mul_f64(fastrand::f64())
    }

    /// A call succeeded.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}
