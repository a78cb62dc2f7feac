//! What each call does, and how it is refused.

use std::time::Duration;

use serde_json::json;
use vodbridge_simulator::cloud::{Action, EmptyAnswer, Limits};

use crate::caller::{APPLICATION, cloud};

#[tokio::test]
async fn pulled_and_confirmed() {
    let (cloud, queue, caller) = cloud(|_| {}).await;
    queue.issue(20);
    let state = caller.call("DescribeEventsState", json!({ "SubAppId": APPLICATION }));
    assert_eq!(state.await["CountOfEventsToPull"], 20);
    let events = caller.pull().await;
    assert_eq!(events.len(), 16);
    assert_eq!(caller.confirm(&events).await, "");
    assert_eq!(caller.confirm(&events).await, "InvalidParameterValue");
    let events = caller.pull().await;
    assert_eq!(caller.confirm(&events).await, "");
    queue.finished().await;
    assert_eq!(cloud.answered(Action::PullEvents, "ok"), 2);
    assert_eq!(
        cloud.answered(Action::ConfirmEvents, "InvalidParameterValue"),
        1
    );
}

#[tokio::test]
async fn nothing_to_pull_has_three_forms() {
    for (empty, expected) in [
        (
            EmptyAnswer::NotFound,
            r#"{"Response":{"Error":{"Code":"ResourceNotFound""#,
        ),
        (
            EmptyAnswer::Null,
            r#"{"Response":{"EventSet":null,"RequestId":""#,
        ),
        (
            EmptyAnswer::List,
            r#"{"Response":{"EventSet":[],"RequestId":""#,
        ),
    ] {
        let (_cloud, _, caller) = cloud(|config| {
            config.empty = empty;
            config.long_poll = Duration::from_millis(10);
        })
        .await;
        let parameters = json!({ "SubAppId": APPLICATION }).to_string();
        let (_, body) = caller.send("PullEvents", &parameters).await.unwrap();
        assert!(body.starts_with(expected), "{body}");
    }
}

#[tokio::test]
async fn the_configuration_is_described_and_modified() {
    let (_cloud, _, caller) = cloud(|_| {}).await;
    let modified = caller.call(
        "ModifyEventConfig",
        json!({
            "SubAppId": APPLICATION, "Mode": "PUSH", "NotificationUrl": "https://example.com/vod",
            "DeleteMediaCompleteEventSwitch": "OFF", "SignKey": "abc123",
        }),
    );
    assert_eq!(modified.await.as_object().unwrap().len(), 1);
    let mut described = caller
        .call("DescribeEventConfig", json!({ "SubAppId": APPLICATION }))
        .await;
    described.as_object_mut().unwrap().remove("RequestId");
    assert_eq!(
        described,
        json!({
            "Mode": "PUSH", "NotificationUrl": "https://example.com/vod",
            "UploadMediaCompleteEventSwitch": "ON", "DeleteMediaCompleteEventSwitch": "OFF",
            "PersistenceCompleteEventSwitch": "ON",
        })
    );
    let long = "a".repeat(33);
    for (name, value) in [
        ("Mode", "push"),
        ("NotificationUrl", "ftp://example.com/"),
        ("UploadMediaCompleteEventSwitch", "on"),
        ("SignKey", "abc-123"),
        ("SignKey", &long),
    ] {
        let change = json!({ "SubAppId": APPLICATION, name: value });
        let code = caller.code("ModifyEventConfig", change).await;
        assert_eq!(code, "InvalidParameter", "{name} {value}");
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused() {
    let (_cloud, _, caller) = cloud(|_| {}).await;
    let app = APPLICATION;
    let handles = |count: usize| vec!["1"; count];
    for (action, parameters, expected) in [
        ("DescribeMediaInfos", json!({}), "InvalidAction"),
        (
            "PullEvents",
            json!({ "SubAppId": app, "Limit": 5 }),
            "UnknownParameter",
        ),
        (
            "PullEvents",
            json!({ "SubAppId": "one" }),
            "InvalidParameterValue",
        ),
        ("PullEvents", json!({}), "InvalidParameterValue"),
        (
            "DescribeEventConfig",
            json!({ "SubAppId": 7 }),
            "InvalidParameter",
        ),
        ("PullEvents", json!([]), "InvalidRequest"),
        (
            "ConfirmEvents",
            json!({ "SubAppId": app }),
            "MissingParameter",
        ),
        (
            "ConfirmEvents",
            json!({ "SubAppId": app, "EventHandles": [] }),
            "InvalidParameterValue",
        ),
        (
            "ConfirmEvents",
            json!({ "SubAppId": app, "EventHandles": handles(17) }),
            "InvalidParameterValue",
        ),
    ] {
        let code = caller.code(action, parameters.clone()).await;
        assert_eq!(code, expected, "{action} {parameters}");
    }
    let large = format!("{{\"ExtInfo\":\"{}\"}}", "a".repeat(10 << 20));
    let (_, body) = caller.send("PullEvents", &large).await.unwrap();
    assert!(body.contains("RequestSizeLimitExceeded"), "{body}");
}

#[tokio::test]
async fn more_calls_than_the_limit_are_refused() {
    // A long second, so that no call falls into the next one.
    let slow = |limits| {
        cloud(move |config| {
            config.time_scale = "0.01".parse().unwrap();
            config.limits = limits;
        })
    };
    let state = json!({ "SubAppId": APPLICATION });
    let (_cloud, _, caller) = slow(Limits::default()).await;
    let mut codes = Vec::new();
    for _ in 0..21 {
        codes.push(caller.code("DescribeEventsState", state.clone()).await);
    }
    assert!(codes[..20].iter().all(String::is_empty), "{codes:?}");
    assert_eq!(codes[20], "RequestLimitExceeded");
    assert_eq!(caller.code("DescribeEventConfig", state.clone()).await, "");

    let (_cloud, _, caller) = slow(Limits::NONE).await;
    for _ in 0..200 {
        assert_eq!(caller.code("DescribeEventsState", state.clone()).await, "");
    }
}
