//! The account's limits: so many calls a second of each kind, fewer when the cloud throttles.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use vodbridge_vod::api::Action;

/// Others may use the account too, so the rate creeps back: from nothing in so long.
const RECOVERY: Duration = Duration::from_secs(10);
/// Throttled answers to calls that were under way together count once.
const TOGETHER: Duration = Duration::from_secs(1);
/// Calls that came too late by so much are made up for, at once.
const BURST: Duration = Duration::from_millis(20);
/// A throttled account's pulls wait for so long, so that its confirms go first.
const CONFIRMS_FIRST: Duration = Duration::from_secs(1);

/// The limits of one account, shared by all that call with its credentials.
#[derive(Debug)]
pub struct Limiter {
    lanes: Mutex<HashMap<Action, Lane>>,
    /// Calls a second of PullEvents and of ConfirmEvents.
    rate: f64,
}

/// The account's calls are taken up for as long as the caller would wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

#[derive(Debug)]
struct Lane {
    most: f64,
    rate: f64,
    /// When the next call may go.
    next: Instant,
    /// When the rate was last changed.
    changed: Instant,
    throttled: Option<Instant>,
}

impl Limiter {
    /// At most this many pulls, and as many confirms, a second.
    pub fn new(calls_per_second: u32) -> Self {
        Self {
            lanes: Mutex::default(),
            rate: f64::from(calls_per_second.max(1)),
        }
    }

    /// Resolves when a call may be made. One that could not go by `latest` is refused at once and
    /// takes no place: whoever gives up early would only keep others from going.
    pub(super) async fn acquire(&self, action: Action, latest: Instant) -> Result<(), NoRoom> {
        let at = {
            let mut lanes = self.lanes();
            let lane = self.lane(&mut lanes, action);
            lane.recover();
            let now = Instant::now();
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            let at = lane.next.max(earliest);
            if at > latest {
                return Err(NoRoom);
            }
            lane.next = at + Duration::from_secs_f64(1.0 / lane.rate);
            at
        };
        sleep_until(at).await;
        Ok(())
    }

    /// The cloud refused a call because there were too many.
    pub(super) fn throttled(&self, action: Action) {
        let mut lanes = self.lanes();
        let now = Instant::now();
        self.lane(&mut lanes, action).throttled();
        let pulls = self.lane(&mut lanes, Action::PullEvents);
        pulls.next = pulls.next.max(now + CONFIRMS_FIRST);
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Action, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane<'a>(&self, lanes: &'a mut HashMap<Action, Lane>, action: Action) -> &'a mut Lane {
        lanes.entry(action).or_insert_with(|| {
            let most = match action {
                Action::PullEvents | Action::ConfirmEvents => self.rate,
                _ => f64::from(action.default_rate()),
            };
            let now = Instant::now();
            Lane {
                most,
                rate: most,
                next: now,
                changed: now,
                throttled: None,
            }
        })
    }
}

impl Lane {
    fn recover(&mut self) {
        let now = Instant::now();
        let share = (now - self.changed).as_secs_f64() / RECOVERY.as_secs_f64();
        self.rate = (self.rate + self.most * share).min(self.most);
        self.changed = now;
    }

    fn throttled(&mut self) {
        self.recover();
        let now = Instant::now();
        if self.throttled.is_some_and(|last| now - last < TOGETHER) {
            return;
        }
        self.throttled = Some(now);
        self.rate = (self.rate / 2.0).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn calls(limiter: &Limiter, action: Action, within: Duration) -> u32 {
        let end = Instant::now() + within;
        let mut calls = 0;
        while limiter.acquire(action, end).await.is_ok() {
            calls += 1;
        }
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_to_the_rate_of_each_call() {
        let limiter = Limiter::new(100);
        let ten = Duration::from_secs(10);
        let (pulls, confirms, states) = tokio::join!(
            calls(&limiter, Action::PullEvents, ten),
            calls(&limiter, Action::ConfirmEvents, ten),
            calls(&limiter, Action::DescribeEventsState, ten),
        );
        assert!((999..=1_011).contains(&pulls), "{pulls}");
        assert!((999..=1_011).contains(&confirms), "{confirms}");
        assert!((199..=203).contains(&states), "{states}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_account_slows_down_confirms_first_and_recovers() {
        let limiter = Limiter::new(100);
        let first = limiter.acquire(Action::ConfirmEvents, Instant::now()).await;
        assert_eq!(first, Ok(()));
        (0..5).for_each(|_| limiter.throttled(Action::ConfirmEvents));
        let while_first = CONFIRMS_FIRST - Duration::from_millis(1);
        let (pulls, confirms) = tokio::join!(
            calls(&limiter, Action::PullEvents, while_first),
            calls(&limiter, Action::ConfirmEvents, while_first),
        );
        assert_eq!(pulls, 0);
        assert!((45..70).contains(&confirms), "{confirms}");
        tokio::time::advance(RECOVERY).await;
        let pulls = calls(&limiter, Action::PullEvents, Duration::from_secs(1)).await;
        assert!((99..=111).contains(&pulls), "{pulls}");
    }
    #[tokio::test(start_paused = true)]
    async fn who_cannot_wait_takes_no_place() {
        let limiter = Limiter::new(1);
        let soon = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!(limiter.acquire(Action::PullEvents, soon(0)).await, Ok(()));
        for _ in 0..100 {
            let refused = limiter.acquire(Action::PullEvents, soon(0)).await;
            assert_eq!(refused, Err(NoRoom));
        }
        assert_eq!(limiter.acquire(Action::PullEvents, soon(1)).await, Ok(()));
    }
}
