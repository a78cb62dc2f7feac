//! `callback show|set` against the cloud's API.

mod check;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use vodbridge_core::Secret;
use vodbridge_simulator::cloud::{Action, Change, Cloud, CloudConfig};
use vodbridge_tests::bridge::{SUB_APP_ID, Setup};
use vodbridge_tests::cli::{Ran, run};
use vodbridge_tests::ports::free_port;

/// The application of the queue source; the webhook of [`Setup`] has another one.
const APPLICATION: u64 = 1_500_067_890;
const SECRET_ID: &str = "AKIDcallback";
const SECRET_KEY: &str = "hunter2hunter2";
const SIGN_KEY: &str = "n3wS1gnK3y";
const URL: &str = "https://receiver.example.com/vod";
const USAGE: Option<i32> = Some(64);

async fn cloud() -> Result<Cloud> {
    let config = CloudConfig::new(
        SECRET_ID,
        Secret::new(SECRET_KEY),
        [APPLICATION, SUB_APP_ID],
    );
    Ok(Cloud::bind(([127, 0, 0, 1], 0).into(), config).await?)
}

fn queue(application: u64, endpoint: &str, key: &str) -> String {
    let credentials = format!("{{ secret_id: {SECRET_ID}, secret_key: {key} }}");
    format!(
        "{{ queue: {{ sub_app_id: {application}, endpoint: \"{endpoint}\", credentials: {credentials} }} }}"
    )
}

fn setup_with(reliable: &str) -> Result<Setup> {
    Setup::new(&format!(
        "sources: {{ reliable: {reliable} }}\n\
         sinks: {{ files: {{ file: {{ directory: \"{{directory}}/events\", ephemeral: true }} }} }}\n"
    ))
}

fn setup(cloud: &Cloud) -> Result<Setup> {
    setup_with(&queue(APPLICATION, &cloud.endpoint(), SECRET_KEY))
}

async fn ran(setup: &Setup, arguments: &[&str]) -> Result<Ran> {
    let mut command = setup.command(arguments)?;
    command.env("SIGN_KEY", SIGN_KEY);
    let ran = run(command).await?;
    for secret in [SECRET_KEY, SIGN_KEY] {
        ensure!(!format!("{ran:?}").contains(secret), "a secret is told");
    }
    Ok(ran)
}

/// The settings as `callback show` tells them.
async fn settings(setup: &Setup) -> Result<Value> {
    let show = ran(setup, &["callback", "show", "--output", "json"]).await?;
    ensure!(show.code == Some(0), "{show:?}");
    let said = show.json()?;
    assert_eq!(said[0]["source"], "reliable");
    assert_eq!(said[0]["sub_app_id"], APPLICATION);
    Ok(said[0]["settings"].clone())
}

fn modified(cloud: &Cloud) -> u64 {
    cloud.answered(Action::ModifyEventConfig, "ok")
}

fn change(cloud: &Cloud, application: u64, change: Change) -> Result<()> {
    let queue = cloud.queue(application).context("no such application")?;
    Ok(queue.change(change)?)
}

#[tokio::test]
async fn set_changes_what_is_given_and_only_when_told_to() -> Result<()> {
    let cloud = cloud().await?;
    let setup = setup(&cloud)?;
    let initial = json!({
        "mode": "pull", "url": "", "upload": true, "delete": true, "persistence": true
    });
    assert_eq!(settings(&setup).await?, initial);

    // Nobody is there to be asked.
    let set = [
        "callback", "set", "--mode", "push", "--url", URL, "--upload", "on", "--delete", "off",
    ];
    let asked = ran(&setup, &set).await?;
    ensure!(asked.code == Some(1), "{asked:?}");
    for told in [
        "mode         pull -> push",
        "url          none -> https://receiver.example.com/vod",
        "delete       on -> off",
        "no FileDeleted happens for anyone",
    ] {
        ensure!(asked.out.contains(told), "{told} is not in {asked:?}");
    }
    ensure!(!asked.out.contains("upload"), "{asked:?}");
    ensure!(
        asked.err.contains("nothing was changed; `--yes`"),
        "{asked:?}"
    );
    assert_eq!(modified(&cloud), 0);
    assert_eq!(settings(&setup).await?, initial);

    let done = ran(&setup, &[&set[..], &["--yes"]].concat()).await?;
    ensure!(
        done.code == Some(0) && done.out.contains("changed"),
        "{done:?}"
    );
    assert_eq!(modified(&cloud), 1);
    let changed = json!({
        "mode": "push", "url": URL, "upload": true, "delete": false, "persistence": true
    });
    assert_eq!(settings(&setup).await?, changed);

    // What is so already is not set again.
    let again = ran(&setup, &set).await?;
    ensure!(
        again.code == Some(0) && again.out.contains("nothing to change"),
        "{again:?}"
    );
    assert_eq!(modified(&cloud), 1);
    Ok(())
}

#[tokio::test]
async fn scripts_are_told_the_changes_and_whether_they_were_made() -> Result<()> {
    let cloud = cloud().await?;
    let setup = setup(&cloud)?;
    let set = [
        "callback",
        "set",
        "--persistence",
        "off",
        "--output",
        "json",
    ];
    let change = json!([{ "setting": "persistence", "from": "on", "to": "off" }]);
    for (yes, code, changed) in [(&[][..], 1, false), (&["--yes"], 0, true)] {
        let ran = ran(&setup, &[&set[..], yes].concat()).await?;
        ensure!(ran.code == Some(code), "{ran:?}");
        let said = ran.json()?;
        assert_eq!(
            (&said[0]["changes"], &said[0]["changed"]),
            (&change, &changed.into())
        );
        assert_eq!(settings(&setup).await?["persistence"], !changed);
    }
    Ok(())
}

