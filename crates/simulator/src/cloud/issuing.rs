//! Events as time goes by.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::api::Api;
use super::queue::Queue;

/// How often events that are due are issued, in real time.
const TICK: Duration = Duration::from_millis(10);

/// Issues events of the stream at `rate` a second of the cloud's time: `events` of them, or
/// without end. A burst comes when its last event is due.
pub(super) async fn issue(api: Arc<Api>, queue: Queue, rate: f64, events: Option<u64>) {
    let _issuing = Issuing::new(&api);
    let rate = rate * api.config.time_scale.times();
    let start = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut issued = 0;
    while events.is_none_or(|events| issued < events) {
        ticks.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        let due = due.min(events.unwrap_or(u64::MAX));
        let all = Some(due) == events;
        let burst = if all { 1 } else { u64::from(api.burst()) };
        let now = due.saturating_sub(issued) / burst * burst;
        queue.issue(u32::try_from(now).unwrap_or(u32::MAX));
        issued += now;
    }
}

/// Counts a stream until it is dropped.
struct Issuing<'a>(&'a Api);

impl<'a> Issuing<'a> {
    fn new(api: &'a Api) -> Self {
        api.issuing.fetch_add(1, Ordering::Relaxed);
        Self(api)
    }
}

impl Drop for Issuing<'_> {
    fn drop(&mut self) {
        self.0.issuing.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use vodbridge_core::Secret;

    use super::*;
    use crate::cloud::CloudConfig;

    #[tokio::test(start_paused = true)]
    async fn at_a_rate_and_in_bursts() {
        let mut config = CloudConfig::new("id", Secret::new("key"), [7]);
        config.time_scale = "2".parse().unwrap();
        let api = Arc::new(Api::new(config));
        let queue = api.queues(Some(7)).unwrap().pop().unwrap();
        let issued = || queue.stats().counts.issued;
        let start = Instant::now();
        issue(api.clone(), queue.clone(), 100.0, Some(1_000)).await;
        assert_eq!((issued(), start.elapsed().as_secs()), (1_000, 5));
        assert!(!api.stats().issuing);

        api.set_faults(vec!["burst:300".parse().unwrap()]);
        let issuing = tokio::spawn(issue(api.clone(), queue.clone(), 100.0, Some(1_000)));
        let mut seen = vec![issued()];
        while !issuing.is_finished() {
            tokio::time::sleep(TICK).await;
            assert_eq!(api.stats().issuing, !issuing.is_finished());
            seen.push(issued());
        }
        seen.dedup();
        assert_eq!(seen, [1_000, 1_300, 1_600, 1_900, 2_000]);
    }
}
