//! Which bodies the broker may refuse for their size.
//!
//! `max_message_size` cannot be asked for, and a broker that refuses a body closes the channel
//! with all that is open on it. So whatever may be too large travels on a connection of its own,
//! and the limit that a refusal names is remembered.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Larger bodies may be too large for a broker of which nothing is known.
const LARGE: usize = 128 * 1024;
/// For how long a limit is believed: it may have been raised.
const BELIEVED: Duration = Duration::from_secs(60);

/// The broker's `max_message_size`, once it has named it.
#[derive(Debug, Default)]
pub(crate) struct SizeLimit(Mutex<Option<Named>>);

#[derive(Debug, Clone, Copy)]
struct Named {
    limit: usize,
    at: Instant,
}

impl SizeLimit {
    pub(crate) fn learn(&self, limit: usize, now: Instant) {
        let named = Named { limit, at: now };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(named);
    }

    /// The limit that a body of `bytes` exceeds, as far as it is believed.
    pub(crate) fn exceeded(&self, bytes: usize, now: Instant) -> Option<usize> {
        self.named()
            .filter(|named| bytes > named.limit && now.duration_since(named.at) < BELIEVED)
            .map(|named| named.limit)
    }

    /// Whether the broker may refuse a body of `bytes`. A limit is never forgotten here.
    pub(crate) fn is_doubtful(&self, bytes: usize) -> bool {
        bytes > self.named().map_or(LARGE, |named| named.limit.min(LARGE))
    }

    fn named(&self) -> Option<Named> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_are_doubtful_whatever_is_known() {
        let size = SizeLimit::default();
        assert!(!size.is_doubtful(LARGE) && size.is_doubtful(LARGE + 1));
        size.learn(1_000_000, Instant::now());
        assert!(!size.is_doubtful(LARGE) && size.is_doubtful(LARGE + 1));
        size.learn(1000, Instant::now());
        assert!(!size.is_doubtful(1000) && size.is_doubtful(1001));
    }

    #[test]
    fn a_limit_is_believed_for_a_minute_and_then_tried_again() {
        let (size, now) = (SizeLimit::default(), Instant::now());
        assert_eq!(size.exceeded(usize::MAX, now), None);
        size.learn(1000, now);
        assert_eq!(size.exceeded(1000, now), None);
        assert_eq!(size.exceeded(1001, now), Some(1000));
        let later = now + BELIEVED;
        assert_eq!(size.exceeded(1001, later), None);
        assert!(size.is_doubtful(1001));
        size.learn(2000, later);
        assert_eq!(size.exceeded(1001, later), None);
        assert_eq!(size.exceeded(2001, later), Some(2000));
    }
}
