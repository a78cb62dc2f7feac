//! Sign and T: who has the key passes, everybody else gets 401 and publishes nothing.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use vodbridge_simulator::sign;
use vodbridge_tests::bridge::{Bridge, WEBHOOK_PATH};
use vodbridge_tests::http::{Response, exchange, post};

const CURRENT: &str = "currentKey2026";
const NEXT: &str = "nextKey2026";
const HOUR: u64 = 3_600;

fn now() -> Result<u64> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.as_secs())
}

/// A notification with these members in front of its own.
fn body(members: &str) -> String {
    let upload = r#""EventType":"NewFileUpload","FileUploadEvent":{"FileId":"1"}"#;
    format!("{{{members}{upload}}}")
}

async fn bridge() -> Result<Bridge> {
    let configuration = format!(
        r#"
sources: {{ callback: {{ webhook: {{ sign_keys: ["{CURRENT}", "{NEXT}"] }} }} }}
sinks: {{ events: {{ file: {{ directory: "{{directory}}/events", topic: "vod.{{event_type}}", ephemeral: true }} }} }}
"#
    );
    Bridge::start(&configuration).await
}

async fn send(bridge: &Bridge, query: &str, body: &str) -> Result<Response> {
    let request = post(&format!("{WEBHOOK_PATH}{query}"), body.as_bytes());
    exchange(bridge.webhook(), &request, Duration::from_secs(10)).await
}

/// The events in the files of the sink, one a line.
fn published(bridge: &Bridge) -> String {
    std::fs::read_to_string(bridge.directory().join("events/vod.NewFileUpload.ndjson"))
        .unwrap_or_default()
}

#[tokio::test]
async fn either_key_passes_in_either_place() -> Result<()> {
    let bridge = bridge().await?;
    let t = now()? + HOUR;
    let mut count = 0;
    for key in [CURRENT, NEXT] {
        let sign = sign(key, t);
        let upper = sign.to_uppercase();
        for (query, members) in [
            (String::new(), format!(r#""Sign":"{sign}","T":{t},"#)),
            (String::new(), format!(r#""Sign":"{upper}","T":"{t}","#)),
            (format!("?Sign={sign}&T={t}"), String::new()),
        ] {
            let answer = send(&bridge, &query, &body(&members)).await?;
            ensure!(answer.status == 200, "{query} {members}: {}", answer.text());
            count += 1;
        }
    }
    let published = published(&bridge);
    assert_eq!(published.lines().count(), count);
    assert!(!published.contains("Sign") && !published.contains(&sign(CURRENT, t)));
    Ok(())
}

#[tokio::test]
async fn everything_else_is_refused() -> Result<()> {
    let bridge = bridge().await?;
    let now = now()?;
    let good = |t: u64| sign(CURRENT, t);
    let t = now + 60;
    let signed = good(t);
    let members = |sign: &str, t: &str| format!(r#""Sign":{sign},"T":{t},"#);
    let quoted = |text: &str| format!("\"{text}\"");
    let an_hour_ago = now - HOUR;
    let in_a_year = now + 365 * 24 * HOUR;
    let both = members(&quoted(&signed), &t.to_string());
    let cases = [
        ("nothing", "", String::new()),
        (
            "wrong key",
            "",
            members(&quoted(&sign("wrongKey", t)), &t.to_string()),
        ),
        (
            "of another T",
            "",
            members(&quoted(&good(t + 1)), &t.to_string()),
        ),
        (
            "an hour old",
            "",
            members(&quoted(&good(an_hour_ago)), &an_hour_ago.to_string()),
        ),
        (
            "a year ahead",
            "",
            members(&quoted(&good(in_a_year)), &in_a_year.to_string()),
        ),
        ("no Sign", "", format!(r#""T":{t},"#)),
        ("no T", "", format!(r#""Sign":"{signed}","#)),
        ("empty Sign", "", members("\"\"", &t.to_string())),
        ("empty T", "", members(&quoted(&signed), "\"\"")),
        ("null", "", members("null", "null")),
        ("T is no number", "", members(&quoted(&signed), "\"soon\"")),
        (
            "T beyond all bounds",
            "",
            members(&quoted(&signed), "99999999999999999999999"),
        ),
        ("Sign twice", "", format!(r#""Sign":"{signed}",{both}"#)),
        ("T twice", "", format!(r#""T":{t},{both}"#)),
        ("in body and query", &format!("?Sign={signed}&T={t}"), both),
        (
            "twice in the query",
            &format!("?Sign={signed}&Sign={signed}&T={t}"),
            String::new(),
        ),
        (
            "wrong in the query",
            &format!("?Sign={}&T={t}", sign("wrongKey", t)),
            String::new(),
        ),
    ];
    let mut refused = 0;
    for (what, query, members) in &cases {
        let answer = send(&bridge, query, &body(members)).await?;
        ensure!(
            answer.status == 401,
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
        refused += 1;
    }
    // What cannot be read proves nothing either.
    let answer = send(&bridge, "", "no JSON").await?;
    ensure!(answer.status == 401, "no JSON: {}", answer.status);
    assert_eq!(refused, cases.len());
    assert_eq!(
        published(&bridge),
        "",
        "a refused notification was published"
    );
    let log = bridge.log();
    for secret in [CURRENT, NEXT, &signed] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
    Ok(())
}
