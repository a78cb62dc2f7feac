//! The cloud's rule for callbacks: only a time-out earns another attempt.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use vodbridge_core::BoxError;

/// How long the cloud waits for an answer and how often it sends.
///
/// The default is what the vendor's archived page on task management and event notification
/// says: 5 s, two more attempts after a time-out, and status and body of the answer ignored.
/// That a refused or broken connection ends it at once is not written there; it follows from
/// "only a time-out".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// From the start of an attempt, connecting included, to the end of its answer.
    pub timeout: Duration,
    /// Attempts in all.
    pub attempts: u32,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            attempts: 3,
        }
    }
}

/// How the posting of one notification ended, as the cloud sees it.
#[derive(Debug)]
pub enum Posting {
    /// Somebody answered in time, so the cloud holds the notification for received.
    Answered {
        /// The attempt that was answered, from 1.
        attempt: u32,
        /// The HTTP status. The cloud ignores it.
        status: u16,
        /// What the answer said, or the beginning of it. The cloud ignores that too.
        body: Bytes,
        /// From the start of that attempt.
        elapsed: Duration,
    },
    /// The cloud has given up: in its eyes the notification is gone.
    Lost {
        /// Attempts made.
        attempts: u32,
        /// Why there was no further one.
        reason: Loss,
    },
}

/// Why a notification was lost.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// No attempt was answered in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection was refused or broke before an answer.
    #[error("no connection, or it broke before the answer")]
    Connection(#[source] BoxError),
}

impl Rule {
    /// Makes attempts until one is answered, fails, or none is left.
    pub(crate) async fn apply<F>(&self, mut attempt: impl FnMut() -> F) -> Posting
    where
        F: Future<Output = Result<(u16, Bytes), BoxError>>,
    {
        for number in 1..=self.attempts {
            let start = Instant::now();
            match timeout(self.timeout, attempt()).await {
                Ok(Ok((status, body))) => {
                    return Posting::Answered {
                        attempt: number,
                        status,
                        body,
                        elapsed: start.elapsed(),
                    };
                }
                Ok(Err(error)) => {
                    return Posting::Lost {
                        attempts: number,
                        reason: Loss::Connection(error),
                    };
                }
                Err(_elapsed) => {}
            }
        }
        Posting::Lost {
            attempts: self.attempts,
            reason: Loss::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::sleep;

    use super::*;

    /// Applies the cloud's rule to attempts that take so many milliseconds each.
    async fn answers_after(millis: &[u64]) -> (Posting, usize) {
        let made = Cell::new(0);
        let attempt = || {
            let wait = Duration::from_millis(millis[made.get()]);
            made.set(made.get() + 1);
            async move {
                sleep(wait).await;
                Ok((503, Bytes::new()))
            }
        };
        (Rule::default().apply(attempt).await, made.get())
    }

    #[tokio::test(start_paused = true)]
    async fn any_status_ends_it() {
        let (posting, made) = answers_after(&[4_999]).await;
        assert_eq!(made, 1);
        assert!(
            matches!(posting, Posting::Answered { attempt: 1, status: 503, elapsed, .. }
                if elapsed == Duration::from_millis(4_999)),
            "{posting:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_out_earns_another_attempt() {
        let (posting, made) = answers_after(&[5_001, 6_000, 10]).await;
        assert_eq!(made, 3);
        assert!(
            matches!(posting, Posting::Answered { attempt: 3, elapsed, .. }
                if elapsed == Duration::from_millis(10)),
            "{posting:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_three_it_is_lost() {
        let start = Instant::now();
        let (posting, made) = answers_after(&[60_000; 4]).await;
        assert_eq!((made, start.elapsed()), (3, Duration::from_secs(15)));
        assert!(
            matches!(
                posting,
                Posting::Lost {
                    attempts: 3,
                    reason: Loss::TimedOut
                }
            ),
            "{posting:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_connection_earns_none() {
        let posting = Rule::default()
            .apply(|| async { Err("connection refused".into()) })
            .await;
        assert!(
            matches!(
                posting,
                Posting::Lost {
                    attempts: 1,
                    reason: Loss::Connection(_)
                }
            ),
            "{posting:?}"
        );
    }
}
