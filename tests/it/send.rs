//! `vodbridge send` posts what the cloud would, and says what it was told.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vodbridge_simulator::samples;
use vodbridge_tests::bridge::Bridge;
use vodbridge_tests::cli::{Ran, run, vodbridge};
use vodbridge_tests::ports::free_port;
use vodbridge_tests::scratch;

const KEY: &str = "sendKey2026";

/// A bridge that asks for a signature and writes files.
async fn bridge() -> Result<Bridge> {
    let configuration = format!(
        r#"
sources: {{ callback: {{ webhook: {{ sign_keys: ["{KEY}"] }} }} }}
sinks: {{ events: {{ file: {{ directory: "{{directory}}/events", topic: "vod.{{event_type}}", ephemeral: true }} }} }}
"#
    );
    Bridge::start(&configuration).await
}

async fn send(bridge: &Bridge, arguments: &[&str]) -> Result<Ran> {
    let url = bridge.webhook_url();
    run(vodbridge(
        &[&["send", "--url", &url][..], arguments].concat(),
    )?)
    .await
}

/// How many events of a type are in the sink's files.
fn published(bridge: &Bridge, event_type: &str) -> usize {
    let file = format!("events/vod.{event_type}.ndjson");
    let text = std::fs::read_to_string(bridge.directory().join(file)).unwrap_or_default();
    text.lines().count()
}

#[tokio::test]
async fn a_signed_sample_is_confirmed() -> Result<()> {
    let bridge = bridge().await?;
    let types = ["NewFileUpload", "PullComplete"];
    for place in ["body", "query"] {
        let signed = ["--sign-key", KEY, "--sign-in", place];
        let ran = send(&bridge, &[&types[..], &signed].concat()).await?;
        ensure!(ran.code == Some(0), "{place}: {ran:?}");
        for (line, name) in ran.out.lines().zip(types) {
            ensure!(
                line.starts_with(&format!("{name}: 200 ")),
                "{place}: {line}"
            );
            let (_, id) = line.rsplit_once(", id ").context("no id")?;
            ensure!(id.len() == 64, "{place}: {line}");
        }
        ensure!(!ran.out.contains(KEY), "the key is shown");
    }
    for event_type in types {
        assert_eq!(published(&bridge, event_type), 2, "{event_type}");
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_signature_is_a_failure() -> Result<()> {
    let bridge = bridge().await?;
    for arguments in [
        &["NewFileUpload"][..],
        &["NewFileUpload", "--sign-key", "wrongKey"],
        &[
            "NewFileUpload",
            "--sign-key",
            "wrongKey",
            "--sign-in",
            "query",
        ],
    ] {
        let json = [arguments, &["--output", "json"]].concat();
        let ran = send(&bridge, &json).await?;
        ensure!(ran.code == Some(1), "{arguments:?}: {ran:?}");
        assert_eq!(ran.json()?[0]["status"], 401, "{arguments:?}");
        let error = ran.json()?[0]["error"].take();
        ensure!(error.is_string(), "{arguments:?}: {ran:?}");
        ensure!(!ran.out.contains("wrongKey"), "the key is shown");
    }
    assert_eq!(published(&bridge, "NewFileUpload"), 0);
    Ok(())
}

#[tokio::test]
async fn all_samples_and_files_can_be_sent() -> Result<()> {
    let bridge = bridge().await?;
    let signed = ["--sign-key", KEY, "--output", "json"];
    let ran = send(&bridge, &[&["all"][..], &signed].concat()).await?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let sent = ran.json()?;
    assert_eq!(sent.len(), samples().len());
    for (said, sample) in sent.iter().zip(samples()) {
        assert_eq!(
            (&said["name"], &said["status"]),
            (&sample.name.into(), &200.into())
        );
        assert_eq!(said["attempt"], 1, "{said}");
    }

    let list = run(vodbridge(&["send", "--list", "--output", "json"])?).await?;
    let listed = list.json()?;
    assert_eq!(listed.len(), samples().len());
    for (listed, sample) in listed.iter().zip(samples()) {
        assert_eq!(listed["name"], sample.name);
        assert_eq!(listed["event_type"], sample.event_type);
    }

    let directory = scratch::directory("send")?;
    let file = directory.path().join("body.json");
    std::fs::write(&file, r#"{"EventType":"Unheard","Of":{"FileId":"1"}}"#)?;
    let path = file.to_str().context("no text")?;
    let ran = send(&bridge, &[&["--file", path][..], &signed].concat()).await?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let other = std::fs::read_to_string(bridge.directory().join("events/vod.other.ndjson"))?;
    ensure!(other.contains(r#""data":{"FileId":"1"}"#), "{other}");

    let ran = send(&bridge, &["--file", "absent.json"]).await?;
    ensure!(
        ran.code == Some(1) && ran.err.contains("absent.json"),
        "{ran:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_connection_has_a_remedy() -> Result<()> {
    let url = format!("http://127.0.0.1:{}/vod/callback", free_port()?);
    let ran = run(vodbridge(&["send", "NewFileUpload", "--url", &url])?).await?;
    ensure!(ran.code == Some(1), "{ran:?}");
    ensure!(
        ran.out.contains("lost after 1 attempt") && ran.out.contains("--url"),
        "{ran:?}"
    );
    Ok(())
}

/// The health check of containers.
#[tokio::test]
async fn health_asks_the_admin_listener() -> Result<()> {
    let bridge = bridge().await?;
    for path in ["/livez", "/readyz", "/healthz"] {
        let url = format!("http://{}{path}", bridge.admin_address());
        let ran = run(vodbridge(&["health", "--url", &url])?).await?;
        ensure!(
            ran.code == Some(0) && !ran.out.is_empty(),
            "{path}: {ran:?}"
        );
    }
    let url = format!("http://{}/livez", bridge.admin_address());
    bridge.kill()?;
    bridge.wait(Duration::from_secs(10)).await?;
    let ran = run(vodbridge(&["health", "--url", &url])?).await?;
    ensure!(
        ran.code == Some(1) && ran.err.contains("does the bridge run?"),
        "{ran:?}"
    );
    Ok(())
}
