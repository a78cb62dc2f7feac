//! Whether a sink answers: known from what it was asked last, never from a guess.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A sink that was asked for an ack and has acked or refused nothing for so long is away.
///
/// A broker that works is never silent for that long while publishes are open: with 1,024 callers on
/// a busy machine none of the three was for 0.4 s (docs/performance.md, "Known to be away"). One that
/// is away would be waited for by every callback until `answer_within`, at least twice as long.
pub(crate) const AWAY_AFTER: Duration = Duration::from_secs(1);

/// What a sink was asked and answered last.
#[derive(Debug)]
pub(crate) struct Presence {
    began: Instant,
    /// Milliseconds after `began`, and one, of the first publish that nothing was heard since; 0:
    /// there is none.
    waiting: AtomicU64,
    returns: Arc<watch::Sender<u64>>,
}

impl Presence {
    /// Of a sink that has not been asked. `returns` counts whenever one that was away is back.
    pub(crate) fn new(returns: Arc<watch::Sender<u64>>) -> Self {
        Self {
            began: Instant::now(),
            waiting: AtomicU64::new(0),
            returns,
        }
    }

    /// A publish has started.
    pub(crate) fn asked(&self) {
        if self.waiting.load(Relaxed) == 0 {
            let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            // Another publish of this moment may have been first.
            self.waiting
                .compare_exchange(0, now + 1, Relaxed, Relaxed)
                .ok();
        }
    }

    /// The sink has acked or refused something: it is there.
    pub(crate) fn answered(&self) {
        if self.waiting.load(Relaxed) == 0 {
            return;
        }
        let since = self.waiting.swap(0, Relaxed);
        if self.is_long_ago(since) {
            self.returns.send_modify(|returns| *returns += 1);
        }
    }

    /// Whether it has not answered for [`AWAY_AFTER`].
    pub(crate) fn is_away(&self) -> bool {
        self.is_long_ago(self.waiting.load(Relaxed))
    }

    fn is_long_ago(&self, since: u64) -> bool {
        let elapsed = self.began.elapsed().as_millis();
        since != 0 && elapsed + 1 >= u128::from(since) + AWAY_AFTER.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn is_away_once_it_was_asked_and_said_nothing() {
        let returns = Arc::new(watch::Sender::new(0));
        let presence = Presence::new(returns.clone());
        advance(AWAY_AFTER * 10).await;
        assert!(!presence.is_away(), "nobody has asked");
        presence.asked();
        advance(AWAY_AFTER / 2).await;
        presence.asked();
        assert!(!presence.is_away());
        advance(AWAY_AFTER / 2).await;
        assert!(presence.is_away(), "the first publish counts");
        presence.answered();
        assert!(!presence.is_away() && *returns.borrow() == 1);
        presence.asked();
        presence.answered();
        presence.answered();
        advance(AWAY_AFTER * 10).await;
        assert!(!presence.is_away() && *returns.borrow() == 1);
    }
}
