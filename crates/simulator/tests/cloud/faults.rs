//! What goes wrong on purpose.

use std::time::{Duration, Instant};

use serde_json::json;
use vodbridge_simulator::cloud::{Action, Fault};

use crate::caller::{APPLICATION, cloud};

fn fault(text: &str) -> Vec<Fault> {
    vec![text.parse().unwrap()]
}

#[tokio::test]
async fn an_error_befalls_so_many_calls_and_nothing_is_done() {
    let (cloud, queue, caller) = cloud(|_| {}).await;
    queue.issue(1);
    cloud.set_faults(fault("error:InternalError:50%:DescribeEventsState"));
    let state = json!({ "SubAppId": APPLICATION });
    let mut failed = 0;
    for _ in 0..20 {
        match &*caller.code("DescribeEventsState", state.clone()).await {
            "InternalError" => failed += 1,
            code => assert_eq!(code, ""),
        }
    }
    assert!((3..18).contains(&failed), "{failed}");
    assert_eq!(
        cloud.answered(Action::DescribeEventsState, "InternalError"),
        failed
    );

    cloud.set_faults(fault("error:FailedOperation:1"));
    assert_eq!(
        caller.code("PullEvents", state.clone()).await,
        "FailedOperation"
    );
    cloud.set_faults(fault("error:503:1"));
    let answer = caller.send("PullEvents", &state.to_string()).await;
    assert_eq!(answer, Some((503, String::new())));
    assert_eq!(queue.stats().hidden, 0);
    cloud.set_faults(Vec::new());
    assert_eq!(caller.pull().await.len(), 1);
}

#[tokio::test]
async fn a_connection_is_closed_before_or_after() {
    let (cloud, queue, caller) = cloud(|_| {}).await;
    queue.issue(1);
    let pull = json!({ "SubAppId": APPLICATION }).to_string();
    cloud.set_faults(fault("drop-before:1"));
    assert_eq!(caller.send("PullEvents", &pull).await, None);
    assert_eq!(queue.stats().hidden, 0);
    cloud.set_faults(fault("drop-after:1"));
    assert_eq!(caller.send("PullEvents", &pull).await, None);
    assert_eq!(queue.stats().hidden, 1);
}

#[tokio::test]
async fn an_answer_comes_late() {
    let (cloud, queue, caller) = cloud(|_| {}).await;
    queue.issue(1);
    cloud.set_faults(fault("slow:200ms:1:PullEvents"));
    let start = Instant::now();
    let events = caller.pull().await;
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(caller.confirm(&events).await, "");
}

#[tokio::test]
async fn a_throttle_takes_the_limits_place() {
    let (cloud, _, caller) = cloud(|config| config.time_scale = "0.01".parse().unwrap()).await;
    cloud.set_faults(fault("throttle:1:DescribeEventsState"));
    let state = json!({ "SubAppId": APPLICATION });
    assert_eq!(caller.code("DescribeEventsState", state.clone()).await, "");
    let refused = caller.code("DescribeEventsState", state.clone()).await;
    assert_eq!(refused, "RequestLimitExceeded");
    cloud.set_faults(Vec::new());
    assert_eq!(caller.code("DescribeEventsState", state).await, "");
}
