//! The simulated cloud is true: the vendor's own SDK gets on with it, in each call and each error.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Cloud, CloudConfig, Key, Limits, Queue};
use vodbridge_simulator::samples;
use vodbridge_tests::clients::{self, Client};

const APPLICATION: u64 = 1_500_012_345;

/// Everything that the reference of the vendor's API lists for these calls, and codes that are
/// common to all.
const CODES: [&str; 27] = [
    "ActionOffline",
    "AuthFailure",
    "AuthFailure.InvalidSecretId",
    "AuthFailure.MFAFailure",
    "AuthFailure.UnauthorizedOperation",
    "FailedOperation",
    "FailedOperation.InvalidAccount",
    "FailedOperation.InvalidVodUser",
    "FailedOperation.NoPrivileges",
    "FailedOperation.UserStatusInavlid",
    "InternalError",
    "IpInBlacklist",
    "IpNotInWhitelist",
    "LimitExceeded",
    "NoSuchProduct",
    "RequestLimitExceeded",
    "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
    "RequestLimitExceeded.IPLimitExceeded",
    "RequestLimitExceeded.UinLimitExceeded",
    "ResourceInsufficient",
    "ResourceNotFound",
    "ResourceUnavailable",
    "ResponseSizeLimitExceeded",
    "ServiceUnavailable",
    "UnauthorizedOperation",
    "UnsupportedOperation",
    "UnsupportedRegion",
];

/// A cloud, and the SDK as its client.
struct Fixture {
    _cloud: Cloud,
    queue: Queue,
    sdk: Client,
}

impl Fixture {
    async fn new(change: impl FnOnce(&mut CloudConfig)) -> Result<Self> {
        let mut config = CloudConfig::new("AKIDtest", Secret::new("key"), [APPLICATION]);
        change(&mut config);
        let cloud = Cloud::bind(([127, 0, 0, 1], 0).into(), config).await?;
        Ok(Self {
            queue: cloud.queue(APPLICATION).context("no such application")?,
            sdk: clients::cloud_sdk(cloud.address().to_string()),
            _cloud: cloud,
        })
    }

    async fn calls(&self, calls: Vec<Value>) -> Result<Vec<Value>> {
        let count = calls.len();
        let told = self.sdk.call("calls", json!({ "calls": calls })).await?;
        ensure!(told.len() == count, "{told:?}");
        Ok(told)
    }

    /// The answer to one call without an error.
    async fn answer(&self, action: &str, parameters: Value) -> Result<Value> {
        let call = json!({ "action": action, "parameters": parameters });
        let mut told = self.calls(vec![call]).await?;
        let mut told = told.pop().context("no answer")?;
        ensure!(told.get("error").is_none(), "{action}: {told}");
        let answer = told["answer"].take();
        ensure!(answer["RequestId"].is_string(), "{action}: {answer}");
        Ok(answer)
    }
}

fn app() -> Value {
    json!({ "SubAppId": APPLICATION })
}

#[tokio::test]
async fn the_official_sdk_pulls_every_type_and_confirms() -> Result<()> {
    let fixture = Fixture::new(|config| {
        config.limits = Limits::NONE;
        // Older pages spell some fields as the SDK never did.
        let own = |name: &str| {
            ["oldfield", "lowercase"]
                .iter()
                .all(|odd| !name.contains(odd))
        };
        config.samples.retain(|form| own(form.name));
    })
    .await?;
    let types: BTreeSet<_> = samples()
        .iter()
        .filter(|sample| sample.is_catalogued())
        .map(|sample| sample.event_type)
        .collect();
    fixture.queue.issue(5 * types.len() as u32);
    let mut seen = BTreeSet::new();
    while fixture.queue.stats().counts.open() > 0 {
        let pulled = fixture.answer("PullEvents", app()).await?;
        let events = pulled["EventSet"].as_array().context("no events")?;
        ensure!((1..=16).contains(&events.len()), "{}", events.len());
        for event in events {
            // The SDK keeps the members that it knows, and the payload is one of them.
            let members = event.as_object().context("no object")?;
            let payloads = members.values().filter(|value| value.is_object());
            assert_eq!(payloads.count(), 1, "{event}");
            let event_type = event["EventType"].as_str();
            seen.extend(event_type.and_then(|name| types.get(name)));
        }
        let handles: Vec<_> = events.iter().map(|event| &event["EventHandle"]).collect();
        let parameters = json!({ "SubAppId": APPLICATION, "EventHandles": handles });
        fixture.answer("ConfirmEvents", parameters).await?;
    }
    assert_eq!(seen, types);
    let state = fixture.answer("DescribeEventsState", app()).await?;
    assert_eq!(state["CountOfEventsToPull"], 0);
    let counts = fixture.queue.stats().counts;
    assert_eq!((counts.confirmed, counts.redeliveries), (counts.issued, 0));
    Ok(())
}