#[tokio::test]
async fn a_sign_key_comes_from_a_variable_or_a_file_and_is_never_told() -> Result<()> {
    let cloud = cloud().await?;
    let setup = setup(&cloud)?;
    std::fs::write(setup.directory().join("key"), format!("{SIGN_KEY}\n"))?;
    for (at, given) in [["--sign-key-env", "SIGN_KEY"], ["--sign-key-file", "key"]]
        .iter()
        .enumerate()
    {
        let set = [&["callback", "set", "--yes"], &given[..]].concat();
        // `ran` looks for the key in all that is said.
        let done = ran(&setup, &set).await?;
        ensure!(done.code == Some(0), "{done:?}");
        ensure!(
            done.out.contains("callbacks are signed with the new key"),
            "{done:?}"
        );
        assert_eq!(modified(&cloud), at as u64 + 1);
    }

    std::fs::write(
        setup.directory().join("key"),
        format!("{SIGN_KEY}-{SIGN_KEY}"),
    )?;
    std::fs::write(setup.directory().join("empty"), "\n")?;
    for given in [
        ["--sign-key-file", "key"],
        ["--sign-key-file", "empty"],
        ["--sign-key-file", "absent"],
        ["--sign-key-env", "NO_SUCH_VARIABLE"],
    ] {
        let set = [&["callback", "set", "--yes"], &given[..]].concat();
        let refused = ran(&setup, &set).await?;
        ensure!(
            refused.code == USAGE && refused.err.contains(given[1]),
            "{refused:?}"
        );
    }
    assert_eq!(modified(&cloud), 2);
    Ok(())
}

#[tokio::test]
async fn a_person_is_asked_before_anything_changes() -> Result<()> {
    let cloud = cloud().await?;
    let setup = setup(&cloud)?;
    let command = setup.command(&["callback", "set", "--upload", "off"])?;
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    for (answer, code, upload) in [("\n", 1, true), ("n\n", 1, true), ("y\n", 0, false)] {
        // A terminal for the command.
        let mut child = tokio::process::Command::new("script")
            .args(["-qec", &words.join(" "), "/dev/null"])
            .current_dir(setup.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("no input")?;
        stdin.write_all(answer.as_bytes()).await?;
        let output = timeout(Duration::from_secs(60), child.wait_with_output()).await??;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.code() == Some(code), "{answer:?}: {said}");
        ensure!(said.contains("upload       on -> off"), "{said}");
        ensure!(said.contains("[y/N]"), "{said}");
        assert_eq!(settings(&setup).await?["upload"], upload, "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_asked_wrongly_reaches_no_cloud() -> Result<()> {
    let cloud = cloud().await?;
    let setup = setup(&cloud)?;
    for arguments in [
        &["callback"][..],
        &["callback", "set"],
        &["callback", "set", "--yes"],
        &["callback", "set", "--mode", "both"],
        &["callback", "set", "--url", "receiver.example.com"],
        &["callback", "set", "--url", "ftp://receiver.example.com/"],
        &[
            "callback",
            "set",
            "--sign-key-env",
            "A",
            "--sign-key-file",
            "b",
        ],
        &["callback", "set", "--upload", "off", "--source", "callback"],
        &["callback", "show", "--source", "relaible"],
    ] {
        let refused = ran(&setup, arguments).await?;
        ensure!(refused.code == USAGE, "{arguments:?}: {refused:?}");
        ensure!(
            !refused.err.is_empty() && refused.out.is_empty(),
            "{refused:?}"
        );
    }
    let none = setup_with("null")?;
    let refused = ran(&none, &["callback", "show"]).await?;
    ensure!(
        refused.code == USAGE && refused.err.contains("no queue source"),
        "{refused:?}"
    );
    assert_eq!(cloud.answered(Action::DescribeEventConfig, "ok"), 0);
    Ok(())
}

#[tokio::test]
async fn a_refused_call_is_told_with_its_remedy() -> Result<()> {
    let cloud = cloud().await?;
    let gone = format!("http://127.0.0.1:{}", free_port()?);
    for (reliable, what, remedy) in [
        (
            queue(APPLICATION, &cloud.endpoint(), "wrong"),
            "AuthFailure.SignatureFailure",
            "secret_id and secret_key",
        ),
        (
            queue(1, &cloud.endpoint(), SECRET_KEY),
            "InvalidParameter",
            "sub_app_id",
        ),
        (
            queue(APPLICATION, &gone, SECRET_KEY),
            "the connection failed",
            "endpoint",
        ),
    ] {
        let setup = setup_with(&reliable)?;
        for arguments in [
            &["callback", "show"][..],
            &["callback", "set", "--upload", "off", "--yes"],
        ] {
            let refused = ran(&setup, arguments).await?;
            ensure!(refused.code == Some(1), "{refused:?}");
            for told in ["sources.reliable: ", what, remedy] {
                ensure!(refused.err.contains(told), "{told} is not in {refused:?}");
            }
        }
        check::tells_an_error(&setup, what, remedy).await?;
    }
    assert_eq!(modified(&cloud), 0);
    Ok(())
}
