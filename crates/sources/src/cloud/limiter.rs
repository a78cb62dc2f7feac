//! The account's limits: so many calls a second of each kind, fewer when the cloud throttles.

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
    /// Of each action.
    lanes: [Lane; Action::ALL.len()],
}

#[derive(Debug)]
struct Lane {
    /// Whose turn is next: first come, first served, so that sources that call all the time keep
    /// no other from calling. Who stops waiting leaves no gap.
    line: tokio::sync::Mutex<()>,
    pace: Mutex<Pace>,
}

#[derive(Debug)]
struct Pace {
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
        let lane = |action: Action| {
            let most = match action {
                Action::PullEvents | Action::ConfirmEvents => calls_per_second.max(1),
                _ => action.default_rate(),
            };
            Lane::new(f64::from(most))
        };
        Self {
            lanes: Action::ALL.map(lane),
        }
    }

    /// Resolves when a call may be made.
    pub(super) async fn turn(&self, action: Action) {
        let lane = &self.lanes[action as usize];
        let _first = lane.line.lock().await;
        loop {
            let next = match lane.pace().take() {
                Ok(()) => return,
                Err(next) => next,
            };
            sleep_until(next).await;
        }
    }

    /// The cloud refused a call because there were too many.
    pub(super) fn throttled(&self, action: Action) {
        self.lanes[action as usize].pace().throttled();
        let mut pulls = self.lanes[Action::PullEvents as usize].pace();
        pulls.next = pulls.next.max(Instant::now() + CONFIRMS_FIRST);
    }
}

impl Lane {
    fn new(most: f64) -> Self {
        let now = Instant::now();
        Self {
            line: tokio::sync::Mutex::new(()),
            pace: Mutex::new(Pace {
                most,
                rate: most,
                next: now,
                changed: now,
                throttled: None,
            }),
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    /// A call goes now, or not before the returned moment.
    fn take(&mut self) -> Result<(), Instant> {
        let now = Instant::now();
        if now < self.next {
            return Err(self.next);
        }
        self.recover();
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        self.next = self.next.max(earliest) + Duration::from_secs_f64(1.0 / self.rate);
        Ok(())
    }

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
    use tokio::time::{sleep, timeout, timeout_at};

    use super::*;

    async fn calls(limiter: &Limiter, action: Action, within: Duration) -> u32 {
        let end = Instant::now() + within;
        let mut calls = 0;
        while timeout_at(end, limiter.turn(action)).await.is_ok() {
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
        limiter.turn(Action::ConfirmEvents).await;
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
    async fn a_line_that_stands_when_the_cloud_throttles_waits_too() {
        let limiter = Limiter::new(1);
        limiter.turn(Action::PullEvents).await;
        let began = Instant::now();
        let throttled = async {
            sleep(Duration::from_millis(900)).await;
            limiter.throttled(Action::ConfirmEvents);
        };
        tokio::join!(limiter.turn(Action::PullEvents), throttled);
        assert_eq!(began.elapsed(), Duration::from_millis(1_900));
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_takes_no_turn() {
        let limiter = Limiter::new(1);
        limiter.turn(Action::PullEvents).await;
        let began = Instant::now();
        for _ in 0..9 {
            let waits = timeout(Duration::from_millis(100), limiter.turn(Action::PullEvents));
            assert!(waits.await.is_err());
        }
        limiter.turn(Action::PullEvents).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_get_their_turn() {
        let limiter = Limiter::new(2);
        let minute = Duration::from_secs(60);
        let callers = (0..20).map(|_| calls(&limiter, Action::PullEvents, minute));
        let calls = futures_util::future::join_all(callers).await;
        assert!(
            calls.iter().all(|calls| (5..=7).contains(calls)),
            "{calls:?}"
        );
    }
}
