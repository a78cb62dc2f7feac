//! `vodbridge spool`: what an operator does with what waits.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use vodbridge_tests::bridge::{Bridge, Setup};
use vodbridge_tests::cli::{Ran, run};

use crate::own::{kept, notification, own_nats};

const PATIENCE: Duration = Duration::from_secs(30);
/// Configuration or usage (`EX_USAGE` of sysexits.h).
const USAGE: Option<i32> = Some(64);
const SPOOL: &str = "sources:
  callback:
    webhook: { patience: 6s, spool: { directory: '{directory}/spool', ephemeral: true } }";

async fn spool(bridge: &Bridge, arguments: &[&str]) -> Result<Ran> {
    run(bridge.setup().command(&[&["spool"], arguments].concat())?).await
}

async fn end(bridge: &Bridge) -> Result<()> {
    bridge.kill()?;
    bridge.wait(PATIENCE).await?;
    Ok(())
}

#[tokio::test]
async fn what_waits_can_be_looked_at_and_dropped() -> Result<()> {
    let mut own = own_nats().await?;
    let mut bridge = own.setup(SPOOL)?.start().await?;
    own.broker.stop().await?;
    for number in 0..3 {
        let answer = bridge.post(&notification(number), PATIENCE).await?;
        ensure!(answer.status == 200, "{}", answer.text());
    }

    let listed = spool(&bridge, &["list", "--output", "json"]).await?;
    let listed = listed.json()?;
    assert_eq!(listed.len(), 3);
    let of = |key: &str| {
        listed
            .iter()
            .map(|line| line[key].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("subject"), ["0", "1", "2"].map(Value::from));
    assert_eq!(of("source"), vec![Value::from("callback"); 3]);
    let text = spool(&bridge, &["list", "--limit", "1"]).await?.out;
    ensure!(
        text.lines().count() == 1 && text.contains("NewFileUpload"),
        "{text}"
    );
    let exported = spool(&bridge, &["export"]).await?.json()?;
    assert_eq!(exported.len(), 3);
    ensure!(
        exported[2]["event"]["data"]["FileId"] == "2",
        "{}",
        exported[2]
    );

    let first = listed[0]["record"].as_str().context("no number")?;
    let refused = spool(&bridge, &["drop", first]).await?;
    ensure!(
        refused.code == Some(1) && refused.err.contains("in use"),
        "{refused:?}"
    );
    let awaited = spool(&bridge, &["wait", "--for", "100ms"]).await?;
    ensure!(awaited.code == Some(1), "{awaited:?}");

    end(&bridge).await?;
    let unsure = spool(&bridge, &["drop", "--all"]).await?;
    ensure!(
        unsure.code == USAGE && unsure.err.contains("--yes"),
        "{unsure:?}"
    );
    let dropped = spool(&bridge, &["drop", first]).await?;
    ensure!(dropped.out.starts_with("1 dropped"), "{dropped:?}");
    let retried = spool(&bridge, &["retry", "--all"]).await?;
    ensure!(retried.out.starts_with("2 retried"), "{retried:?}");

    own.broker.restart().await?;
    bridge.start_again().await?;
    let awaited = spool(&bridge, &["wait", "--for", "60s"]).await?;
    ensure!(awaited.code == Some(0), "{awaited:?}");
    let mut found: Vec<_> = own.ids(PATIENCE).await?;
    found.sort();
    let ids = of("id");
    let mut expected: Vec<_> = ids.iter().skip(1).filter_map(Value::as_str).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    Ok(())
}

#[tokio::test]
async fn the_undelivered_file_is_replayed() -> Result<()> {
    let mut own = own_nats().await?;
    let webhook = "sources: { callback: { webhook: { patience: 6s } } }";
    let bridge = own.setup(webhook)?.start().await?;
    own.broker.stop().await?;
    let answer = bridge.post(&notification(7), PATIENCE).await?;
    ensure!(answer.status == 503, "{}", answer.text());
    let deadline = Instant::now() + PATIENCE;
    while kept(&bridge)?.is_empty() {
        ensure!(
            Instant::now() < deadline,
            "nothing is undelivered\n{}",
            bridge.log()
        );
        sleep(Duration::from_millis(50)).await;
    }
    let replay = ["retry", "--undelivered", "--output", "json"];
    let beside = spool(&bridge, &replay).await?;
    ensure!(
        beside.code == Some(1) && beside.err.contains("in use"),
        "{beside:?}"
    );

    end(&bridge).await?;
    let away = spool(&bridge, &replay).await?;
    ensure!(away.code == Some(1), "{away:?}");
    assert_eq!(away.json()?[0]["left"], 1);
    let undelivered = kept(&bridge)?;
    assert_eq!(undelivered.len(), 1);

    own.broker.restart().await?;
    let back = spool(&bridge, &replay).await?;
    ensure!(back.code == Some(0), "{back:?}");
    assert_eq!(back.json()?[0]["delivered"], 1);
    assert!(kept(&bridge)?.is_empty());
    let found = own.read().await?;
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].event()?.id,
        undelivered[0]["id"].as_str().unwrap_or_default()
    );
    ensure!(
        found[0].topic.ends_with("NewFileUpload"),
        "{}",
        found[0].topic
    );
    Ok(())
}

