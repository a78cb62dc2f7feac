//! What the broker says to the publishes of a session, as far as the sink's health goes.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longer than whoever was refused waits before the next attempt.
const LATELY: Duration = Duration::from_secs(3);

/// Of one session.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    acked: AtomicBool,
    refused: Mutex<Option<Instant>>,
}

impl Verdicts {
    pub(crate) fn acked(&self) {
        self.acked.store(true, Relaxed);
    }

    /// A nack.
    pub(crate) fn refused(&self, at: Instant) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }

    /// Whether any publish was acked.
    pub(crate) fn has_acked(&self) -> bool {
        self.acked.load(Relaxed)
    }

    /// Whether a publish was refused a short while ago.
    pub(crate) fn refuses(&self) -> bool {
        let refused = *self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_some_and(|at| at.elapsed() < LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_forgotten_after_a_while() {
        let verdicts = Verdicts::default();
        assert!(!verdicts.refuses());
        let now = Instant::now();
        verdicts.refused(now);
        assert!(verdicts.refuses() && !verdicts.has_acked());
        verdicts.refused(now.checked_sub(LATELY).unwrap());
        assert!(!verdicts.refuses());
    }
}
