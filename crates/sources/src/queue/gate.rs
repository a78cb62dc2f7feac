//! Whether to pull: a source whose events no sink takes goes on asking, but slowly.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// So many deliveries in a row that were not delivered, and pulling slows down.
const PATIENT: u32 = 64;

/// Lets pulls pass: freely, or one each lease while no sink takes what they bring.
#[derive(Debug)]
pub(super) struct Gate {
    pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    not_delivered: u32,
    /// When the next pull may pass, once pulling is slow.
    next: Instant,
}

impl Gate {
    /// Open; once slow, one pull in `pause`.
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            pause,
            state: Mutex::new(State {
                not_delivered: 0,
                next: Instant::now(),
            }),
        }
    }

    /// Resolves when a pull may be sent.
    pub(super) async fn pass(&self) {
        loop {
            let next = {
                let mut state = self.lock();
                let now = Instant::now();
                if state.not_delivered < PATIENT {
                    return;
                }
                if now >= state.next {
                    state.next = now + self.pause;
                    return;
                }
                state.next.min(now + RECHECK)
            };
            sleep_until(next).await;
        }
    }

    /// A delivery has ended. True where that made pulling slow, or ended it.
    pub(super) fn ended(&self, delivered: bool) -> bool {
        let mut state = self.lock();
        let was_slow = state.not_delivered >= PATIENT;
        if delivered {
            state.not_delivered = 0;
        } else {
            state.not_delivered = state.not_delivered.saturating_add(1);
            if !was_slow && state.not_delivered >= PATIENT {
                state.next = Instant::now() + self.pause;
            }
        }
        was_slow != (state.not_delivered >= PATIENT)
    }

    /// Whether one batch a lease is pulled.
    pub(super) fn is_slow(&self) -> bool {
        self.lock().not_delivered >= PATIENT
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How soon those that wait notice that the gate is open again.
const RECHECK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_64_failures_one_pull_a_lease_passes_until_a_delivery() {
        let gate = Gate::new(Duration::from_secs(30));
        assert!((0..63).all(|_| !gate.ended(false)));
        gate.pass().await;
        assert!(gate.ended(false) && gate.is_slow());
        for _ in 0..3 {
            let began = Instant::now();
            gate.pass().await;
            assert_eq!(began.elapsed(), Duration::from_secs(30));
            assert!(!gate.ended(false));
        }
        assert!(gate.ended(true) && !gate.is_slow());
        let began = Instant::now();
        gate.pass().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