#[tokio::test]
async fn a_spool_that_lost_its_source_is_noticed() -> Result<()> {
    let own = own_nats().await?;
    let mut bridge = own.setup(SPOOL)?.start().await?;
    own.broker.stop().await?;
    let answer = bridge.post(&notification(1), PATIENCE).await?;
    ensure!(answer.status == 200, "{}", answer.text());
    end(&bridge).await?;
    let file = bridge.directory().join("test.yaml");
    let written = std::fs::read_to_string(&file)?;
    let at = written.find("sources:").context("no sources")?;
    std::fs::write(&file, &written[..at])?;
    bridge.start_again().await?;
    let spool = bridge.directory().join("spool").display().to_string();
    let warned = |line: &Value| line["level"] == "WARN" && line.to_string().contains(&spool);
    ensure!(bridge.logs().iter().any(warned), "{}", bridge.log());
    Ok(())
}

#[tokio::test]
async fn a_spool_has_one_bridge() -> Result<()> {
    let sinks = "sinks: { events: { file: { directory: '{directory}/out', ephemeral: true } } }";
    let bridge = Bridge::start(&format!("{sinks}\n{SPOOL}")).await?;
    let directory = bridge.directory().join("spool");
    let same = SPOOL.replace("{directory}/spool", &directory.to_string_lossy());
    let second = Setup::new(&format!("{sinks}\n{same}"))?;
    let refused = run(second.command(&["run"])?).await?;
    let holder = format!("process {}", bridge.id());
    ensure!(
        refused.code == Some(1)
            && refused.err.contains("sources.callback.webhook.spool")
            && refused.err.contains("in use")
            && refused.err.contains(&holder),
        "{refused:?}"
    );
    Ok(())
}

/// A 200 would rest on memory, or on what goes with the container.
#[tokio::test]
async fn a_spool_that_is_lost_with_the_machine_is_refused() -> Result<()> {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let sinks = "sinks: { events: { file: { directory: \"{directory}/out\", ephemeral: true } } }";
    let with = |more: &str| {
        let spool = directory.path().join("spool");
        let webhook = format!("webhook: {{ spool: {{ directory: {spool:?} {more} }} }}");
        Setup::new(&format!(
            "{sinks}\nsources: {{ callback: {{ {webhook} }} }}\n"
        ))
    };
    let refused = run(with("")?.command(&["run"])?).await?;
    ensure!(
        refused.code == Some(1)
            && refused.err.contains("sources.callback.webhook.spool")
            && refused.err.contains("is on tmpfs")
            && refused.err.contains("ephemeral: true"),
        "{refused:?}"
    );
    assert!(!directory.path().join("spool").exists());
    with(", ephemeral: true")?.start().await.map(drop)
}

/// The same of a sink of files: its ack would rest there.
#[tokio::test]
async fn a_file_sink_that_is_lost_with_the_machine_is_refused() -> Result<()> {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let out = directory.path().join("out");
    let with = |more: &str| {
        let file = format!("file: {{ directory: {out:?} {more} }}");
        Setup::new(&format!("sinks: {{ events: {{ {file} }} }}\n"))
    };
    let refused = run(with("")?.command(&["run"])?).await?;
    ensure!(
        refused.code == Some(1)
            && refused.err.contains("is on tmpfs")
            && refused.err.contains("ephemeral: true"),
        "{refused:?}"
    );
    with(", ephemeral: true")?.start().await.map(drop)
}