#[tokio::test]
async fn the_official_sdk_describes_and_modifies() -> Result<()> {
    let fixture = Fixture::new(|_| {}).await?;
    let change = json!({
        "SubAppId": APPLICATION, "Mode": "PUSH", "NotificationUrl": "http://127.0.0.1:1/vod",
        "UploadMediaCompleteEventSwitch": "OFF", "SignKey": "abc123",
    });
    fixture.answer("ModifyEventConfig", change).await?;
    let described = fixture.answer("DescribeEventConfig", app()).await?;
    assert_eq!(described["Mode"], "PUSH");
    assert_eq!(described["NotificationUrl"], "http://127.0.0.1:1/vod");
    assert_eq!(described["UploadMediaCompleteEventSwitch"], "OFF");
    assert_eq!(described["PersistenceCompleteEventSwitch"], "ON");
    assert_eq!(described.get("SignKey"), None);
    Ok(())
}

#[tokio::test]
async fn the_official_sdk_is_refused_for_every_reason() -> Result<()> {
    let fixture = Fixture::new(|config| {
        config.accounts[0].keys.push(Key {
            secret_id: "AKIDtemporary".to_owned(),
            secret_key: Secret::new("key"),
            token: Some(Secret::new("session")),
        });
        // A second so long that only what is asked for is throttled.
        config.time_scale = "0.01".parse().expect("it is a time scale");
        config.long_poll = Duration::from_millis(1);
    })
    .await?;
    let pull = || json!({ "action": "PullEvents", "parameters": app() });
    let with = |more: Value| {
        let mut call = pull();
        for (name, value) in more.as_object().into_iter().flatten() {
            call[name] = value.clone();
        }
        call
    };
    let app = APPLICATION;
    let confirm = |handles: Value| {
        with(json!({
            "action": "ConfirmEvents",
            "parameters": { "SubAppId": app, "EventHandles": handles },
        }))
    };
    let refused = [
        (
            "AuthFailure.SignatureFailure",
            with(json!({ "secret_key": "wrong" })),
        ),
        (
            "AuthFailure.SecretIdNotFound",
            with(json!({ "secret_id": "AKIDother" })),
        ),
        (
            "AuthFailure.SignatureExpire",
            with(json!({ "ahead": 40_000 })),
        ),
        (
            "AuthFailure.SignatureExpire",
            with(json!({ "ahead": -40_000 })),
        ),
        (
            "AuthFailure.TokenFailure",
            with(json!({ "secret_id": "AKIDtemporary" })),
        ),
        (
            "AuthFailure.TokenFailure",
            with(json!({ "secret_id": "AKIDtemporary", "token": "old" })),
        ),
        ("NoSuchVersion", with(json!({ "version": "2024-07-18" }))),
        (
            "InvalidAction",
            with(json!({ "action": "DescribeNothing" })),
        ),
        ("InvalidParameterValue", with(json!({ "parameters": {} }))),
        (
            "InvalidParameterValue",
            with(json!({ "parameters": { "SubAppId": 1 } })),
        ),
        (
            "InvalidParameterValue",
            confirm(json!(["8078360634045903972"])),
        ),
        ("InvalidParameterValue", confirm(json!(vec!["1"; 17]))),
        ("InvalidParameterValue", confirm(json!([]))),
        ("MissingParameter", confirm(Value::Null)),
        (
            "InvalidParameter",
            with(json!({
                "action": "ModifyEventConfig",
                "parameters": { "SubAppId": app, "Mode": "BOTH" },
            })),
        ),
        (
            "RequestLimitExceeded",
            with(json!({ "faults": ["throttle:1"] })),
        ),
        // The SDK takes another status than 200 for an error of the network.
        (
            "ServerNetworkError",
            with(json!({ "faults": ["error:500:1"] })),
        ),
        (
            "ClientNetworkError",
            with(json!({ "faults": ["drop-after:1"] })),
        ),
    ];
    let asked = refused.iter().map(|(_, call)| call.clone()).collect();
    for ((code, call), told) in refused.iter().zip(fixture.calls(asked).await?) {
        assert_eq!(told["error"], *code, "{call}: {told}");
        let network = code.ends_with("NetworkError");
        ensure!(network || told["request_id"].as_str().is_some_and(|id| !id.is_empty()));
        ensure!(
            !told["message"].as_str().unwrap_or_default().is_empty(),
            "{told}"
        );
    }

    let good = [
        with(json!({ "faults": [] })),
        with(json!({ "secret_id": "AKIDtemporary", "token": "session" })),
        with(json!({ "ahead": 20_000 })),
    ];
    for told in fixture.calls(good.into()).await? {
        assert_eq!(told.get("error"), None, "{told}");
    }
    Ok(())
}

#[tokio::test]
async fn the_official_sdk_raises_each_error_that_is_asked_for() -> Result<()> {
    let fixture = Fixture::new(|config| config.limits = Limits::NONE).await?;
    let calls = CODES.map(|code| {
        let fault = format!("error:{code}:100%");
        json!({ "faults": [fault], "action": "PullEvents", "parameters": app() })
    });
    for (code, told) in CODES.iter().zip(fixture.calls(calls.into()).await?) {
        assert_eq!(told["error"], *code);
    }
    Ok(())
}
