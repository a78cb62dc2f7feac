//! The control API, and the ledger against what was pulled.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use hyper::Method;
use serde_json::{Value, json};
use vodbridge_simulator::cloud::{Limits, State};
use vodbridge_vod::{Catalogue, Normalizer, Notification, Via};

use crate::caller::{APPLICATION, Caller, cloud};

async fn json_of(caller: &Caller, method: Method, path: &str, body: Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (status, text) = caller.control(method, path, &body).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn steers_a_running_cloud() {
    let (_cloud, _, caller) = cloud(|_| {}).await;
    let issue = json!({ "sub_app_id": APPLICATION, "events": 3 });
    let issued = json_of(&caller, Method::POST, "issue", issue).await;
    assert_eq!(issued, json!({ "issued": 3 }));
    let faults = json!({ "faults": ["error:InternalError:5%", "reorder:10"] });
    let set = json_of(&caller, Method::POST, "faults", faults).await;
    assert_eq!(
        set["faults"],
        json!(["error:InternalError:0.05", "reorder:10"])
    );
    let none = json_of(&caller, Method::POST, "faults", json!({ "faults": [] })).await;
    assert_eq!(none["faults"], json!([]));
    let settings = json!({ "mode": "PUSH", "sign_key": "", "upload": "OFF" });
    json_of(&caller, Method::POST, "settings", settings).await;
    let described = caller.call("DescribeEventConfig", json!({ "SubAppId": APPLICATION }));
    assert_eq!(described.await["UploadMediaCompleteEventSwitch"], "OFF");

    let stats = json_of(&caller, Method::GET, "stats", Value::Null).await;
    let application = &stats["applications"][APPLICATION.to_string()];
    assert_eq!(
        (&application["issued"], &application["waiting"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(stats["calls"]["DescribeEventConfig"], json!({ "ok": 1 }));
}

#[tokio::test]
async fn says_what_is_wrong_with_a_request() {
    let (_cloud, _, caller) = cloud(|config| config.accounts[0].applications.push(7)).await;
    for (method, path, body, status, why) in [
        (Method::GET, "state", "", 404, "stats, ledger"),
        (Method::GET, "issue", "", 405, "POST"),
        (Method::POST, "stats", "", 405, "GET"),
        (Method::POST, "issue", "{", 400, "EOF"),
        (Method::POST, "issue", r#"{"events":1}"#, 400, "sub_app_id"),
        (
            Method::POST,
            "issue",
            r#"{"sub_app_id":8,"events":1}"#,
            400,
            "no application 8",
        ),
        (
            Method::POST,
            "issue",
            r#"{"sub_app_id":7,"notification":[]}"#,
            400,
            "JSON object",
        ),
        (
            Method::POST,
            "faults",
            r#"{"faults":["flood"]}"#,
            400,
            "flood",
        ),
        (
            Method::POST,
            "settings",
            r#"{"sub_app_id":7,"mode":"push"}"#,
            400,
            "PUSH",
        ),
        (Method::GET, "ledger?app=7", "", 400, "sub_app_id=NUMBER"),
    ] {
        let (answered, text) = caller.control(method, path, body).await;
        assert_eq!(answered, status, "{path} {body}: {text}");
        assert!(text.contains(why), "{path} {body}: {text}");
    }
}

#[tokio::test]
async fn a_given_notification_is_pulled_token_for_token() {
    let (_cloud, _, caller) = cloud(|_| {}).await;
    let notification = r#"{"EventType":"X", "X":{"n":1.0e+2,"n":18446744073709551616}}"#;
    let issue = format!(r#"{{"notification":{notification}}}"#);
    let (status, _) = caller.control(Method::POST, "issue", &issue).await;
    assert_eq!(status, 200);
    let pull = json!({ "SubAppId": APPLICATION }).to_string();
    let (_, body) = caller.send("PullEvents", &pull).await.unwrap();
    assert!(body.contains(&notification[1..]), "{body}");
}

/// What a bridge would make of the events that it was given.
#[tokio::test]
async fn the_ledger_knows_every_id() {
    let (_cloud, queue, caller) = cloud(|config| {
        config.limits = Limits::NONE;
        config.time_scale = "300".parse().unwrap();
    })
    .await;
    queue.issue(300);
    let normalizer = Normalizer::new(
        APPLICATION,
        "queue",
        Via::Queue,
        Arc::new(Catalogue::default()),
    );
    let mut ids = BTreeMap::<String, u32>::new();
    let mut pulls = 0;
    while queue.stats().counts.confirmed < 250 {
        let events = caller.pull().await;
        for event in &events {
            let text = event.to_string();
            let notification = Notification::parse(text.as_bytes()).unwrap();
            let normalized = normalizer.normalize(&notification, SystemTime::now());
            let handle = notification.handle();
            let envelope = normalized.unwrap().into_envelope(handle.as_deref());
            *ids.entry(envelope.id().to_owned()).or_default() += 1;
        }
        pulls += 1;
        if pulls % 3 > 0 && !events.is_empty() {
            caller.confirm(&events).await;
        }
    }
    let (status, text) = caller.control(Method::GET, "ledger", "").await;
    assert_eq!(status, 200);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let entries: Vec<_> = queue.ledger().collect();
    assert_eq!((lines.len(), entries.len()), (300, 300));
    let mut deliveries = 0;
    for (at, (entry, line)) in entries.iter().zip(&lines).enumerate() {
        assert_eq!(entry.sequence, at as u64 + 1);
        assert_eq!(line["ids"], json!(entry.ids));
        assert_eq!(entry.ended_ms.is_none(), entry.state == State::Open);
        assert_eq!(
            line["state"],
            if entry.state == State::Open {
                "open"
            } else {
                "confirmed"
            }
        );
        assert!(
            entry
                .ty
                .as_deref()
                .unwrap()
                .starts_with("com.tencent.cloud.vod.")
        );
        let seen: u32 = entry.ids.iter().filter_map(|id| ids.get(id)).sum();
        assert!(
            seen == entry.deliveries || !entry.repeatable,
            "{entry:?} {seen}"
        );
        deliveries += entry.deliveries;
        for id in &entry.ids {
            ids.insert(id.clone(), 0);
        }
    }
    assert!(deliveries > 300);
    assert!(
        ids.values().all(|left| *left == 0),
        "an id that no entry names"
    );
}
