//! Who may call, and for which application.

use serde_json::json;
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Account, Key};

use crate::caller::{APPLICATION, Caller, cloud};

async fn code(caller: &Caller, adjust: impl FnOnce(&mut Caller)) -> String {
    let mut caller = caller.clone();
    adjust(&mut caller);
    let parameters = json!({ "SubAppId": APPLICATION });
    caller.code("DescribeEventConfig", parameters).await
}

#[tokio::test]
async fn only_the_right_signature_passes() {
    let (_cloud, _, caller) = cloud(|_| {}).await;
    assert_eq!(code(&caller, |_| {}).await, "");
    assert_eq!(
        code(&caller, |c| c.secret_key = "other").await,
        "AuthFailure.SignatureFailure"
    );
    assert_eq!(
        code(&caller, |c| c.service = "cvm").await,
        "AuthFailure.SignatureFailure"
    );
    assert_eq!(
        code(&caller, |c| c.secret_id = "AKIDother").await,
        "AuthFailure.SecretIdNotFound"
    );
    assert_eq!(
        code(&caller, |c| c.token = Some("unasked")).await,
        "AuthFailure.TokenFailure"
    );
    assert_eq!(
        code(&caller, |c| c.version = "2024-07-18").await,
        "NoSuchVersion"
    );
    for (header, expected) in [
        ("authorization", "AuthFailure.InvalidAuthorization"),
        ("content-type", "AuthFailure.SignatureFailure"),
        ("x-tc-timestamp", "MissingParameter"),
        ("x-tc-action", "MissingParameter"),
        ("x-tc-version", "MissingParameter"),
    ] {
        assert_eq!(
            code(&caller, |c| c.without = header).await,
            expected,
            "{header}"
        );
    }
}

#[tokio::test]
async fn a_clock_may_be_five_minutes_off() {
    let (_cloud, _, caller) = cloud(|_| {}).await;
    for (ahead, expected) in [
        (290, ""),
        (-290, ""),
        (310, "AuthFailure.SignatureExpire"),
        (-310, "AuthFailure.SignatureExpire"),
    ] {
        assert_eq!(
            code(&caller, |c| c.ahead = ahead).await,
            expected,
            "{ahead}"
        );
    }
    let (_cloud, _, caller) = cloud(|config| config.time_scale = "30".parse().unwrap()).await;
    assert_eq!(code(&caller, |c| c.ahead = -8).await, "");
    assert_eq!(
        code(&caller, |c| c.ahead = -20).await,
        "AuthFailure.SignatureExpire"
    );
}

#[tokio::test]
async fn a_temporary_key_needs_its_token() {
    let (_cloud, _, caller) = cloud(|config| {
        config.accounts[0].keys[0].token = Some(Secret::new("session"));
    })
    .await;
    assert_eq!(code(&caller, |c| c.token = Some("session")).await, "");
    for token in [None, Some("old")] {
        assert_eq!(
            code(&caller, |c| c.token = token).await,
            "AuthFailure.TokenFailure"
        );
    }
}

#[tokio::test]
async fn an_application_is_its_accounts_alone() {
    let (cloud, queue, caller) = cloud(|config| {
        config.accounts.push(Account {
            keys: vec![Key {
                secret_id: "AKIDsecond".to_owned(),
                secret_key: Secret::new("second"),
                token: None,
            }],
            applications: vec![7],
            default_application: Some(7),
        });
    })
    .await;
    queue.issue(1);
    cloud.queue(7).unwrap().issue(2);
    let mut second = caller.clone();
    (second.secret_id, second.secret_key) = ("AKIDsecond", "second");

    let refused = second.code("PullEvents", json!({ "SubAppId": APPLICATION }));
    assert_eq!(refused.await, "InvalidParameterValue");
    let refused = caller.code("PullEvents", json!({ "SubAppId": 7 }));
    assert_eq!(refused.await, "InvalidParameterValue");
    let events = second.call("PullEvents", json!({})).await;
    assert_eq!(events["EventSet"].as_array().unwrap().len(), 2);
    // A handle of another queue is worth nothing.
    assert_eq!(caller.pull().await.len(), 1);
    let handle = &events["EventSet"][0]["EventHandle"];
    let foreign = json!({ "SubAppId": APPLICATION, "EventHandles": [handle] });
    assert_eq!(
        caller.code("ConfirmEvents", foreign).await,
        "InvalidParameterValue"
    );
    assert!(cloud.queue(8).is_none());
}
