//! What a dead letter keeps, as a subscriber of its topic finds it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::clients::Message;
use vodbridge_tests::http::exchange;

use super::PATIENCE;
use crate::own::own_kafka;
use crate::refusals::{noise, task};

/// What no dead letter may hold.
const SECRETS: [&str; 3] = ["hunter2", "0123456789abcdef0123456789abcdef", "1790000000"];

/// An object with neither type nor payload, signed in body and query, and what proxies add.
const RAW: &str =
    r#"{"Odd":18446744073709551617,"Sign":"0123456789abcdef0123456789abcdef","T":1790000000}"#;

async fn post_with_secrets(bridge: &Bridge) -> Result<String> {
    let request = format!(
        "POST /vod/callback?Sign={}&T={} HTTP/1.1\r\nHost: bridge.example\r\n\
         Authorization: Basic hunter2\r\nCookie: session=hunter2\r\nX-Api-Key: hunter2\r\n\
         X-Original-Uri: /vod/callback?Sign={}\r\nX-Request-Id: r-1\r\nContent-Length: {}\r\n\r\n{RAW}",
        SECRETS[1],
        SECRETS[2],
        SECRETS[1],
        RAW.len()
    );
    let answer = exchange(bridge.webhook(), request.as_bytes(), PATIENCE).await?;
    ensure!(answer.status == 200, "{} {}", answer.status, answer.text());
    Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
}

/// Both times in one form, whose order as texts is their own.
fn has_its_times(record: &Value) -> Result<()> {
    let [first, last] = ["first_at", "last_at"].map(|name| record[name].as_str());
    let (first, last) = (first.context("no first")?, last.context("no last")?);
    let is_time = |text: &str| text.starts_with("20") && text.ends_with('Z') && text.len() == 24;
    ensure!(is_time(first) && is_time(last) && first <= last, "{record}");
    Ok(())
}

/// The letter of this id, its data read.
fn letter<'m>(letters: &'m [Message], id: &str) -> Result<(&'m Message, Value)> {
    for message in letters {
        let event = message.event()?;
        if event.id == id {
            let body: Value = serde_json::from_slice(&message.body)?;
            assert_eq!(event.ty, "vodbridge.dead_letter");
            return Ok((message, body["data"].clone()));
        }
    }
    anyhow::bail!("no dead letter has the id {id}");
}

#[tokio::test]
async fn a_dead_letter_keeps_all_that_is_known_and_no_secret() -> Result<()> {
    let own = own_kafka().await?;
    let limit = json!({ "topic": "vod.PullComplete", "config": { "max.message.bytes": "1000" } });
    own.client.call("alter_topic", limit).await?;
    let bridge = own.setup("")?.start().await?;
    let refused = bridge
        .post(&task("PullComplete", 7, &noise(7)), PATIENCE)
        .await?;
    ensure!(refused.status == 200, "{}", refused.text());
    let refused = refused.json()?["id"].as_str().context("no id")?.to_owned();
    let raw = post_with_secrets(&bridge).await?;

    let all = own.read().await?;
    let letters: Vec<_> = all
        .into_iter()
        .filter(|message| message.topic == "vod.dead_letter")
        .collect();
    assert_eq!(letters.len(), 2);

    let (message, record) = letter(&letters, &refused)?;
    let extensions = &message.event()?.extensions;
    assert_eq!(extensions["deadletterreason"], "refused");
    assert_eq!(extensions["deadlettersink"], "events");
    assert_eq!(
        (&record["reason"], &record["source"], &record["sink"]),
        (&"refused".into(), &"callback".into(), &"events".into())
    );
    // What the bridge says, and below it what the broker said.
    let error = record["error"].as_str().context("no error")?;
    ensure!(
        error.starts_with("refused for good: ") && error.contains("too large"),
        "{error}"
    );
    ensure!(record["attempts"].as_u64() >= Some(1), "{record}");
    has_its_times(&record)?;
    assert_eq!(record["event"]["id"], *refused);
    assert_eq!(
        record["event"]["type"],
        "com.tencent.cloud.vod.PullComplete"
    );
    assert_eq!(record["event"]["data"]["FileId"], "7");

    let (message, record) = letter(&letters, &raw)?;
    assert_eq!(
        message.event()?.extensions["deadletterreason"],
        "unrecognised"
    );
    assert_eq!(
        (&record["sink"], &record["attempts"]),
        (&Value::Null, &0.into())
    );
    has_its_times(&record)?;
    assert_eq!(record["body"], r#"{"Odd":18446744073709551617}"#);
    let headers = record["headers"].as_object().context("no headers")?;
    assert_eq!(headers["host"], "bridge.example");
    assert_eq!(headers["x-request-id"], "r-1");
    for message in &letters {
        let body = String::from_utf8_lossy(&message.body);
        for secret in SECRETS {
            ensure!(!body.contains(secret), "{secret} in {body}");
        }
    }
    for secret in SECRETS {
        ensure!(!bridge.log().contains(secret), "{secret} in the log");
    }
    Ok(())
}
