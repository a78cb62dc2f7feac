//! What `check --connect` says of queue sources.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use vodbridge_simulator::cloud::{Change, Mode, Switch};
use vodbridge_tests::bridge::{SUB_APP_ID, Setup};

use super::{APPLICATION, SECRET_KEY, URL, change, cloud, queue, ran, setup, setup_with};

/// What `check --connect` says of the queue source.
async fn checked(setup: &Setup, code: i32) -> Result<Value> {
    let check = ran(setup, &["check", "--connect", "--output", "json"]).await?;
    ensure!(check.code == Some(code), "{check:?}");
    let said = check.json()?;
    let queues = said[0]["queues"].as_array().context("no queues")?;
    assert_eq!(queues.len(), 1);
    assert_eq!(queues[0]["source"], "reliable");
    Ok(queues[0].clone())
}

/// Each finding: whether nothing comes because of it, what it is and its remedy.
fn findings(checked: &Value) -> Result<Vec<(bool, String, String)>> {
    let text = |found: &Value, key| found[key].as_str().unwrap_or_default().to_owned();
    let findings = checked["findings"].as_array().context("no findings")?;
    let findings = findings.iter().map(|found| {
        let blocking = found["blocking"].as_bool().context("no verdict")?;
        Ok((blocking, text(found, "what"), text(found, "remedy")))
    });
    findings.collect()
}

/// That `check` finds an error like this one.
pub(super) async fn tells_an_error(setup: &Setup, what: &str, remedy: &str) -> Result<()> {
    let checked = checked(setup, 1).await?;
    let findings = findings(&checked)?;
    let told = findings
        .iter()
        .any(|(blocking, is, asks)| *blocking && is.contains(what) && asks.contains(remedy));
    ensure!(told && checked["ok"] == false, "{checked}");
    assert_eq!(checked["settings"], Value::Null);
    Ok(())
}

#[tokio::test]
async fn tells_why_nothing_would_come() -> Result<()> {
    let cloud = cloud().await?;
    let setup = setup(&cloud)?;
    let good = checked(&setup, 0).await?;
    assert_eq!(good["credentials"], "the configuration");
    assert_eq!(good["settings"]["mode"], "pull");
    // A simulator needs no HTTPS, and it is told all the same.
    let found = findings(&good)?;
    ensure!(
        found.len() == 1 && found[0].1.contains("not HTTPS"),
        "{found:?}"
    );

    let off = Change {
        upload: Some(Switch::Off),
        persistence: Some(Switch::Off),
        ..Change::default()
    };
    change(&cloud, APPLICATION, off)?;
    let found = findings(&checked(&setup, 0).await?)?;
    for (event_type, switch) in [
        ("NewFileUpload", "--upload on"),
        ("PersistenceComplete", "--persistence on"),
    ] {
        let told = found.iter().any(|(blocking, what, remedy)| {
            !blocking && what.contains(event_type) && remedy.contains(switch)
        });
        ensure!(told, "{event_type} is not in {found:?}");
    }
    ensure!(
        !found
            .iter()
            .any(|(_, what, _)| what.contains("FileDeleted")),
        "{found:?}"
    );

    let push = Change {
        mode: Some(Mode::Push),
        ..Change::default()
    };
    change(&cloud, APPLICATION, push)?;
    let found = findings(&checked(&setup, 1).await?)?;
    let told = found.iter().any(|(blocking, what, remedy)| {
        *blocking && what.contains("push mode") && remedy.contains("--source reliable --mode pull")
    });
    ensure!(told, "{found:?}");
    Ok(())
}

/// An application has one mode, so of two sources of its events one gets nothing.
#[tokio::test]
async fn tells_which_of_two_sources_gets_nothing() -> Result<()> {
    let cloud = cloud().await?;
    let setup = setup_with(&queue(SUB_APP_ID, &cloud.endpoint(), SECRET_KEY))?;
    let told = |found: &[(bool, String, String)], wanted: &str| {
        found
            .iter()
            .any(|(blocking, what, _)| !blocking && what.contains(wanted))
    };
    let found = findings(&checked(&setup, 0).await?)?;
    ensure!(told(&found, "sources.callback gets nothing"), "{found:?}");

    let push = Change {
        mode: Some(Mode::Push),
        notification_url: Some(URL.to_owned()),
        ..Change::default()
    };
    change(&cloud, SUB_APP_ID, push)?;
    let found = findings(&checked(&setup, 0).await?)?;
    ensure!(told(&found, "this source gets nothing"), "{found:?}");
    Ok(())
}
