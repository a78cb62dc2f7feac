//! Tells a copy of a repeatable notification from a second, genuine one with the same bytes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use vodbridge_core::Generations;

use super::caller::Caller;

/// The cloud sends a notification at most this often.
const SENDS: usize = 3;
/// Its sends lie within this of the first.
const SPAN: Duration = Duration::from_secs(60);
/// Occurrences kept at most.
const CAPACITY: usize = 100_000;

/// The occurrences of one source's repeatable notifications.
#[derive(Debug)]
pub(crate) struct Occurrences(Mutex<State>);

#[derive(Debug)]
struct State {
    by_fingerprint: Generations<[u8; 32], Occurrence>,
    /// Nanoseconds of the newest occurrence: no two share one.
    newest: u128,
}

#[derive(Debug)]
struct Occurrence {
    first: Instant,
    name: Arc<str>,
    callers: Vec<Arc<Caller>>,
}

impl Occurrence {
    /// Whether the cloud would send this occurrence again by now.
    fn expects_a_copy(&self) -> bool {
        self.first.elapsed() <= SPAN
            && self.callers.len() < SENDS
            && self
                .callers
                .last()
                .is_some_and(|caller| caller.was_left_unanswered())
            && !self
                .callers
                .iter()
                .any(|caller| caller.was_answered_in_time())
    }
}

impl Occurrences {
    pub(crate) fn new() -> Self {
        // An entry lives for at least half of the lifetime.
        let by_fingerprint = Generations::new(2 * SPAN, CAPACITY);
        Self(Mutex::new(State {
            by_fingerprint,
            newest: 0,
        }))
    }

    /// What distinguishes this notification from others of the same content: the time of its
    /// first receipt, which a copy shares.
    pub(crate) fn enter(&self, fingerprint: [u8; 32], caller: &Arc<Caller>) -> Arc<str> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = state
            .by_fingerprint
            .remove(&fingerprint)
            .filter(Occurrence::expects_a_copy);
        let mut occurrence = earlier.unwrap_or_else(|| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos();
            state.newest = now.max(state.newest + 1);
            Occurrence {
                first: Instant::now(),
                name: state.newest.to_string().into(),
                callers: Vec::new(),
            }
        });
        occurrence.callers.push(caller.clone());
        let name = occurrence.name.clone();
        state.by_fingerprint.insert(fingerprint, occurrence);
        name
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SAME: [u8; 32] = [7; 32];

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn arrive(occurrences: &Occurrences) -> (Arc<Caller>, Arc<str>) {
        let caller = Arc::new(Caller::new(Instant::now(), None));
        let name = occurrences.enter(SAME, &caller);
        (caller, name)
    }

    #[tokio::test(start_paused = true)]
    async fn three_sends_of_one_are_one_and_a_fourth_is_another() {
        let occurrences = Occurrences::new();
        let (_, first) = arrive(&occurrences);
        for expected in [true, true, false] {
            advance(seconds(5)).await;
            assert_eq!(arrive(&occurrences).1 == first, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn two_genuine_ones_are_two() {
        let occurrences = Occurrences::new();
        // The first one's caller still waits, and is young.
        let (first, one) = arrive(&occurrences);
        let (_, two) = arrive(&occurrences);
        assert_ne!(one, two);
        // It was answered in time.
        first.answered();
        assert_ne!(arrive(&occurrences).1, one);
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_answer_in_time_nothing_is_a_copy() {
        let occurrences = Occurrences::new();
        let (_, one) = arrive(&occurrences);
        advance(seconds(5)).await;
        let (copy, same) = arrive(&occurrences);
        assert_eq!(one, same);
        copy.answered();
        advance(seconds(5)).await;
        assert_ne!(arrive(&occurrences).1, one);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_hung_up_sends_again() {
        let occurrences = Occurrences::new();
        let (caller, one) = arrive(&occurrences);
        drop(super::super::caller::Waiting(&caller));
        assert_eq!(arrive(&occurrences).1, one);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_left_too_late_does_not_count() {
        let occurrences = Occurrences::new();
        let (caller, one) = arrive(&occurrences);
        advance(seconds(5)).await;
        assert!(!caller.answered());
        assert_eq!(arrive(&occurrences).1, one);
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_later_it_is_another() {
        let occurrences = Occurrences::new();
        let (_, one) = arrive(&occurrences);
        advance(seconds(61)).await;
        assert_ne!(arrive(&occurrences).1, one);
    }
}
