//! How many events wait in the cloud.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use vodbridge_core::{LogLimit, chain};
use vodbridge_vod::api::{Action, count_of_events, describe_events_state};

use super::source::Queue;
use crate::cloud::CallError;

const CALL: Duration = Duration::from_secs(10);
const LOG_PAUSE: Duration = Duration::from_secs(600);

/// Keeps the backlog's gauge until it is dropped. What it says is minutes late, so nothing else
/// is decided by it: <https://cloud.tencent.com/document/api/266/48758>.
pub(super) async fn watch_backlog(queue: &Queue) {
    if queue.config.backlog_interval.is_zero() {
        return pending().await;
    }
    let failures = LogLimit::new(LOG_PAUSE);
    let mut ticks = interval(queue.config.backlog_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match count(queue).await {
            Ok(count) => {
                queue
                    .metrics
                    .backlog
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            Err(error) => {
                if let Some(held_back) = failures.allows() {
                    tracing::warn!(
                        source = &**queue.intake.source(),
                        error = chain(&error),
                        remedy = error.remedy(Action::DescribeEventsState),
                        held_back,
                        "the backlog is not known; events are pulled all the same"
                    );
                }
            }
        }
    }
}

async fn count(queue: &Queue) -> Result<u64, CallError> {
    let body = describe_events_state(queue.config.sub_app_id);
    let deadline = Instant::now() + CALL;
    let called = queue
        .cloud
        .call(Action::DescribeEventsState, body, deadline)
        .await?;
    Ok(count_of_events(&called.body)?)
}
